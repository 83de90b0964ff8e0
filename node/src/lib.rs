//! mqttd: an MQTT 3.1, 3.1.1 and 5.0 broker.
//!
//! It is a program, and a library for programs that want a broker inside:
//!
//! ```no_run
//! use mqttd::{Client, Json, Message, Node, Params, Reason};
//!
//! #[derive(serde::Deserialize)]
//! struct Reading {
//!     celsius: f64,
//! }
//!
//! /// Refused with a Reason Code, rewritten, or taken as it is; before it goes anywhere.
//! async fn check(params: Params, client: Client, Json(reading): Json<Reading>) -> Result<(), Reason> {
//!     println!("{} says that {} has {} °C", client.id(), &params["id"], reading.celsius);
//!     if reading.celsius > 200.0 { Err(Reason::QUOTA_EXCEEDED) } else { Ok(()) }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let node = Node::builder().listen("tcp://127.0.0.1:1883").on_publish("sensors/{id}", check).bind().await?;
//!     let handle = node.handle();
//!     tokio::spawn(async move { handle.publish(Message::new("news", "here we are")?.retain(true)).await.map_err(Box::<dyn std::error::Error + Send + Sync>::from) });
//!     node.run_until(std::future::pending()).await;
//!     Ok(())
//! }
//! ```
//!
//! A handler that cannot be one is refused by the compiler, with what would be:
//!
//! ```compile_fail
//! # use mqttd::{Node, Payload};
//! // on_connect has no message to take a payload from
//! Node::builder().on_connect(|payload: Payload| async {});
//! ```
//!
//! The house is described in `node/ARCHITECTURE.md`. Nobody inside imports through this face.

#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod bridge;
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
#[cfg(feature = "server")]
pub mod mcp;
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
