//! Handlers within the broker's own process: no Redis, the same meaning.

use std::time::Duration;

use mcp_worker_sdk::{Failure, Request, json};
use mqttd::node::Node;
use mqttd_tests::connecting::Connecting;
use mqttd_tests::*;

use super::kit::*;

#[test]
fn a_handler_in_this_process_answers_as_a_worker_would() {
    let runtime = runtime();
    let node = Node::builder().listen("tcp://127.0.0.1:0").set("mcp.timeout_s", "2").set("mcp.payload_bytes_max", "100");
    let node = node.set("admin", "off").on_request("echo/+", |r: Request| async move { format!("{} {}", r.params[0], r.client_id) });
    let node = node.on_request("add", json(|(a, b): (i64, i64)| async move { Ok::<_, Failure>(a + b) }));
    let node = node.on_request("panic", |_: Request| async { if true { panic!("on purpose") } else { "" } });
    let node = node.on_request("never", |_: Request| std::future::pending::<String>());
    let node = node.on_request("retry", |r: Request| async move {
        if r.attempt < 3 { Err(Failure::retry("not yet")) } else { Ok(r.attempt.to_string()) }
    });
    let (told, noticed) = std::sync::mpsc::channel();
    let node = node.on_request("notices", move |r: Request| {
        let told = told.clone();
        async move {
            r.cancelled().await;
            tokio::time::sleep(Duration::from_millis(20)).await; // it may do something about it
            told.send(()).unwrap();
            ""
        }
    });
    let node = node.on_request("unsayable", |_: Request| async { mcp_worker_sdk::Reply::new("x").with_content_type("a\0b") });
    let node = node.on_request("count", |r: Request| async move {
        for n in 0..3 {
            r.part(n.to_string()).await?;
        }
        Ok::<_, Failure>("end")
    });
    let refused = Node::builder().on_request("a/#/b", |_: Request| async { "" });
    assert!(runtime.block_on(refused.bind()).is_err());
    let node = runtime.block_on(node.bind()).unwrap();
    let address = node.addresses()[0].1;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = runtime.spawn(node.run_until(async { drop(stopped.await) }));

    let mut client = Connecting::new(address, V5).connect();
    client.subscribe("replies", 1);
    let id = client.id.clone();
    client.ask(request("echo/7", "x", "replies", "d"));
    client.expect_within(PATIENCE, answer("replies", format!("7 {id}"), "d"));
    client.ask(request("add", "[2, 3]", "replies", "d"));
    client.expect_within(PATIENCE, answer("replies", "5", "d").with(|p| p.content_type = Some("application/json".into())));
    client.ask(request("panic", "", "replies", "d"));
    client.expect_within(PATIENCE, trouble("replies", "the handler panicked", "worker-failed", "d"));
    client.ask(request("retry", "", "replies", "d"));
    client.expect_within(PATIENCE, answer("replies", "3", "d"));
    client.ask(request("echo/7", vec![b'x'; 101], "replies", "d"));
    client.expect_within(PATIENCE, trouble("replies", "the request is too large", "too-large", "d"));
    client.ask(request("count", "", "replies", "d"));
    for payload in ["0", "1", "2", "end"] {
        client.expect_within(PATIENCE, answer("replies", payload, "d"));
    }
    client.ask(request("unsayable", "", "replies", "d"));
    client.expect_within(PATIENCE, trouble("replies", "the answer has a text that MQTT has no words for", "worker-failed", "d"));
    client.ask(request("notices", "", "replies", "n"));
    client.ask(message("notices", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("n".into())));
    noticed.recv_timeout(PATIENCE).expect("it has a moment to notice");
    client.ask(request("never", "", "replies", "late"));
    client.ask(request("never", "", "replies", "back"));
    client.ask(message("never", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("back".into())));
    client.expect_within(Duration::from_secs(10), trouble("replies", "no answer in time", "timeout", "late"));
    // Nobody answers other topics: they are messages as any other.
    client.ask(request("elsewhere", "", "replies", "d"));
    client.expect_nothing();
    stop.send(()).unwrap();
    runtime.block_on(running).unwrap();
}
