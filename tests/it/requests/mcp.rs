//! MCP for real: a client of the official SDK, over MQTT, to MCP servers behind the broker.

use mcp_worker_sdk::mcp;
use mqttd_tests::cluster::until;
use mqttd_tests::*;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::{ClientLifecycleMode, ClientServiceExt, ServiceExt, schemars, tool, tool_router};
use serde_json::{Value, json};

use super::kit::*;

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(super) struct Add {
    pub(super) a: i64,
    pub(super) b: i64,
}

#[derive(Clone)]
struct Calculator;

#[tool_router(server_handler)]
impl Calculator {
    #[tool(description = "Add two numbers")]
    fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> String {
        (a + b).to_string()
    }
}

/// MQTT as a transport of MCP: each message is a request, each answer a message. It reads a line, as a program's input is read.
pub(super) fn transport(mut client: Client, topic: &str) -> tokio::io::DuplexStream {
    use std::io::{BufRead, Write};
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let replies = unique("replies/");
    client.subscribe(&replies, 1);
    let topic = topic.to_owned();
    let (input, mut output) = tokio::io::split(theirs);
    let handle = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        let _entered = handle.enter();
        let mut lines = std::io::BufReader::new(SyncRead(input, handle.clone())).lines();
        while let Some(Ok(line)) = lines.next() {
            let is_request = serde_json::from_str::<Value>(&line).unwrap().get("id").is_some();
            client.ask(request(&topic, &line, &replies, "d"));
            let mut is_answered = !is_request;
            while !is_answered {
                let mut message = client.hear().payload.to_vec();
                is_answered = serde_json::from_slice::<Value>(&message).unwrap().get("method").is_none(); // no progress
                message.push(b'\n');
                SyncWrite(&mut output, handle.clone()).write_all(&message).unwrap();
            }
        }
    });
    ours
}

struct SyncRead<R>(R, tokio::runtime::Handle);

impl<R: tokio::io::AsyncRead + Unpin> std::io::Read for SyncRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1.block_on(tokio::io::AsyncReadExt::read(&mut self.0, buffer))
    }
}

struct SyncWrite<'a, W>(&'a mut W, tokio::runtime::Handle);

impl<W: tokio::io::AsyncWrite + Unpin> std::io::Write for SyncWrite<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.block_on(tokio::io::AsyncWriteExt::write(self.0, bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) fn modes() -> [ClientLifecycleMode; 2] {
    [ClientLifecycleMode::Initialize, ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::LATEST] }]
}

#[test]
fn a_client_of_either_era_lists_and_calls_tools() {
    let Some(house) = house() else { return };
    let _worker = house.start(house.worker().route("agents/calc/mcp", mcp::server(Calculator)));
    for mode in modes() {
        let client = house.broker.client(V5).connect();
        let name = format!("{mode:?}");
        house.runtime.block_on(async { check_calculator(transport(client, "agents/calc/mcp"), mode, &name).await });
    }
}

pub(super) async fn check_calculator(transport: tokio::io::DuplexStream, mode: ClientLifecycleMode, name: &str) {
    let client = ().serve_with_lifecycle(transport, mode).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let tools = client.list_all_tools().await.expect(name);
    assert_eq!(tools[0].name, "add", "{name}");
    let arguments = json!({ "a": 2, "b": 40 }).as_object().cloned().unwrap();
    let result = client.call_tool(CallToolRequestParams::new("add").with_arguments(arguments)).await.expect(name);
    assert!(serde_json::to_string(&result).unwrap().contains("\"42\""), "{name}: {result:?}");
}

#[test]
fn what_is_no_known_request_is_answered_as_json_rpc_says() {
    let Some(house) = house() else { return };
    let _worker = house.start(house.worker().route("mcp", mcp::server(Calculator)));
    let (mut client, replies) = house.requester();
    let mut ask = |payload: &str| -> Value {
        client.ask(request("mcp", payload, &replies, "d"));
        serde_json::from_slice(&client.hear().payload).unwrap()
    };
    let came = ask(&json!({ "jsonrpc": "2.0", "id": "x", "method": "x/unknown", "params": { "a": 1 } }).to_string());
    assert_eq!((&came["id"], &came["error"]["code"]), (&json!("x"), &json!(-32601)), "{came}");
    assert_eq!(ask("no JSON")["error"]["code"], -32700);
    assert_eq!(ask("[]")["error"]["code"], -32600);
    // A notification has no reply; what comes next is the answer to what is asked next.
    client.ask(request("mcp", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string(), &replies, "n"));
    client.ask(request("mcp", json!({ "jsonrpc": "2.0", "id": 5, "method": "ping" }).to_string(), &replies, "d"));
    let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
    assert_eq!(came["id"], 5);
    client.expect_nothing();
}

