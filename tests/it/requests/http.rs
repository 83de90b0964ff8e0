//! An MCP server of the official SDK behind streamable HTTP, and a worker in front of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mcp_worker_sdk::mcp;
use mqttd_tests::cluster::until;
use mqttd_tests::redis::free_port;
use mqttd_tests::*;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::ProgressNotificationParam;
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, tool, tool_router};
use serde_json::{Value, json};

use super::kit::*;
use super::mcp::{Add, check_calculator, modes, transport};

/// Adds two numbers, says how far it is, and writes down in which traces it was asked.
#[derive(Clone, Default)]
pub(super) struct Calculator {
    traces: Arc<Mutex<Vec<Value>>>,
}

#[tool_router(server_handler)]
impl Calculator {
    #[tool(description = "Add two numbers")]
    async fn add(&self, Parameters(Add { a, b }): Parameters<Add>, asked: RequestContext<RoleServer>) -> String {
        if let Some(trace) = asked.meta.get("traceparent") {
            self.traces.lock().unwrap().push(trace.clone());
        }
        if let Some(token) = asked.meta.get_progress_token() {
            asked.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await.unwrap();
        }
        (a + b).to_string()
    }

    #[tool(description = "Never comes back")]
    async fn wait(&self) -> String {
        std::future::pending().await
    }
}

/// A server at this address; its sessions can be looked at, and forgotten.
pub(super) struct Server {
    pub(super) sessions: Arc<LocalSessionManager>,
    pub(super) address: SocketAddr,
    calculator: Calculator,
}

impl Server {
    /// At this port, or any with 0. Who does not bring `secret` is not let in.
    pub(super) async fn start(port: u16, secret: Option<&'static str>, config: StreamableHttpServerConfig) -> Server {
        let (calculator, sessions) = (Calculator::default(), Arc::new(LocalSessionManager::default()));
        let served = calculator.clone();
        let service = StreamableHttpService::new(move || Ok(served.clone()), sessions.clone(), config);
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
        Server { sessions, address, calculator }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }
}

