//! Limits, and what is not allowed.

use mqttd_tests::*;
use serde_json::json;

use super::kit::*;

#[test]
fn a_worker_is_no_deputy_for_what_a_client_may_not_do() {
    let Some(house) = house_with(|config| config.access.deny_publish = vec!["orders/#".to_owned()]) else { return };
    let worker = house.plain();
    let mut client = house.broker.client(V5).connect();
    for (id, replies) in [(1, "orders/1"), (2, "$SYS/x")] {
        client.send(request("t", "x", replies, "d").id(id));
        client.expect_ack(Kind::Puback, id, Reason::NOT_AUTHORIZED);
    }
    client.send(request("t", "x", "orders/1", "d").qos(2).id(3));
    client.expect_ack(Kind::Pubrec, 3, Reason::NOT_AUTHORIZED);
    client.expect_nothing();
    assert!(worker.hears_nothing());
}

#[test]
fn a_payload_that_is_too_large_is_answered_at_once() {
    let Some(house) = house_with(|config| config.mcp.payload_bytes_max = 200) else { return };
    let worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", vec![b'x'; 201], &replies, "d"));
    client.expect_publish(trouble(&replies, "the request is too large", "too-large", "d"));
    let payload = json!({ "jsonrpc": "2.0", "id": "a", "method": "m", "params": "x".repeat(200) }).to_string();
    client.ask(request("t", payload, &replies, "d"));
    client.expect_publish(rpc_trouble(&replies, "a", -32004, "the request is too large", "too-large", "d"));
    assert!(worker.hears_nothing());
}

#[test]
fn too_many_in_flight_are_refused_until_some_are_answered() {
    let Some(house) = house_with(|config| config.mcp.in_flight_per_client_max = 2) else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "1", &replies, "d"));
    client.ask(request("t", "2", &replies, "d"));
    client.send(request("t", "3", &replies, "d").id(30));
    client.expect_ack(Kind::Puback, 30, Reason::QUOTA_EXCEEDED);
    // At QoS 0 nobody would hear of it otherwise.
    client.send(request("t", "4", &replies, "e").qos(0));
    client.expect_publish(trouble(&replies, "the request could not be answered", "unavailable", "e").qos(0));
    client.send(request("t", call(4), &replies, "e").qos(0));
    client.expect_publish(rpc_trouble(&replies, 4, -32000, "the request could not be answered", "unavailable", "e").qos(0));
    client.send(request("t", "5", &replies, "d").qos(2).id(31));
    client.expect_ack(Kind::Pubrec, 31, Reason::QUOTA_EXCEEDED);
    assert_eq!(house.count(|metrics| &metrics.mcp_requests_refused), 4);
    assert_eq!(house.count(|metrics| &metrics.mcp_errors_unavailable), 2);
    let (mut other, other_hears) = house.requester();
    other.ask(request("t", "5", &other_hears, "d"));
    let heard = worker.next();
    worker.answer(&heard, "1");
    client.expect_publish(answer(&replies, "1", "d"));
    // The place is free a moment after the answer.
    mqttd_tests::cluster::until("the place is free", || {
        let id = client.unused_packet_id();
        client.send(request("t", "6", &replies, "d").id(id));
        match client.next_event() {
            mqttd_tests::client::Came::Packet(Packet::Acknowledge(ack)) => !ack.reason.is_error(),
            other => client.fail("PUBACK", &other),
        }
    });
}

#[test]
fn too_many_of_all_clients_are_refused() {
    let Some(house) = house_with(|config| config.mcp.in_flight_max = 2) else { return };
    let _worker = house.plain();
    let ((mut ann, ann_hears), (mut bob, bob_hears)) = (house.requester(), house.requester());
    ann.ask(request("t", "1", &ann_hears, "d"));
    bob.ask(request("t", "2", &bob_hears, "d"));
    ann.send(request("t", "3", &ann_hears, "d").id(30));
    ann.expect_ack(Kind::Puback, 30, Reason::QUOTA_EXCEEDED);
    for call in ["4", "5"] {
        bob.send(request("t", call, &bob_hears, "e").qos(0));
        bob.expect_publish(trouble(&bob_hears, "the request could not be answered", "unavailable", "e").qos(0));
    }
    // What is no request is a message as any other.
    ann.publish(message("t", "x").qos(1));
}

#[test]
fn payloads_that_wait_have_a_bound_in_all() {
    let Some(house) = house_with(|config| config.mcp.in_flight_bytes_max = 1000) else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", vec![b'x'; 900], &replies, "d"));
    client.send(request("t", vec![b'x'; 101], &replies, "d").id(30));
    client.expect_ack(Kind::Puback, 30, Reason::QUOTA_EXCEEDED);
    client.ask(request("t", vec![b'x'; 100], &replies, "e"));
    let heard = worker.next();
    worker.answer(&heard, "1");
    client.expect_publish(answer(&replies, "1", "d"));
    mqttd_tests::cluster::until("the place is free", || house.redis.query::<u64>(&["XLEN", &house.key("{mcp}:requests")]) == 1);
    client.ask(request("t", vec![b'x'; 900], &replies, "d"));
}

#[test]
fn a_turn_of_many_requests_holds_the_limit_exactly() {
    let Some(house) = house_with(|config| config.mcp.in_flight_per_client_max = 5) else { return };
    let worker = house.plain();
    let (mut client, replies) = house.requester();
    for id in 1..=20 {
        client.send(request("t", "x", &replies, "d").id(id));
    }
    let refused = (1..=20).filter(|_| match client.next_event() {
        mqttd_tests::client::Came::Packet(Packet::Acknowledge(ack)) => ack.reason == Reason::QUOTA_EXCEEDED,
        other => client.fail("PUBACK", &other),
    });
    assert_eq!(refused.count(), 15);
    (0..5).for_each(|_| drop(worker.next()));
    assert!(worker.hears_nothing());
}

#[test]
fn a_rate_is_held() {
    let Some(house) = house_with(|config| config.mcp.rate_per_client_max = 1) else { return };
    let worker = house.plain();
    let (mut client, replies) = house.requester();
    // Of four in one write, which come at the same moment, one is taken.
    let mut bytes = bytes::BytesMut::new();
    for id in 1..=3 {
        Packet::from(request("t", id.to_string(), &replies, "d").id(id)).encode(V5, &mut bytes);
    }
    Packet::from(request("t", "4", &replies, "e").qos(0)).encode(V5, &mut bytes);
    client.send_bytes(&bytes);
    client.expect_puback(1);
    for id in [2, 3] {
        client.expect_ack(Kind::Puback, id, Reason::QUOTA_EXCEEDED);
    }
    client.expect_publish(trouble(&replies, "the request could not be answered", "unavailable", "e").qos(0));
    worker.next();
    client.expect_nothing();
    assert!(worker.hears_nothing());
    // The next second has room for one more.
    mqttd_tests::cluster::until("the second is over", || {
        let id = client.unused_packet_id() + 10;
        client.send(request("t", "x", &replies, "d").id(id));
        match client.next_event() {
            mqttd_tests::client::Came::Packet(Packet::Acknowledge(ack)) => !ack.reason.is_error(),
            other => client.fail("PUBACK", &other),
        }
    });
}
