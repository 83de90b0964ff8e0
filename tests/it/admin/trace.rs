//! What becomes of a message, and why: for one client or topic, on all nodes (FEATURES.md section 8, traces and fate).

use mqttd::Node as Embedded;
use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::trace::Trace;
use mqttd_tests::*;

#[test]
fn a_message_is_followed_through_the_cluster() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let admin = cluster.node(0).admin();
    until("both know of each other", || admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 2);
    let mut publisher = cluster.client(0, V5).id("p").connect();
    let (mut durable, mut live) = (cluster.durable(1, V5, "d"), cluster.client(1, V5).id("l").connect());
    durable.subscribe("t/+", 1);
    live.subscribe("t/#", 1);
    let (mut trace, nodes) = Trace::begin(&admin, &["--topic", "t/#"]);
    assert_eq!(nodes, ["n0", "n1"]);
    publisher.publish(message("t/1", "the payload").qos(1));
    durable.receive(message("t/1", "the payload").qos(1));
    live.receive(message("t/1", "the payload").qos(1));
    publisher.publish(message("other", "x").qos(1));
    let way = ["n0 received p", "n0 queued d", "n0 posted p", "n1 arrived p", "n1 handed l", "n1 sent d", "n1 sent l"];
    let seen = trace.until(&[&way[..], &["n1 acknowledged d", "n1 acknowledged l"]].concat());
    assert_eq!(seen.len(), way.len() + 2, "{seen:?}");
    // One message, whatever node speaks of it, and no word of what is in it.
    let notes = &trace.said()[1..];
    assert!(notes.iter().all(|note| note["message"] == notes[0]["message"] && note["topic"] == "t/1"), "{notes:?}");
    assert!(!format!("{notes:?}").contains("the payload"));
    // Of the client alone; what is not connected has it in its queue until it expires there.
    durable.disconnect();
    let (mut of_client, _) = Trace::begin(&admin, &["--client", "d"]);
    publisher.publish(message("t/2", "x").qos(1).expiry(1));
    publisher.publish(message("t/3", "x"));
    assert_eq!(of_client.until(&["n0 expired d"]), ["n0 queued d", "n0 away d", "n0 expired d"]);
    let mut again = cluster.client(1, V5).id("d").resume().connect();
    again.expect_nothing();
}

#[test]
fn why_a_message_is_not_delivered() {
    let rules = Scratch::new("deny publish forbidden\ndeny client blind subscribe a/secret\nallow all #\n");
    let broker = Broker::administered(|config| {
        config.access.rules_file = Some(rules.path());
        config.session.queue_messages_max = 1;
        config.limits.topic_levels_max = 3;
    });
    let mut small = broker.client(V5).id("small").maximum_packet_size(60).connect();
    let mut own = broker.client(V5).id("own").connect();
    let mut blind = broker.client(V5).id("blind").connect();
    let mut away = broker.client(V5).id("away").durable().connect();
    small.subscribe("large", 1);
    own.subscribe("own", options(1).no_local());
    blind.subscribe("a/+", 1);
    away.subscribe("away", 1);
    away.disconnect();
    let (mut trace, _) = Trace::begin(&broker.admin(), &["--topic", "#"]);
    let node = trace.said()[0]["nodes"][0].as_str().unwrap().to_owned();
    let mut publisher = broker.client(V5).id("p").connect();
    let mut tell = |topic: &str, reason: Reason, payload: &str, qos: u8| {
        let message = message(topic, payload).qos(qos);
        if qos == 0 {
            return publisher.send(message);
        }
        let id = publisher.unused_packet_id();
        publisher.send(message.id(id));
        publisher.expect_ack(Kind::Puback, id, reason);
    };
    tell("nobody", Reason::NO_MATCHING_SUBSCRIBERS, "", 1);
    tell("forbidden", Reason::NOT_AUTHORIZED, "", 1);
    tell("1/2/3/4", Reason::TOPIC_NAME_INVALID, "", 1);
    tell("large", Reason::SUCCESS, &"x".repeat(60), 1);
    tell("a/secret", Reason::NO_MATCHING_SUBSCRIBERS, "", 1);
    tell("away", Reason::SUCCESS, "", 0);
    tell("away", Reason::SUCCESS, "1", 1);
    tell("away", Reason::SUCCESS, "2", 1);
    own.publish(message("own", "x").qos(1));
    let expected =
        ["no_subscribers p", "refused p", "too_large small", "denied blind", "away away", "queued away", "queue_full away", "no_local own"];
    let expected = expected.map(|line| format!("{node} {line}"));
    trace.until(&expected.each_ref().map(String::as_str));
    let refused: Vec<_> =
        trace.said().iter().filter(|note| note["step"] == "refused").map(|note| note["detail"].as_str().unwrap()).collect();
    assert_eq!(refused, ["0x87 Not authorized", "0x90 Topic Name invalid"]);
}

