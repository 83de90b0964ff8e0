//! What is stated in the README of names, filters, QoS, retained and large messages.

use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::*;

use super::kit::{Listener, ON, bridged, counter, receives, say};

/// What is no Topic Name, or not for others, is counted; what comes after it goes on.
#[test]
fn what_may_not_come_in_is_counted() {
    let Some(mut cluster) = bridged(1, &[("MQTTD_LIMITS__PACKET_BYTES_MAX", "1000"), ("MQTTD_LIMITS__TOPIC_LEVELS_MAX", "3")]) else {
        return;
    };
    let mut client = cluster.client(0, V5).connect();
    client.subscribe("#", 0);
    let names = ["", "a/+", "#", "a/#/b", "$SYS/broker/uptime", "$share/g/a", "$x", "a/b/c/d"];
    names.iter().for_each(|name| say(&cluster.redis, name, "x"));
    say(&cluster.redis, "a/b", &"x".repeat(1001));
    say(&cluster.redis, "a/b", &"x".repeat(900));
    receives(&mut client, "a/b", &"x".repeat(900));
    assert_eq!(counter(&mut cluster, 0, "mqttd_bridge_refused_total"), names.len() as u64 + 1);
    assert_eq!(counter(&mut cluster, 0, "mqttd_bridge_taken_total"), 1);
    assert_eq!(counter(&mut cluster, 0, "mqttd_bridge_keeper"), 1);
    // What it sends is counted where it was published, and `$SYS` stays here.
    let listener = Listener::new(&cluster.redis, "*");
    client.publish(message("a/c", "y"));
    client.receive(message("a/c", "y"));
    listener.hears("a/c", "y");
    until("it is counted", || counter(&mut cluster, 0, "mqttd_bridge_sent_total") == 1);
    client.expect_nothing();
}

/// RETAIN does not cross: Pub/Sub keeps nothing, and nothing that comes in is kept.
#[test]
fn nothing_is_retained_by_the_bridge() {
    let Some(cluster) = bridged(1, &[]) else { return };
    let (out, into) = (unique("out"), unique("into"));
    let listener = Listener::new(&cluster.redis, &out);
    let mut client = cluster.client(0, V5).connect();
    client.publish(message(&out, "kept").qos(1).retain());
    client.publish(message(&out, "").qos(1).retain());
    client.subscribe(&into, 1);
    say(&cluster.redis, &into, "not kept");
    receives(&mut client, &into, "not kept");
    let mut late = cluster.client(0, V5).connect();
    late.subscribe("#", 1);
    late.expect_nothing();
    listener.hears(&out, "kept");
    listener.hears(&out, "");
}

/// At QoS 0 nothing waits for who is away; with `bridge.qos = 1` it does.
#[test]
fn the_qos_is_what_the_configuration_says() {
    for level in [0, 1] {
        let Some(cluster) = bridged(2, &[("MQTTD_BRIDGE__QOS", &level.to_string())]) else { return };
        let (topic, id) = (unique("t"), unique("c"));
        let mut watcher = cluster.client(0, V5).connect();
        watcher.subscribe(&topic, 1);
        let mut away = cluster.durable(1, V5, &id);
        away.subscribe(&topic, 2);
        away.disconnect();
        for payload in ["1", "2"] {
            say(&cluster.redis, &topic, payload);
            watcher.receive(message(&topic, payload).qos(level));
        }
        let mut back = cluster.durable(1, V5, &id);
        assert!(back.session_present());
        if level == 1 {
            back.receive(message(&topic, "1").qos(1));
            back.receive(message(&topic, "2").qos(1));
        }
        back.expect_nothing();
    }
}

/// Filters decide what crosses, each way by itself; without any for one way, nobody listens.
#[test]
fn filters_say_what_crosses() {
    let variables = [("MQTTD_BRIDGE__OUT_FILTERS", "[\"out/#\"]"), ("MQTTD_BRIDGE__IN_FILTERS", "[\"in/+\"]")];
    let Some(cluster) = bridged(1, &variables) else { return };
    let listener = Listener::new(&cluster.redis, "*");
    let mut client = cluster.client(0, V5).connect();
    client.subscribe("#", 0);
    for topic in ["in/a", "other", "out/a"] {
        client.publish(message(topic, "of MQTT"));
        client.receive(message(topic, "of MQTT"));
    }
    listener.hears("out/a", "of MQTT");
    for topic in ["out/a", "other", "in/a/b", "in/a"] {
        say(&cluster.redis, topic, "of Redis");
        listener.hears(topic, "of Redis");
    }
    receives(&mut client, "in/a", "of Redis");
    client.expect_nothing();

    let Some(cluster) = Cluster::with(1, &[ON, ("MQTTD_BRIDGE__IN_FILTERS", "[]"), ("MQTTD_BRIDGE__PREFIX", "mqttd:topic:[x]")]) else {
        return;
    };
    let topic = unique("t");
    let listener = Listener::new(&cluster.redis, &format!("[x]{topic}"));
    let mut client = cluster.client(0, V5).connect();
    client.subscribe(&topic, 0);
    client.publish(message(&topic, "of MQTT"));
    client.receive(message(&topic, "of MQTT"));
    listener.hears(&format!("[x]{topic}"), "of MQTT");
    assert_eq!(cluster.redis.query::<usize>(&["PUBSUB", "NUMPAT"]), 0);
}
