//! A node ends at each step of what it does (`node/src/fault.rs`); a checker apart from the workload says what came of it.

use std::net::SocketAddr;

use mqttd_tests::cluster::{Cluster, PATIENCE};
use mqttd_tests::*;

use super::load::{Publisher, Subscriber, start};

const COUNT: usize = 60;

/// The steps of a QoS 2 message on its way, in their order.
const STEPS: [&str; 5] = ["publish.pending", "publish.stored", "publish.posted", "publish.pushed", "close.closed"];

/// A durable and a live subscriber on a node that lives.
fn subscribers(cluster: &Cluster, node: usize, root: &str) -> [Client; 2] {
    let durable = cluster.client(node, V5).durable().connect();
    let live = cluster.client(node, V5).connect();
    [durable, live].map(|mut client| {
        client.subscribe(&format!("{root}/#"), 2);
        client
    })
}

/// Everything came once, and nothing more.
#[track_caller]
fn check(client: &mut Client, topics: usize, step: &str) {
    let mut subscriber = Subscriber::default();
    while !subscriber.checker.is_complete(topics, COUNT) {
        assert!(subscriber.take(client), "the subscriber's own node lives");
    }
    subscriber.finish(client);
    assert_eq!(subscriber.checker.repeated, [0; 3], "{step}: came twice");
}

/// `[MQTT-4.3.3-10]` `[MQTT-4.3.3-12]` The node of publishers ends between any two steps of a QoS 2 message: they go on at another one, and
/// every subscriber has every message once, whether its Session lasts or lives on a node.
#[test]
fn qos_2_comes_once_whatever_step_its_node_dies_at() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    for step in STEPS.into_iter().filter(|step| step.starts_with("publish")) {
        for count in [1, 7] {
            cluster.node(0).kill();
            cluster.node(0).revive_until(&format!("{step}:{count}"));
            let root = unique("t");
            let mut subscribers = subscribers(&cluster, 1, &root);
            let nodes: [SocketAddr; 2] = [cluster.address(0), cluster.address(1)];
            let publishers: Vec<_> = [V3_1_1, V5]
                .into_iter()
                .enumerate()
                .map(|(row, version)| Publisher::new(version, &nodes, &format!("{root}/{row}"), 2, COUNT))
                .collect();
            let outcome: Vec<_> = start(publishers).into_iter().collect();
            assert!(outcome.iter().any(|publisher| publisher.resumptions > 0), "{step}: the node did not die");
            cluster.node(0).has_ended();
            subscribers.iter_mut().for_each(|client| check(client, 2, step));
        }
    }
}

/// A publisher that does not come back: who cleans up after its node finishes what was pending, for all who get it.
#[test]
fn what_was_pending_is_finished_by_who_cleans_up() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    for step in ["publish.pending", "publish.stored"] {
        // Of three of whom two are silent nobody would be declared dead.
        cluster.bury(0);
        cluster.node(0).revive_until(step);
        let (topic, id) = (unique("t"), unique("c"));
        let mut subscribers = subscribers(&cluster, 1, &topic);
        let mut publisher = cluster.durable(0, V5, &id);
        publisher.send(message(&topic, "once").qos(2).id(5));
        cluster.node(0).has_ended();
        for client in &mut subscribers {
            let came = client.came_within(PATIENCE);
            let client::Came::Packet(Packet::Publish(came)) = came else { client.fail("what was pending", &came) };
            assert_eq!(came.payload, "once");
            client.acknowledge(came.qos, came.packet_id.map_or(0, u16::from));
        }
        let mut publisher = cluster.durable(1, V5, &id);
        publisher.send(message(&topic, "once").qos(2).id(5).dup());
        publisher.expect_pubrec(5);
        publisher.send(pubrel(5));
        publisher.expect_pubcomp(5);
        publisher.publish(message(&topic, "next").qos(2).id(5));
        for client in &mut subscribers {
            client.receive(message(&topic, "next").qos(2));
            client.expect_nothing();
        }
    }
}

/// `[MQTT-4.3.3-12]` Redis is killed under load and has everything again: once, all of it.
#[test]
fn qos_2_comes_once_when_redis_dies() {
    let Some(mut cluster) = Cluster::lasting(2) else { return };
    let root = unique("t");
    let mut client = cluster.durable(1, V5, &unique("c"));
    client.subscribe(&format!("{root}/#"), 2);
    let nodes = [cluster.address(0), cluster.address(1)];
    const MANY: usize = 400;
    let outcome = start(vec![
        Publisher::new(V5, &nodes, &format!("{root}/0"), 2, MANY),
        Publisher::new(V3_1_1, &nodes, &format!("{root}/1"), 2, MANY),
    ]);
    let mut subscriber = Subscriber::default();
    let id = client.id.clone();
    for round in 1..=4 {
        while subscriber.checker.total() < round * 2 * MANY / 4 {
            if !subscriber.take(&mut client) {
                client = reconnect(&cluster, &id);
            }
        }
        if round < 4 {
            cluster.redis.kill();
            cluster.redis.revive();
        }
    }
    assert_eq!(outcome.into_iter().count(), 2, "publishers failed, see above");
    while subscriber.waits() {
        if !subscriber.take(&mut client) {
            client = reconnect(&cluster, &id);
        }
    }
    // The last outage may end a connection late; whatever is still owed comes to the next one.
    drop(client);
    subscriber.finish_resumed(&mut reconnect(&cluster, &id));
    assert_eq!(subscriber.checker.repeated[2], 0, "QoS 2 came twice");
}

/// At the node where it was, as soon as that takes it.
fn reconnect(cluster: &Cluster, id: &str) -> Client {
    let mut client = None;
    cluster::until("the node accepts", || {
        client = cluster.client(1, V5).id(id).durable().try_connect(PATIENCE);
        client.is_some()
    });
    client.expect("it was accepted")
}

/// `[MQTT-3.1.2-8]` A node ends when it has given a Session back and has not published its Will, or has and did not say so.
#[test]
fn a_will_is_published_whatever_step_its_node_dies_at() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut watcher = cluster.client(1, V5).connect();
    let topic = unique("t");
    watcher.subscribe(&topic, 1);
    for expiry in [0, 3600] {
        cluster.node(0).kill();
        cluster.node(0).revive_until("close.closed");
        let dying = cluster.client(0, V5).resume().expiry(expiry).will(message(&topic, "dead").qos(1)).connect();
        dying.cut();
        cluster.node(0).has_ended();
        // A lease on a will is half a minute.
        let came = watcher.came_within(PATIENCE * 2);
        let client::Came::Packet(Packet::Publish(came)) = came else { watcher.fail("a Will", &came) };
        assert_eq!(came.payload, "dead");
        watcher.send(puback(came.packet_id.expect("QoS 1").get()));
        watcher.expect_nothing();
    }
}
