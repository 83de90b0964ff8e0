//! Somebody always answers: no worker, no answer in time, a worker that says no, a request that is taken back.

use std::time::{Duration, Instant};

use mqttd_tests::*;
use serde_json::{Value, json};

use super::kit::*;

fn call(id: i64) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }).to_string()
}

#[test]
fn no_worker_is_said_within_100_ms() {
    let Some(house) = house() else { return };
    let (mut client, replies) = house.requester();
    // The best of a few: the machine may have much else to do.
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        client.ask(request("t", "x", &replies, "d"));
        client.expect_publish(trouble(&replies, "no worker answers this topic", "no-worker", "d"));
        best = best.min(started.elapsed());
    }
    println!("no worker: said after {best:?}");
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[test]
fn an_error_reply_to_json_rpc_is_json_rpc() {
    let Some(house) = house() else { return };
    let (mut client, replies) = house.requester();
    client.ask(request("t", call(7), &replies, "d"));
    let came = client.hear();
    let expected = json!({ "jsonrpc": "2.0", "id": 7, "error": { "code": -32002, "message": "no worker answers this topic",
        "data": { "mqttd-error": "no-worker" } } });
    assert_eq!(serde_json::from_slice::<Value>(&came.payload).unwrap(), expected);
    let properties = came.properties.unwrap();
    assert_eq!(properties.user_properties, [("mqttd-error".into(), "no-worker".into())]);
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"d"[..]));
    // A notification has no reply, not even this one.
    client.ask(request("t", json!({ "jsonrpc": "2.0", "method": "notifications/x" }).to_string(), &replies, "d"));
    client.ask(request("t", call(8), &replies, "e"));
    assert_eq!(client.hear().properties.unwrap().correlation_data.as_deref(), Some(&b"e"[..]));
    client.expect_nothing();
}

/// Ordinary requests and responses between MQTT clients go on as if there were no workers at all.
#[test]
fn where_somebody_subscribes_to_the_topic_and_no_worker_is_there_nothing_is_said() {
    let Some(house) = house() else { return };
    let (mut client, replies) = house.requester();
    let mut responder = house.broker.client(V5).connect();
    responder.subscribe("t", 1);
    client.ask(request("t", "x", &replies, "d"));
    responder.expect_publish(request("t", "x", &replies, "d"));
    responder.ask(answer(&replies, "by MQTT", "d"));
    client.expect_publish(answer(&replies, "by MQTT", "d"));
    mqttd_tests::cluster::until("it is over", || house.redis.query::<u64>(&["ZCARD", &house.key("{mcp}:due")]) == 0);
    client.expect_nothing();
}

#[test]
fn a_deadline_is_said_when_it_has_passed() {
    let Some(house) = house_with(|config| config.mcp.timeout_s = 1) else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    let started = Instant::now();
    client.ask(request("t", "x", &replies, "d"));
    let heard = worker.next();
    client.expect_within(PATIENCE, trouble(&replies, "no answer in time", "timeout", "d"));
    assert!(started.elapsed() >= Duration::from_millis(990), "{:?}", started.elapsed());
    worker.answer(&heard, "too late");
    client.ask(request("t", call(3), &replies, "e"));
    worker.next();
    let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
    assert_eq!((&came["id"], &came["error"]["code"]), (&json!(3), &json!(-32001)));
    client.expect_nothing();
}

#[test]
fn a_message_expiry_interval_is_a_deadline() {
    let Some(house) = house() else { return };
    let worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d").expiry(1));
    worker.next();
    client.expect_within(PATIENCE, trouble(&replies, "no answer in time", "timeout", "d"));
}

#[test]
fn requests_may_wait_for_a_worker() {
    let Some(house) = house_with(|config| config.mcp.no_worker = "wait".to_owned()) else { return };
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    client.expect_nothing();
    let _worker = house.start(house.worker().route("t", |r: mcp_worker_sdk::Request| async move { r.payload }));
    client.expect_within(PATIENCE, answer(&replies, "x", "d"));
}

#[test]
fn what_a_worker_calls_an_error_is_one() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    let heard = worker.next();
    worker.answer_with(&heard, json!({ "error": { "code": "anything", "message": "it broke" } }));
    client.expect_publish(trouble(&replies, "it broke", "worker-failed", "d"));
    client.ask(request("t", call(4), &replies, "d"));
    let heard = worker.next();
    worker.answer_with(&heard, json!({ "error": { "message": "it broke" } }));
    let came: Value = serde_json::from_slice(&client.hear().payload).unwrap();
    assert_eq!((&came["id"], &came["error"]["code"], &came["error"]["message"]), (&json!(4), &json!(-32003), &json!("it broke")));
}

#[test]
fn a_request_is_taken_back_by_its_correlation_data_or_its_json_rpc_id() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let cancelled = listen(house.redis, &house.key("mcp:cancelled"));
    let (mut client, replies) = house.requester();
    let (mut other, other_hears) = house.requester();

    client.ask(request("t", "x", &replies, "d"));
    let heard = worker.next();
    other.ask(request("t", "", &other_hears, "d").user("mqttd-cancel", "1")); // not its own
    client.ask(message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    assert_eq!(cancelled.recv_timeout(PATIENCE).unwrap(), json!({ "correlation_id": heard["correlation_id"] }));
    worker.answer(&heard, "nobody wants it");

    client.ask(request("t", call(9), &replies, "e"));
    let heard = worker.next();
    let taken_back = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 9 } });
    client.ask(request("t", taken_back.to_string(), &replies, "f"));
    assert_eq!(cancelled.recv_timeout(PATIENCE).unwrap(), json!({ "correlation_id": heard["correlation_id"] }));
    worker.answer(&heard, "nobody wants it");

    client.ask(request("t", "y", &replies, "g"));
    let heard = worker.next();
    worker.answer(&heard, "wanted");
    client.expect_publish(answer(&replies, "wanted", "g"));
    client.expect_nothing();
}
