//! An MCP server of the official SDK, in this process.

use std::pin::pin;

use rmcp::ServerHandler;
use rmcp::model::{
    ClientCapabilities, ClientJsonRpcMessage, ClientRequest, ClientResult, ErrorCode, ErrorData, GetExtensions, GetMeta, Implementation,
    InitializeRequestParams, ProtocolVersion, RequestId, ServerJsonRpcMessage, ServerRequest, ServerResult,
};
use rmcp::service::{RequestContext, RoleServer, Service, serve_directly};
use rmcp::transport::Transport;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::json_rpc::{self, Message, code, error_reply};
use crate::handler::{Answering, Handler};
use crate::reply::{Failure, Reply};
use crate::request::Request;

/// What a server says before its answer and has not been sent on yet; one that has more to say waits.
const SAID_MAX: usize = 16;

/// Has requests answered by an MCP server. It is cloned for every request, as one that is behind HTTP would be.
///
/// Its notifications are parts of the answer. A call that is taken back, or whose time is over, is told so by its token (`RequestContext::ct`) and
/// dropped a moment later, as every handler is. What a server asks of clients (sampling, roots, elicitation by request) has no way to them and is
/// answered with an error: that needs a session, which MCP has given up.
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
        Box::pin(async move { serve(server, request).await })
    }
}

async fn serve<S: ServerHandler>(server: S, request: Request) -> Result<Reply, Failure> {
    let (id, method, mut object) = match json_rpc::read(&request.payload) {
        Ok(Message::Request { id, method, object }) => (id, method, object),
        // Without sessions there is nothing that a notification could change; a cancel comes by way of the node.
        Ok(Message::Notification { .. }) => return Ok(Reply::none()),
        Err(reply) => return Ok(reply),
    };
    json_rpc::trace(&mut object, request.traceparent.as_ref());
    let revision = revision(&method, &object).map(str::to_owned);
    object.insert("id".to_owned(), id.clone());
    let (asked, asked_as) = match serde_json::from_value(Value::Object(object)) {
        Ok(ClientJsonRpcMessage::Request(message)) => (message.request, message.id),
        Ok(_) => return Ok(error_reply(&id, code::INVALID_REQUEST, "no JSON-RPC request")),
        Err(error) => return Ok(error_reply(&id, code::INVALID_REQUEST, &error.to_string())),
    };
    let mut value = match handle(server, asked, asked_as.clone(), revision.as_deref(), &request).await? {
        Ok(result) => serde_json::to_value(ServerJsonRpcMessage::response(result, asked_as)),
        Err(error) => serde_json::to_value(ServerJsonRpcMessage::error(error, Some(asked_as))),
    }?;
    if method == "initialize"
        && let Some(result) = value.get_mut("result").and_then(Value::as_object_mut)
    {
        result.insert("protocolVersion".to_owned(), json_rpc::negotiated(revision.as_deref()).into());
    }
    Ok(json_rpc::reply(&value))
}

/// The revision that a request names, each era in its own place.
fn revision<'a>(method: &str, object: &'a Map<String, Value>) -> Option<&'a str> {
    match method {
        "initialize" => object.get("params")?.get("protocolVersion")?.as_str(),
        _ => json_rpc::revision(object),
    }
}

/// Has the server handle a request, and sends on what it says meanwhile.
///
/// All of it happens in this future, not in a task of the official SDK's own: who drops it, as after a cancel or a deadline, ends it, and a
/// tool that panics is a handler that panics.
async fn handle<S: ServerHandler>(
    server: S,
    mut asked: ClientRequest,
    id: RequestId,
    revision: Option<&str>,
    request: &Request,
) -> Result<Result<ServerResult, ErrorData>, Failure> {
    let mut client = InitializeRequestParams::new(ClientCapabilities::default(), Implementation::default());
    let revision = revision.unwrap_or_else(|| json_rpc::negotiated(None)).to_owned();
    client.protocol_version = serde_json::from_value::<ProtocolVersion>(Value::String(revision)).unwrap_or_default();
    let (client_hears, mut said) = mpsc::channel(SAID_MAX);
    let (client_says, answers) = mpsc::channel(SAID_MAX);
    let running = serve_directly(server, Client { hears: client_hears, says: client_says, answers }, Some(client));
    let mut context = RequestContext::new(id, running.peer().clone());
    std::mem::swap(&mut context.meta, asked.get_meta_mut());
    std::mem::swap(&mut context.extensions, asked.extensions_mut());
    let token = context.ct.clone();
    // For what the tool has begun beside itself, and has this token.
    let _ended = token.clone().drop_guard();
    let mut handling = pin!(running.service().handle_request(asked, context));
    let handled = loop {
        tokio::select! {
            biased;
            Some(message) = said.recv() => request.part(json_rpc::reply(&serde_json::to_value(&message)?)).await?,
            handled = &mut handling => break handled,
            () = request.cancelled(), if !token.is_cancelled() => token.cancel(),
        }
    };
    while let Ok(message) = said.try_recv() {
        request.part(json_rpc::reply(&serde_json::to_value(&message)?)).await?;
    }
    Ok(handled)
}

/// That it is there, and that it does nothing else.
fn answer(asked: ServerRequest, id: RequestId) -> ClientJsonRpcMessage {
    match asked {
        ServerRequest::PingRequest(_) => ClientJsonRpcMessage::response(ClientResult::empty(()), id),
        _ => ClientJsonRpcMessage::error(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, json_rpc::NO_WAY_BACK, None), Some(id)),
    }
}

/// The client, as the server sees it: it hears notifications, and what it is asked it cannot do.
struct Client {
    hears: mpsc::Sender<ServerJsonRpcMessage>,
    says: mpsc::Sender<ClientJsonRpcMessage>,
    answers: mpsc::Receiver<ClientJsonRpcMessage>,
}

impl Transport<RoleServer> for Client {
    type Error = std::io::Error;

    fn send(&mut self, message: ServerJsonRpcMessage) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let (hears, says) = (self.hears.clone(), self.says.clone());
        async move {
            let is_heard = match message {
                ServerJsonRpcMessage::Request(asked) => says.send(answer(asked.request, asked.id)).await.is_ok(),
                message => hears.send(message).await.is_ok(),
            };
            is_heard.then_some(()).ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.answers.recv().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
