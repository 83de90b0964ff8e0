#![doc = include_str!("../README.md")]
#![warn(missing_docs)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test has the clock of everybody"))]

mod error;
mod handler;
#[cfg(any(feature = "rmcp", feature = "rmcp-child-process", feature = "rmcp-http"))]
pub mod mcp;
mod reply;
mod request;
mod routes;
pub mod testing;
pub mod wire;
mod worker;

pub use error::Error;
pub use handler::{Answering, Handler, Json, json};
#[cfg(feature = "tower")]
pub use handler::{Service, service};
pub use reply::{Failure, IntoReply, Reply};
pub use request::Request;
pub use routes::Routes;
pub use worker::{Delivery, Stats, Worker, WorkerBuilder, WorkerHandle};