pub(super) fn python() -> bool {
    std::process::Command::new("python3").arg("--version").stdout(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../mcp-worker-sdk/examples/mcp_stdio_server.py");

#[test]
fn a_server_that_is_a_program_answers_and_what_is_in_the_messages_passes_through() {
    let Some(house) = house() else { return };
    if !python() {
        return println!("skipped: no python3");
    }
    let mut command = tokio::process::Command::new("python3");
    command.arg(SERVER);
    let _worker = house.start(house.worker().route("mcp", mcp::child_process(command)));
    let client = house.broker.client(V5).connect();
    house.runtime.block_on(async {
        let client = ().serve(transport(client, "mcp")).await.expect("the handshake of the older era");
        assert_eq!(client.list_all_tools().await.unwrap()[0].name, "shout");
        let arguments = json!({ "text": "hello" }).as_object().cloned().unwrap();
        let result = client.call_tool(CallToolRequestParams::new("shout").with_arguments(arguments)).await.unwrap();
        assert!(serde_json::to_string(&result).unwrap().contains("HELLO"));
    });
    let ((mut ann, ann_hears), (mut bob, bob_hears)) = (house.requester(), house.requester());
    // Two clients with the same JSON-RPC id and the same progress token.
    for (client, replies, text) in [(&mut ann, &ann_hears, "a"), (&mut bob, &bob_hears, "b")] {
        let params = json!({ "name": "shout", "arguments": { "text": text }, "_meta": { "progressToken": "p" } });
        client.ask(request(
            "mcp",
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string(),
            replies,
            "d",
        ));
    }
    for (client, text) in [(&mut ann, "A"), (&mut bob, "B")] {
        let progress: Value = serde_json::from_slice(&client.hear().payload).unwrap();
        assert_eq!((&progress["method"], &progress["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
        let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
        assert_eq!((&came["id"], &came["result"]["content"][0]["text"]), (&json!(1), &json!(text)));
    }
    // What is unknown passes through, both ways, and with the trace of the MQTT message.
    let unknown = json!({ "jsonrpc": "2.0", "id": "u", "method": "x/echo", "params": { "any": [1, null] } }).to_string();
    ann.ask(request("mcp", unknown, &ann_hears, "d").user("traceparent", "00-1-2-00"));
    let came: Value = serde_json::from_slice(&ann.hear().payload).unwrap();
    assert_eq!(came["result"], json!({ "any": [1, null], "_meta": { "traceparent": "00-1-2-00" } }));
}

/// Its numbers, one for each start: the program is begun by a shell that writes down which process it becomes.
fn starts(notes: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(notes).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn signal(name: &str, process: &str) {
    let sent = std::process::Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_program_that_is_killed_is_started_again() {
    let Some(house) = house() else { return };
    if !python() {
        return println!("skipped: no python3");
    }
    let notes = file("starts", "");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", r#"echo $$ >> "$0"; exec python3 "$1""#]).arg(&notes).arg(SERVER);
    let worker = house.start(house.worker().route("mcp", mcp::child_process(command)));
    let (mut client, replies) = house.requester();
    let asked = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let ask = |client: &mut Client| -> Value {
        client.ask(request("mcp", &asked, &replies, "d"));
        serde_json::from_slice(&client.hear().payload).unwrap()
    };
    assert_eq!(ask(&mut client)["result"]["tools"][0]["name"], "shout");
    for deaths in 1..=2 {
        let before = starts(&notes);
        assert_eq!(before.len(), deaths);
        // What it has in hand when it dies is answered with an error.
        until("nothing runs", || worker.stats().running == 0);
        signal("STOP", &before[deaths - 1]);
        client.ask(request("mcp", &asked, &replies, "d"));
        until("it has been asked", || worker.stats().running == 1);
        signal("KILL", &before[deaths - 1]);
        let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
        assert_eq!((&came["id"], &came["error"]["code"]), (&json!(1), &json!(-32000)), "{came}");
        until("it is there again", || ask(&mut client)["result"]["tools"][0]["name"] == "shout");
        assert_eq!(starts(&notes).len(), deaths + 1, "it was started once");
    }
}

#[test]
fn a_program_that_ends_at_once_is_started_more_and_more_seldom() {
    let Some(house) = house() else { return };
    let notes = file("starts", "");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", r#"date +%s%N >> "$0""#]).arg(&notes);
    let _worker = house.start(house.worker().route("mcp", mcp::child_process(command)));
    let (mut client, replies) = house.requester();
    client.ask(request("mcp", json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string(), &replies, "d"));
    let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
    assert_eq!(came["error"]["code"], -32000, "{came}");
    until("it was started five times", || starts(&notes).len() >= 5);
    let times: Vec<u64> = starts(&notes).iter().map(|time| time.parse().unwrap()).collect();
    // 50, 100, 200 and 400 ms between them; a shell may take its time to say when it began.
    assert!(times[4] - times[0] >= 600_000_000, "{times:?}");
}
