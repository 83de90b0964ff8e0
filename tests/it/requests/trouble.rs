//! Somebody always answers: no worker, no answer in time, a worker that says no, a request that is taken back.

use std::time::{Duration, Instant};

use mqttd_tests::*;
use serde_json::json;

use super::kit::*;

#[test]
fn an_error_reply_to_json_rpc_is_json_rpc() {
    let Some(house) = house() else { return };
    let (mut client, replies) = house.requester();
    client.ask(request("t", call(7), &replies, "d"));
    client.expect_publish(rpc_trouble(&replies, 7, -32002, "no worker answers this topic", "no-worker", "d"));
    client.ask(request("t", call("an id"), &replies, "d"));
    client.expect_publish(rpc_trouble(&replies, "an id", -32002, "no worker answers this topic", "no-worker", "d"));
    // A notification has no reply, not even this one.
    client.ask(request("t", json!({ "jsonrpc": "2.0", "method": "notifications/x" }).to_string(), &replies, "d"));
    client.ask(request("t", call(8), &replies, "e"));
    client.expect_publish(rpc_trouble(&replies, 8, -32002, "no worker answers this topic", "no-worker", "e"));
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
    client.expect_within(PATIENCE, rpc_trouble(&replies, 3, -32001, "no answer in time", "timeout", "e"));
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
    client.expect_publish(rpc_trouble(&replies, 4, -32003, "it broke", "worker-failed", "d"));
    // It may say which of the words it is, and its own payload comes as it is.
    client.ask(request("t", call(5), &replies, "d"));
    let heard = worker.next();
    worker.answer_with(&heard, json!({ "error": { "code": "unavailable" } }));
    client.expect_publish(rpc_trouble(&replies, 5, -32000, "the request could not be answered", "unavailable", "d"));
    client.ask(request("t", call(6), &replies, "d"));
    let heard = worker.next();
    worker.answer_with(
        &heard,
        json!({ "error": { "code": "timeout", "message": "no" }, "payload_b64": mcp_worker_sdk::wire::encode(b"own") }),
    );
    client.expect_publish(answer(&replies, "own", "d").user("mqttd-error", "timeout"));
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
