//! MCP for real: a client of the official SDK, over MQTT, to MCP servers behind the broker, wherever these are, in either era.

use std::time::Duration;

use mqttd_tests::cluster::until;
use mqttd_tests::*;
use serde_json::{Value, json};

use super::calculator::*;
use super::kit::*;

#[test]
fn a_client_of_either_era_lists_and_calls_tools() {
    for place in EVERYWHERE {
        let Some(house) = house() else { return };
        let _worker = house.start(place.route(&house, &Calculator::new()));
        for mode in modes() {
            let name = format!("{place:?} {mode:?}");
            house.runtime.block_on(async { check_calculator(transport(house.broker.client(V5), "mcp"), mode, &name).await });
        }
    }
}

#[test]
fn what_is_in_the_messages_passes_through_in_either_era() {
    for place in EVERYWHERE {
        let Some(house) = house() else { return };
        let calculator = Calculator::new();
        let _worker = house.start(place.route(&house, &calculator));
        let ((mut ann, ann_hears), (mut bob, bob_hears)) = (house.requester(), house.requester());
        for meta in metas(&json!({ "progressToken": "p" })) {
            // Two clients with the same JSON-RPC id and the same progress token.
            for (client, replies) in [(&mut ann, &ann_hears), (&mut bob, &bob_hears)] {
                client.ask(request("mcp", call_of("1", "add", meta.clone()), replies, "d").user("traceparent", "00-1-2-00"));
            }
            for client in [&mut ann, &mut bob] {
                let progress = hear_rpc(client);
                assert_eq!((&progress["method"], &progress["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
                let came = hear_rpc(client);
                assert_eq!((&came["id"], &came["result"]["content"][0]["text"]), (&json!("1"), &json!("42")), "{place:?}: {came}");
            }
            let unknown = json!({ "jsonrpc": "2.0", "id": "u", "method": "x/unknown", "params": { "_meta": meta } });
            ann.ask(request("mcp", unknown.to_string(), &ann_hears, "d"));
            let came = hear_rpc(&mut ann);
            assert_eq!((&came["id"], &came["error"]["code"]), (&json!("u"), &json!(-32601)), "{place:?}: {came}");
        }
        assert_eq!(calculator.has_noted("00-1-2-00"), 4, "{place:?}");
        // A notification has no reply; what comes next is the answer to what is asked next.
        for notification in ["notifications/initialized", "notifications/x"] {
            ann.ask(request("mcp", json!({ "jsonrpc": "2.0", "method": notification }).to_string(), &ann_hears, "n"));
        }
        ann.ask(request("mcp", call_of(7, "add", json!({})), &ann_hears, "d"));
        assert_eq!(hear_rpc(&mut ann)["id"], 7);
        // The server knows why it does not answer, and its own words reach the client.
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": "1999-01-01", "io.modelcontextprotocol/clientCapabilities": {} });
        ann.ask(request("mcp", call_of(8, "add", meta), &ann_hears, "d"));
        let came = hear_rpc(&mut ann);
        assert_eq!((&came["id"], &came["error"]["code"]), (&json!(8), &json!(-32022)), "{place:?}: {came}");
        ann.ask(request("mcp", "no JSON", &ann_hears, "d"));
        assert_eq!(hear_rpc(&mut ann)["error"]["code"], -32700);
        ann.ask(request("mcp", "[]", &ann_hears, "d"));
        assert_eq!(hear_rpc(&mut ann)["error"]["code"], -32600);
        ann.expect_nothing();
        bob.expect_nothing();
    }
}

#[test]
fn a_call_that_is_taken_back_is_cancelled_at_the_server() {
    for place in EVERYWHERE {
        let Some(house) = house() else { return };
        let calculator = Calculator::new();
        let worker = house.start(place.route(&house, &calculator).concurrency(1));
        let (mut client, replies) = house.requester();
        for (before, meta) in metas(&json!({})).into_iter().enumerate() {
            client.ask(request("mcp", call_of(1, "wait", meta), &replies, "d"));
            until("it works", || calculator.has_noted("wait has begun") == before + 1);
            let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
            client.ask(request("mcp", cancelled.to_string(), &replies, "c"));
            until(&format!("{place:?} hears that nobody waits"), || calculator.has_noted("wait was cancelled") == before + 1);
            until("it is over", || worker.stats().running == 0);
        }
        // The only hand is free.
        client.ask(request("mcp", call_of(2, "add", json!({})), &replies, "d"));
        assert_eq!(hear_rpc(&mut client)["id"], 2, "{place:?}");
        client.expect_nothing();
    }
}

/// Nothing goes on in this process when nobody waits any more, though the tool does not listen; and what breaks does not take the worker along.
#[test]
fn a_tool_in_this_process_ends_with_its_call() {
    let Some(house) = house() else { return };
    let calculator = Calculator::new();
    let worker = house.start(Where::InProcess.route(&house, &calculator).concurrency(1));
    let hasty = house.worker().request_timeout(Duration::from_millis(300));
    let _hasty = house.start(hasty.route("hasty", mcp_worker_sdk::mcp::server(calculator.clone())));
    let (mut client, replies) = house.requester();
    client.ask(request("mcp", call_of(1, "sleep", json!({})), &replies, "d"));
    until("it works", || calculator.has_noted("sleep has begun") == 1);
    assert_eq!(calculator.has_noted("sleep has ended"), 0);
    client.ask(message("mcp", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    until("it is dropped", || calculator.has_noted("sleep has ended") == 1);
    client.ask(request("hasty", call_of(2, "sleep", json!({})), &replies, "d"));
    client.expect_within(PATIENCE, rpc_trouble(&replies, 2, -32001, "the handler took too long", "timeout", "d"));
    assert_eq!(calculator.has_noted("sleep has ended"), 2);
    client.ask(request("mcp", call_of(3, "panic", json!({})), &replies, "d"));
    client.expect_within(PATIENCE, rpc_trouble(&replies, 3, -32003, "the handler panicked", "worker-failed", "d"));
    client.ask(request("mcp", call_of(4, "add", json!({})), &replies, "d"));
    assert_eq!(hear_rpc(&mut client)["id"], 4);
    until("nothing runs", || worker.stats().running == 0);
}

/// It is told that its client is there, and that it does nothing for it.
#[test]
fn a_server_that_asks_its_client_gets_an_answer() {
    for place in EVERYWHERE {
        let Some(house) = house() else { return };
        let _worker = house.start(place.route(&house, &Calculator::new()));
        let (mut client, replies) = house.requester();
        client.ask(request("mcp", call_of(1, "ask_back", json!({})), &replies, "d"));
        assert_eq!(hear_rpc(&mut client)["result"]["content"][0]["text"], "ping true, roots false", "{place:?}");
    }
}

pub(super) const PYTHON_SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../mcp-worker-sdk/examples/mcp_stdio_server.py");

fn shout(id: impl Into<Value>, text: &str) -> String {
    call_with(id, "shout", json!({ "text": text }), json!({}))
}

/// A program of one thread, which knows the older era only. It reads when it has written, so what it says is to be heard while it is written to.
#[test]
fn large_messages_pass_through_a_program_of_one_thread() {
    let Some(house) = house() else { return };
    let mut command = tokio::process::Command::new("python3");
    command.arg(PYTHON_SERVER);
    let _worker = house.start(house.worker().route("mcp", mcp_worker_sdk::mcp::child_process(command)));
    let (mut client, replies) = house.requester();
    let text = "a".repeat(1_000_000);
    (0..8).for_each(|id| client.send(request("mcp", shout(id, &text), &replies, "d").id(id + 10)));
    let mut came: Vec<u64> = (0..8)
        .map(|_| {
            let came = hear_rpc(&mut client);
            assert!(came["result"]["content"][0]["text"] == text.to_uppercase(), "{:.200}", came.to_string());
            came["id"].as_u64().unwrap()
        })
        .collect();
    came.sort_unstable();
    assert_eq!(came, (0..8).collect::<Vec<_>>());
    // It refuses `server/discover`, and understands requests of the stateless era all the same.
    client.ask(request("mcp", call_with(9, "shout", json!({ "text": "b" }), stateless(json!({}))), &replies, "d"));
    assert_eq!(hear_rpc(&mut client)["result"]["content"][0]["text"], "B");
}

/// Its numbers, one for each start: the program is begun by a shell that writes down which process it becomes.
fn starts(notes: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(notes).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The Python server, begun by such a shell.
fn noted(notes: &std::path::Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", r#"echo $$ >> "$0"; exec python3 "$1""#]).arg(notes).arg(PYTHON_SERVER);
    command
}

fn signal(name: &str, process: &str) {
    let sent = std::process::Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).status();
    assert!(sent.unwrap().success());
}

#[test]
fn what_a_program_has_no_time_for_waits() {
    let Some(house) = house() else { return };
    let notes = file("starts", "");
    let worker = house.worker().concurrency(600).route("mcp", mcp_worker_sdk::mcp::child_process(noted(&notes)));
    let worker = house.start(worker);
    let (mut client, replies) = house.requester();
    client.ask(request("mcp", shout("first", "a"), &replies, "d"));
    assert_eq!(hear_rpc(&mut client)["id"], "first");
    // More than its pipe and the queue before it hold.
    let (process, text) = (&starts(&notes)[0], "a".repeat(2000));
    signal("STOP", process);
    for id in 0..500 {
        client.send(request("mcp", shout(id, &text), &replies, "d").qos(0));
    }
    until("all are asked", || worker.stats().running == 500);
    signal("CONT", process);
    for _ in 0..500 {
        let came = hear_rpc(&mut client);
        assert!(came["error"].is_null(), "{came}");
    }
    client.expect_nothing();
}

#[test]
fn a_program_that_is_killed_is_started_again() {
    let Some(house) = house() else { return };
    let notes = file("starts", "");
    let worker = house.start(house.worker().route("mcp", mcp_worker_sdk::mcp::child_process(noted(&notes))));
    let (mut client, replies) = house.requester();
    let asked = call(1);
    let ask = |client: &mut Client| -> Value {
        client.ask(request("mcp", &asked, &replies, "d"));
        hear_rpc(client)
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
        let came = hear_rpc(&mut client);
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
    let _worker = house.start(house.worker().route("mcp", mcp_worker_sdk::mcp::child_process(command)));
    let (mut client, replies) = house.requester();
    client.ask(request("mcp", call(1), &replies, "d"));
    let came = hear_rpc(&mut client);
    assert_eq!(came["error"]["code"], -32000, "{came}");
    until("it was started five times", || starts(&notes).len() >= 5);
    let times: Vec<u64> = starts(&notes).iter().map(|time| time.parse().unwrap()).collect();
    // 50, 100, 200 and 400 ms between them; a shell may take its time to say when it began.
    assert!(times[4] - times[0] >= 600_000_000, "{times:?}");
}
