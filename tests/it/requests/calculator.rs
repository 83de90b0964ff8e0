//! An MCP server of the official SDK, to be in the worker's process, a program of its own, or behind HTTP; and what a client says to it.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_worker_sdk::{WorkerBuilder, mcp};
use mqttd_tests::connecting::Connecting;
use mqttd_tests::*;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolRequestParams, PingRequest, ProgressNotificationParam, ProtocolVersion, ServerRequest};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ClientLifecycleMode, ClientServiceExt, RoleServer, ServiceExt, schemars, tool, tool_router};
use serde_json::{Value, json};

use super::kit::*;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Say {
    text: String,
}

/// Writes down what happens to it, one line for each.
#[derive(Clone)]
pub(super) struct Calculator {
    notes: Arc<PathBuf>,
}

/// Noted at its end, however that comes.
struct End<'a>(&'a Calculator, &'static str);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.note(self.1);
    }
}

impl Calculator {
    pub(super) fn new() -> Calculator {
        Calculator::that_notes(&file("notes", ""))
    }

    fn that_notes(notes: &Path) -> Calculator {
        Calculator { notes: Arc::new(notes.to_owned()) }
    }

    fn note(&self, what: &str) {
        let mut notes = std::fs::OpenOptions::new().append(true).open(&*self.notes).expect("its notes");
        notes.write_all(format!("{what}\n").as_bytes()).expect("a note");
    }

    pub(super) fn notes(&self) -> Vec<String> {
        std::fs::read_to_string(&*self.notes).expect("its notes").lines().map(str::to_owned).collect()
    }

    pub(super) fn has_noted(&self, what: &str) -> usize {
        self.notes().iter().filter(|note| *note == what).count()
    }
}

#[tool_router(server_handler)]
impl Calculator {
    #[tool(description = "Add two numbers")]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>, asked: RequestContext<RoleServer>) -> String {
        if let Some(trace) = asked.meta.get("traceparent").and_then(Value::as_str) {
            self.note(trace);
        }
        if let Some(token) = asked.meta.get_progress_token() {
            asked.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await.unwrap();
        }
        (a + b).to_string()
    }

    #[tool(description = "Say it louder")]
    async fn shout(&self, Parameters(Say { text }): Parameters<Say>) -> String {
        text.to_uppercase()
    }

    #[tool(description = "Comes back when nobody waits any more")]
    async fn wait(&self, asked: RequestContext<RoleServer>) -> String {
        let _end = End(self, "wait has ended");
        self.note("wait has begun");
        asked.ct.cancelled().await;
        self.note("wait was cancelled");
        "too late".to_owned()
    }

    #[tool(description = "Never comes back, whatever it is told")]
    async fn sleep(&self) -> String {
        let _end = End(self, "sleep has ended");
        self.note("sleep has begun");
        std::future::pending().await
    }

    #[tool(description = "Panics")]
    async fn panic(&self) -> String {
        panic!("on purpose")
    }

    /// These are of the older era only.
    #[allow(deprecated)]
    #[tool(description = "Asks its client whether it is there, and for its roots")]
    async fn ask_back(&self, asked: RequestContext<RoleServer>) -> String {
        let ping = asked.peer.send_request(ServerRequest::PingRequest(PingRequest::default())).await;
        let roots = asked.peer.send_request(ServerRequest::ListRootsRequest(rmcp::model::ListRootsRequest::default())).await;
        format!("ping {}, roots {}", ping.is_ok(), roots.is_ok())
    }
}

/// Where an MCP server may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Where {
    InProcess,
    Program,
    Http,
}

pub(super) const EVERYWHERE: [Where; 3] = [Where::InProcess, Where::Program, Where::Http];

impl Where {
    /// A worker that answers `mcp` by this server.
    pub(super) fn route(self, house: &House, calculator: &Calculator) -> WorkerBuilder {
        match self {
            Where::InProcess => house.worker().route("mcp", mcp::server(calculator.clone())),
            Where::Program => house.worker().route("mcp", mcp::child_process(program(calculator))),
            Where::Http => {
                let server = Server::start(0, None, StreamableHttpServerConfig::default(), calculator.clone());
                house.worker().route("mcp", mcp::http(&house.runtime.block_on(server).url()).unwrap())
            }
        }
    }
}

const NOTES: &str = "REQUESTS_TEST_NOTES";

/// This test as a program, told by a variable where its notes are.
fn program(calculator: &Calculator) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().expect("the path of this test"));
    command.args(["--exact", "requests::calculator::serves_as_a_program", "--nocapture"]).env(NOTES, &*calculator.notes);
    command
}

