//! mqttd: an MQTT 3.1, 3.1.1 and 5.0 broker.
//!
//! The house is described in `node/ARCHITECTURE.md`. Nobody inside imports through this face.

#[cfg(feature = "server")]
pub mod auth;
pub mod message;
pub mod packet;
pub mod router;
pub mod session;
#[cfg(feature = "server")]
pub mod store;
pub mod subscription;
pub mod time;
pub mod topic;
