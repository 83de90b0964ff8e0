//! mqttd: an MQTT 3.1, 3.1.1 and 5.0 broker.
//!
//! The house is described in `node/ARCHITECTURE.md`. Nobody inside imports through this face.

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
pub mod message;
pub mod packet;
pub mod subscription;
pub mod time;
pub mod topic;