/// What user code and the end of a Session do to messages.
#[test]
fn what_handlers_and_the_end_of_a_session_do_is_told() {
    let builder = Embedded::builder()
        .on_publish("no/#", || async { Err::<(), _>(Reason::QUOTA_EXCEEDED) })
        .on_publish("other/#", || async { mqttd::Message::new("t/b", "rewritten").map(|message| message.qos(QoS::AtLeastOnce)) })
        .on_deliver("t/a", || async { Err::<(), _>(Reason::NOT_AUTHORIZED) });
    let (broker, _) = Broker::embed_administered(builder);
    let (mut publisher, mut subscriber) = (broker.client(V5).id("p").connect(), broker.client(V5).id("s").connect());
    subscriber.subscribe("t/+", 1);
    let (mut trace, nodes) = Trace::begin(&broker.admin(), &["--topic", "#"]);
    for topic in ["no/1", "other/1", "t/a"] {
        publisher.send(message(topic, "x").qos(1).id(7));
        publisher.wait_for("PUBACK", |packet| matches!(packet, Packet::Acknowledge(_)));
    }
    subscriber.wait_for("PUBLISH", |packet| matches!(packet, Packet::Publish(_)));
    subscriber.cut(); // without an acknowledgement
    let expected = ["refused p", "rewritten p", "withheld s", "sent s", "session_ended s"].map(|line| format!("{} {line}", nodes[0]));
    trace.until(&expected.each_ref().map(String::as_str));
}

/// A node that says nothing any more is named, and named again when it is back: silence would be taken for peace.
#[test]
fn who_is_not_heard_any_more_is_told() {
    let Some(mut cluster) = Cluster::with(2, &[("MQTTD_CLUSTER__LEASE_S", "60")]) else { return };
    let admin = cluster.node(0).admin();
    until("both know of each other", || admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 2);
    let (mut trace, _) = Trace::begin(&admin, &["--topic", "t"]);
    cluster.node(1).pause();
    assert_eq!(trace.event("missing")["missing"], serde_json::json!(["n1"]));
    cluster.node(1).resume();
    let back = trace.event("missing");
    assert_eq!((&back["missing"], &back["full"]), (&serde_json::json!([]), &serde_json::json!([])));
    let mut client = cluster.client(1, V5).id("c").connect();
    client.publish(message("t", "x").qos(1));
    trace.until(&["n1 received c"]);
}

/// Messages over the rate are refused or dropped, and the trace says which and why.
#[test]
fn a_refusal_for_the_rate_is_told() {
    let broker = Broker::administered(|config| {
        config.limits.messages_per_second_max = 2;
        config.limits.over_rate = mqttd::config::keys::OverRate::Drop;
    });
    let (mut trace, nodes) = Trace::begin(&broker.admin(), &["--topic", "#"]);
    let mut publisher = broker.client(V5).id("p").connect();
    let mut id = 0;
    let refused = std::iter::repeat_with(|| {
        id += 1;
        publisher.send(message("t", "x").qos(1).id(id));
        let came = publisher.wait_for("PUBACK", |packet| matches!(packet, Packet::Acknowledge(_)));
        matches!(came, Packet::Acknowledge(ack) if ack.reason == Reason::QUOTA_EXCEEDED)
    });
    assert!(refused.take(1000).any(|is_refused| is_refused));
    trace.until(&[&format!("{} refused p", nodes[0])]);
    let note = trace.said().iter().find(|note| note["step"] == "refused").unwrap();
    assert_eq!(note["detail"], "0x97 Quota exceeded");
}

#[test]
fn traces_are_bounded_and_end_when_nobody_asks() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    for wrong in ["/api/v1/trace", "/api/v1/trace?topic=a/%23/b"] {
        assert_eq!(admin.get(wrong).json(400)["code"], "BAD_REQUEST", "{wrong}");
    }
    let traces: Vec<_> = (0..mqttd::broker::fates::TRACES_MAX).map(|_| Trace::begin(&admin, &["--client", "nobody"])).collect();
    assert_eq!(admin.get("/api/v1/trace?topic=a").json(429)["code"], "QUOTA_EXCEEDED");
    drop(traces);
    // A lease of ten seconds later there is room again.
    until("they have ended", || {
        let (mut publisher, mut subscriber) = broker.pair(V5);
        subscriber.subscribe("a", 0);
        publisher.publish(message("a", "x"));
        !broker.fates().is_on()
    });
    Trace::begin(&admin, &["--topic", "a"]);
}
