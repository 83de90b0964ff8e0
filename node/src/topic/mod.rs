//! Topic Names and Topic Filters (MQTT 5.0 section 4.7). No I/O, reads no clock.

pub mod filter;
pub mod name;
pub mod texts;
pub mod trie;
