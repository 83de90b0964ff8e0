//! What a cluster says of itself under `$SYS`: the totals of all, by one node; each node of itself; and who comes and goes.

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::*;
use serde_json::Value;

/// Nodes that speak every second.
fn talkative() -> Option<Cluster> {
    Cluster::with(2, &[("MQTTD_PROTOCOL__SYS_INTERVAL_S", "1")])
}

/// Waits until it is said, however long it takes to be counted.
#[track_caller]
fn expect_said(client: &mut Client, topic: &str, text: &str) {
    loop {
        match client.came_within(PATIENCE) {
            Came::Packet(Packet::Publish(came)) if came.topic == topic && came.payload == text => return,
            Came::Packet(Packet::Publish(_)) => {}
            other => client.fail(&format!("{topic} {text}"), &other),
        }
    }
}

#[test]
fn the_totals_are_those_of_all_nodes() {
    let Some(mut cluster) = talkative() else { return };
    let id = unique("d");
    let mut durable = cluster.durable(0, V5, &id);
    durable.subscribe("d/+", 1);
    durable.subscribe("$share/g/d", 1);
    durable.disconnect();
    let mut publisher = cluster.client(0, V5).connect();
    let mut watcher = cluster.client(1, V5).connect();
    for number in 0..3 {
        publisher.publish(message("d/1", format!("{number}")).qos(1));
    }
    publisher.publish(message("kept", "retained").qos(1).retain());
    watcher.subscribe("$SYS/#", 0);
    for (topic, text) in [
        ("$SYS/broker/clients/connected", "2"),
        ("$SYS/broker/subscriptions/count", "2"),
        ("$SYS/broker/shared_subscriptions/count", "1"),
        ("$SYS/broker/publish/messages/received", "4"),
        ("$SYS/broker/clients/total", "3"),
        ("$SYS/broker/clients/disconnected", "1"),
        ("$SYS/brokers/n0/clients/connected", "1"),
        ("$SYS/brokers/n1/clients/connected", "1"),
        ("$SYS/brokers/n0/publish/messages/received", "4"),
    ] {
        // From the beginning for each: what is retained comes in any order.
        watcher.subscribe("$SYS/#", 0);
        expect_said(&mut watcher, topic, text);
    }
    // What only one of them can count is right at the admin door of both.
    for node in [0, 1] {
        let admin = cluster.node(node).admin();
        until("the node knows what waits in queues", || admin.get("/metrics").text.contains("mqttd_queued_messages 3"));
    }
    drop(publisher);
    expect_said(&mut watcher, "$SYS/broker/clients/connected", "1");

    cluster.bury(0);
    until("nothing is said of the dead node any more", || {
        let mut client = cluster.client(1, V5).connect();
        client.subscribe("$SYS/brokers/n0/#", 0);
        client.fence();
        client.take_early_publish().is_none()
    });
    // Whoever spoke for all before: now it is this one, and the Session of the dead node is still there.
    for text in ["2", "1"] {
        let topic = if text == "2" { "$SYS/broker/clients/total" } else { "$SYS/broker/clients/disconnected" };
        watcher.subscribe("$SYS/#", 0);
        expect_said(&mut watcher, topic, text);
    }
}

#[test]
fn clients_are_told_of_as_they_come_and_go() {
    let Some(cluster) = talkative() else { return };
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe("$SYS/brokers/+/clients/+/+", 0);
    let id = format!("{}/+#", unique("c"));
    for version in VERSIONS {
        let client = cluster.client(0, version).id(&id).keep_alive(77).connect();
        let root = format!("$SYS/brokers/n0/clients/{}", id.replace('/', "%2F").replace('+', "%2B").replace('#', "%23"));
        let mut told = |word: &str| -> Value {
            let came = watcher.next_publish();
            assert_eq!(came.topic, format!("{root}/{word}"));
            serde_json::from_slice(&came.payload).expect("JSON")
        };
        let connected = told("connected");
        assert_eq!((&connected["clientid"], &connected["proto_ver"]), (&id.as_str().into(), &(version as u8).into()));
        assert_eq!((&connected["keepalive"], &connected["ipaddress"]), (&77.into(), &"127.0.0.1".into()));
        let by_itself = version != V3_1;
        if by_itself {
            client.disconnect();
        } else {
            client.cut();
        }
        let disconnected = told("disconnected");
        assert_eq!(
            (&disconnected["clientid"], &disconnected["reason_code"]),
            (&id.as_str().into(), &(if by_itself { 0 } else { 128 }).into())
        );
    }
}
