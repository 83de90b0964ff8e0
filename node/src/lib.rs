//! mqttd: an MQTT 3.1, 3.1.1 and 5.0 broker.
//!
//! The house is described in `node/ARCHITECTURE.md`. Nobody inside imports through this face.

#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod connection;
#[cfg(feature = "server")]
pub mod fault;
pub mod hook;
#[cfg(feature = "server")]
pub mod listener;
pub mod message;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod node;
pub mod packet;
pub mod router;
pub mod session;
#[cfg(feature = "server")]
pub mod store;
pub mod subscription;
pub mod time;
pub mod topic;

pub use hook::event::{Connecting, Delivering, Disconnected, Publishing, Subscribing, Verdict};
#[cfg(feature = "server")]
pub use hook::extract::Json;
pub use hook::extract::{Client, Params, Password, Payload, Properties, State, Topic};
pub use message::Message;
#[cfg(feature = "server")]
pub use node::Node;
#[cfg(feature = "server")]
pub use node::builder::Builder;
#[cfg(feature = "server")]
pub use node::handle::{Handle, HandleError, Health};
pub use packet::publish::PublishProperties;
pub use packet::reason::Reason;
pub use packet::subscribe::SubscriptionOptions;
pub use packet::{QoS, Version};
