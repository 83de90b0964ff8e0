//! An MCP server of the official SDK, in this process.

use rmcp::ServerHandler;
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, Implementation, InitializeRequestParams, ProtocolVersion, ServerJsonRpcMessage,
};
use rmcp::service::{RoleServer, serve_directly};
use rmcp::transport::OneshotTransport;
use serde_json::Value;

use super::VERSION;
use super::json_rpc::{self, Message, code, error_reply};
use crate::handler::{Answering, Handler};
use crate::reply::{Failure, Reply};
use crate::request::Request;

/// Has requests answered by an MCP server. It is cloned for every request, as one that is behind HTTP would be.
///
/// Its progress notifications are parts of the answer. What it asks of clients (sampling, roots, elicitation by request) has no way to them:
/// that needs a session, which MCP has given up.
///
/// ```
/// use mcp_worker_sdk::{Worker, mcp};
/// use rmcp::{handler::server::wrapper::Parameters, schemars, tool, tool_router};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Add { a: i64, b: i64 }
///
/// #[derive(Clone)]
/// struct Calculator;
///
/// #[tool_router(server_handler)]
/// impl Calculator {
///     #[tool(description = "Add two numbers")]
///     fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> String {
///         (a + b).to_string()
///     }
/// }
///
/// # fn main() -> Result<(), mcp_worker_sdk::Error> {
/// let worker = Worker::builder().route("agents/calc/mcp", mcp::server(Calculator)).build()?;
/// # drop(worker);
/// # Ok(())
/// # }
/// ```
pub fn server<S: ServerHandler + Clone>(server: S) -> Server<S> {
    Server { server }
}

/// See [`server`].
#[derive(Clone, Debug)]
pub struct Server<S> {
    server: S,
}

impl<S: ServerHandler + Clone> Handler for Server<S> {
    fn call(&self, request: Request) -> Answering {
        let server = self.server.clone();
        Box::pin(async move { answer(server, request).await })
    }
}

async fn answer<S: ServerHandler>(server: S, request: Request) -> Result<Reply, Failure> {
    let (id, method, mut object) = match json_rpc::read(&request.payload) {
        Ok(Message::Request { id, method, object }) => (id, method, object),
        // Without sessions there is nothing that a notification could change; a cancel comes by way of the node.
        Ok(Message::Notification { .. }) => return Ok(Reply::none()),
        Err(reply) => return Ok(reply),
    };
    json_rpc::trace(&mut object, request.traceparent.as_ref());
    let asked = object.get("params").and_then(|params| match method.as_str() {
        "initialize" => params.get("protocolVersion"),
        _ => params.get("_meta")?.get(VERSION),
    });
    let asked = asked.and_then(Value::as_str).map(str::to_owned);
    let is_initialize = method == "initialize";
    let version = asked.clone().unwrap_or_else(|| json_rpc::negotiated(None).to_owned());
    object.insert("id".to_owned(), id.clone());
    let message: ClientJsonRpcMessage = match serde_json::from_value(Value::Object(object)) {
        Ok(message) => message,
        Err(error) => return Ok(error_reply(&id, code::INVALID_REQUEST, &error.to_string())),
    };
    let (transport, mut messages) = OneshotTransport::<RoleServer>::new(message);
    let mut client = InitializeRequestParams::new(ClientCapabilities::default(), Implementation::default());
    client.protocol_version = serde_json::from_value::<ProtocolVersion>(Value::String(version)).unwrap_or_default();
    // When it is dropped, as after a cancel, so is what the server does for it.
    let _running = serve_directly(server, transport, Some(client));
    while let Some(message) = messages.recv().await {
        let is_last = matches!(message, ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_));
        let mut value = serde_json::to_value(&message).map_err(Failure::from)?;
        if is_last {
            if is_initialize && let Some(result) = value.get_mut("result").and_then(Value::as_object_mut) {
                result.insert("protocolVersion".to_owned(), json_rpc::negotiated(asked.as_deref()).into());
            }
            return Ok(json_rpc::reply(&value));
        }
        if matches!(message, ServerJsonRpcMessage::Notification(_)) {
            request.part(json_rpc::reply(&value)).await?;
        }
    }
    Err(Failure::new("the MCP server ended without an answer"))
}
