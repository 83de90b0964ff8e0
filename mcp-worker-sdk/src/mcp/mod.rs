//! MCP servers as handlers: one request is one JSON-RPC message, its answer another.
//!
//! Both eras of MCP are served: the stateless revision (2026-07-28), in which a request carries all that it needs, and the older ones, which begin
//! with `initialize`. Any worker of a group may answer any request, so what a server remembers of a session is not to be relied on.

#[cfg(feature = "rmcp-child-process")]
mod child_process;
#[cfg(feature = "rmcp-http")]
mod http;
mod json_rpc;
#[cfg(feature = "rmcp")]
mod server;

#[cfg(feature = "rmcp-child-process")]
pub use child_process::{ChildProcess, child_process};
#[cfg(feature = "rmcp-http")]
pub use http::{Http, http};
#[cfg(feature = "rmcp")]
pub use server::{Server, server};

/// A message of a server that is another program; a longer one is a failure.
#[cfg(any(feature = "rmcp-child-process", feature = "rmcp-http"))]
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
