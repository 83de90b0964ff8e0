//! The protocol of one Client: packets in, replies and commands out. No I/O, reads no clock, spawns nothing.

pub mod state;