/// No test: what [`Where::Program`] runs. What the test itself prints is no JSON, and passed over.
#[test]
fn serves_as_a_program() {
    use std::os::fd::AsFd;
    use tokio::net::unix::pipe::{Receiver, Sender};
    let Ok(notes) = std::env::var(NOTES) else { return };
    runtime().block_on(async {
        let input = Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned().unwrap()).expect("a pipe");
        let output = Sender::from_owned_fd(std::io::stdout().as_fd().try_clone_to_owned().unwrap()).expect("a pipe");
        let served = Calculator::that_notes(Path::new(&notes)).serve((input, output)).await;
        let _ = served.expect("somebody who asks").waiting().await;
    });
}

/// A server behind HTTP; its sessions can be looked at, and forgotten.
pub(super) struct Server {
    pub(super) sessions: Arc<LocalSessionManager>,
    address: SocketAddr,
}

impl Server {
    /// At this port, or any with 0. Who does not bring `secret` is not let in.
    pub(super) async fn start(
        port: u16,
        secret: Option<&'static str>,
        config: StreamableHttpServerConfig,
        calculator: Calculator,
    ) -> Server {
        let sessions = Arc::new(LocalSessionManager::default());
        let service = StreamableHttpService::new(move || Ok(calculator.clone()), sessions.clone(), config);
        let guard = axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| async move {
            let brought = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            match brought == secret {
                true => next.run(request).await,
                false => axum::response::IntoResponse::into_response(axum::http::StatusCode::UNAUTHORIZED),
            }
        });
        let router = axum::Router::new().nest_service("/mcp", service).layer(guard);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server { sessions, address }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

/// MQTT as a transport of MCP: each line that is written is a request, each message that comes a line. Requests do not wait for one another.
pub(super) fn transport(connecting: Connecting, topic: &str) -> tokio::io::DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (replies, topic) = (unique("replies/"), topic.to_owned());
    let mut asks = connecting.clone().id(&unique("asks")).connect();
    let mut hears = connecting.id(&unique("hears")).connect();
    hears.subscribe(&replies, 1);
    let (input, mut output) = tokio::io::split(theirs);
    let handle = tokio::runtime::Handle::current();
    let runtime = handle.clone();
    std::thread::spawn(move || {
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(input));
        while let Ok(Some(line)) = runtime.block_on(lines.next_line()) {
            asks.ask(request(&topic, &line, &replies, "d"));
        }
    });
    std::thread::spawn(move || {
        // What comes later than that is nobody's any more.
        while let client::Came::Packet(packet) = hears.came_within(PATIENCE) {
            let Packet::Publish(publish) = packet else { continue };
            hears.send(puback(publish.packet_id.expect("QoS 1").get()));
            let line = [&publish.payload[..], b"\n"].concat();
            if handle.block_on(tokio::io::AsyncWriteExt::write_all(&mut output, &line)).is_err() {
                return;
            }
        }
    });
    ours
}

pub(super) fn modes() -> [ClientLifecycleMode; 2] {
    [ClientLifecycleMode::Initialize, ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] }]
}

/// A client of the official SDK lists tools, and calls one several times at once.
pub(super) async fn check_calculator(transport: tokio::io::DuplexStream, mode: ClientLifecycleMode, name: &str) {
    let client = ().serve_with_lifecycle(transport, mode).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let tools = client.list_all_tools().await.expect(name);
    assert!(tools.iter().any(|tool| tool.name == "add"), "{name}: {tools:?}");
    let calls = (0..8).map(|number| {
        let arguments = json!({ "a": number, "b": 40 }).as_object().cloned().unwrap();
        client.call_tool(CallToolRequestParams::new("add").with_arguments(arguments))
    });
    for (number, result) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        let result = serde_json::to_value(result.expect(name)).unwrap();
        assert_eq!(result["content"][0]["text"], (40 + number).to_string(), "{name}: {result:?}");
    }
}

/// What is called, with these arguments.
pub(super) fn call_with(id: impl Into<Value>, tool: &str, arguments: Value, meta: Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params }).to_string()
}

/// The same of a tool that has two numbers, or takes none.
pub(super) fn call_of(id: impl Into<Value>, tool: &str, meta: Value) -> String {
    call_with(id, tool, json!({ "a": 2, "b": 40 }), meta)
}

/// What the stateless revision wants in every request.
pub(super) fn stateless(mut meta: Value) -> Value {
    meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta
}

/// Both eras.
pub(super) fn metas(meta: &Value) -> [Value; 2] {
    [meta.clone(), stateless(meta.clone())]
}

#[track_caller]
pub(super) fn hear_rpc(client: &mut Client) -> Value {
    serde_json::from_slice(&client.hear().payload).expect("JSON-RPC")
}