fn call(id: Value, tool: &str, meta: Value) -> String {
    let params = json!({ "name": tool, "arguments": { "a": 2, "b": 40 }, "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
}

/// What the stateless revision wants in every request.
fn stateless(mut meta: Value) -> Value {
    meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    meta
}

fn hear(client: &mut Client) -> Value {
    serde_json::from_slice(&client.hear().payload).expect("JSON-RPC")
}

#[test]
fn a_client_of_either_era_calls_tools_of_a_server_behind_http() {
    for is_json in [false, true] {
        let Some(house) = house() else { return };
        let config = StreamableHttpServerConfig::default().with_json_response(is_json);
        let server = house.runtime.block_on(Server::start(0, Some("Bearer secret"), config));
        let upstream = mcp::http(&server.url()).unwrap().with_header("Authorization", "Bearer secret");
        let _worker = house.start(house.worker().route("mcp", upstream));
        for mode in modes() {
            let client = house.broker.client(V5).connect();
            let name = format!("{mode:?}");
            house.runtime.block_on(async { check_calculator(transport(client, "mcp"), mode, &name).await });
        }
        assert_eq!(house.runtime.block_on(server.sessions.sessions.read()).len(), 1, "those of the older era share one");
    }
}

#[test]
fn what_is_in_the_messages_passes_through_http_in_either_era() {
    let Some(house) = house() else { return };
    let server = house.runtime.block_on(Server::start(0, None, StreamableHttpServerConfig::default()));
    let _worker = house.start(house.worker().route("mcp", mcp::http(&server.url()).unwrap()));
    let ((mut ann, ann_hears), (mut bob, bob_hears)) = (house.requester(), house.requester());
    for meta in [json!({ "progressToken": "p" }), stateless(json!({ "progressToken": "p" }))] {
        // Two clients with the same JSON-RPC id and the same progress token.
        for (client, replies) in [(&mut ann, &ann_hears), (&mut bob, &bob_hears)] {
            client.ask(request("mcp", call("1".into(), "add", meta.clone()), replies, "d").user("traceparent", "00-1-2-00"));
        }
        for client in [&mut ann, &mut bob] {
            let progress = hear(client);
            assert_eq!((&progress["method"], &progress["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
            let came = hear(client);
            assert_eq!((&came["id"], &came["result"]["content"][0]["text"]), (&json!("1"), &json!("42")), "{came}");
        }
        let unknown = json!({ "jsonrpc": "2.0", "id": "u", "method": "x/unknown", "params": { "_meta": meta } });
        ann.ask(request("mcp", unknown.to_string(), &ann_hears, "d"));
        let came = hear(&mut ann);
        assert_eq!((&came["id"], &came["error"]["code"]), (&json!("u"), &json!(-32601)), "{came}");
    }
    assert_eq!(*server.calculator.traces.lock().unwrap(), vec![json!("00-1-2-00"); 4]);
    // A notification has no reply; what comes next is the answer to what is asked next.
    ann.ask(request("mcp", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string(), &ann_hears, "n"));
    ann.ask(request("mcp", json!({ "jsonrpc": "2.0", "method": "notifications/x" }).to_string(), &ann_hears, "n"));
    ann.ask(request("mcp", call(7.into(), "add", json!({})), &ann_hears, "d"));
    assert_eq!(hear(&mut ann)["id"], 7);
    // The server knows why it does not answer, and its own words reach the client.
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "1999-01-01", "io.modelcontextprotocol/clientCapabilities": {} });
    ann.ask(request("mcp", call(8.into(), "add", meta), &ann_hears, "d"));
    let came = hear(&mut ann);
    assert_eq!((&came["id"], &came["error"]["code"]), (&json!(8), &json!(-32022)), "{came}");
    ann.expect_nothing();
    bob.expect_nothing();
}

#[test]
fn a_session_that_the_server_has_forgotten_is_begun_again() {
    let Some(house) = house() else { return };
    let server = house.runtime.block_on(Server::start(0, None, StreamableHttpServerConfig::default()));
    let _worker = house.start(house.worker().route("mcp", mcp::http(&server.url()).unwrap()));
    let (mut client, replies) = house.requester();
    for id in 1..=3 {
        client.ask(request("mcp", call(id.into(), "add", json!({})), &replies, "d"));
        let came = hear(&mut client);
        assert_eq!((&came["id"], &came["result"]["content"][0]["text"]), (&json!(id), &json!("42")), "{came}");
        house.runtime.block_on(server.sessions.sessions.write()).clear();
    }
}

#[test]
fn a_server_that_is_not_there_or_lets_nobody_in_is_an_error_until_it_does() {
    let Some(house) = house() else { return };
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/mcp");
    let stranger = house.worker().route("stranger", mcp::http(&url).unwrap());
    let _worker = house.start(stranger.route("mcp", mcp::http(&url).unwrap().with_header("authorization", "secret")));
    let (mut client, replies) = house.requester();
    let ask = |client: &mut Client, topic: &str, meta: Value| {
        client.ask(request(topic, call(1.into(), "add", meta), &replies, "d"));
        hear(client)
    };
    for meta in [json!({}), stateless(json!({}))] {
        let came = ask(&mut client, "mcp", meta);
        assert_eq!((&came["id"], &came["error"]["code"]), (&json!(1), &json!(-32000)), "{came}");
    }
    let _server = house.runtime.block_on(Server::start(port, Some("secret"), StreamableHttpServerConfig::default()));
    for meta in [json!({}), stateless(json!({}))] {
        assert_eq!(ask(&mut client, "mcp", meta.clone())["result"]["content"][0]["text"], "42");
        let came = ask(&mut client, "stranger", meta);
        assert_eq!(came["error"]["code"], -32000);
        assert!(came["error"]["message"].as_str().unwrap().contains("401"), "{came}");
    }
}

#[test]
fn a_call_that_is_taken_back_is_cancelled_at_the_server() {
    let Some(house) = house() else { return };
    let server = house.runtime.block_on(Server::start(0, None, StreamableHttpServerConfig::default()));
    let worker = house.start(house.worker().route("mcp", mcp::http(&server.url()).unwrap()));
    let (mut client, replies) = house.requester();
    for meta in [json!({}), stateless(json!({}))] {
        client.ask(request("mcp", call(1.into(), "wait", meta), &replies, "d"));
        until("it is asked", || worker.stats().running == 1);
        let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
        client.ask(request("mcp", cancelled.to_string(), &replies, "c"));
        until("it is over", || worker.stats().running == 0);
    }
    assert_eq!(worker.stats().cancelled, 2);
    // The server has hands for others.
    client.ask(request("mcp", call(2.into(), "add", json!({})), &replies, "d"));
    assert_eq!(hear(&mut client)["id"], 2);
    client.expect_nothing();
}
