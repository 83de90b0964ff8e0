//! A node that has lost its place, or never had one, joins by itself: the process goes on, and so do its clients.

use std::time::Duration;

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

/// Shorter than the default, so that a test need not wait for so long.
const OUTAGE: (&str, &str) = ("MQTTD_CLUSTER__OUTAGE_S", "4");

/// Everything that it ever confirmed is there after a kill.
const LASTING: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// Connects as soon as the node accepts.
#[track_caller]
fn back(cluster: &Cluster, node: usize, id: &str) -> Client {
    let mut client = None;
    until("the node accepts clients", || {
        client = cluster.client(node, V5).id(id).durable().try_connect(Duration::from_secs(1));
        client.is_some()
    });
    client.expect("just looked")
}

/// The Server ends the connection, and says that one may come again.
#[track_caller]
fn expect_sent_away(client: &mut Client) {
    loop {
        match client.came_within(PATIENCE) {
            Came::Packet(Packet::Disconnect(end)) if end.reason == Reason::SERVER_BUSY => return client.expect_closed(),
            Came::Packet(Packet::Publish(_)) => {}
            other => client.fail("DISCONNECT 0x89", &other),
        }
    }
}

/// Nobody can be served, and everybody is told so.
#[track_caller]
fn expect_refused(cluster: &Cluster, node: usize) {
    cluster.client(node, V5).refused(Reason::SERVER_UNAVAILABLE);
}

/// So many nodes have noticed that everything is gone. Who connects between the flush and that moment begins a Session that stays, but is sent
/// away once more.
fn until_begun_anew(cluster: &mut Cluster, nodes: usize) {
    until("the nodes begin anew", || {
        (0..nodes)
            .all(|node| cluster.node(node).has_said("FORGOTTEN EVERYTHING") && cluster.node(node).has_said("is a member of the cluster"))
    });
}

/// Redis is away for longer than a node waits for it: all connections end; when it is back, so are Sessions and messages.
#[test]
fn a_node_outlives_a_long_outage() {
    let Some(redis) = Redis::with(LASTING) else { return };
    let mut cluster = Cluster::on(redis, 2, &[OUTAGE]);
    let (topic, id) = (unique("t"), unique("c"));
    let mut subscriber = cluster.durable(0, V5, &id);
    subscriber.subscribe(&topic, 1);
    let mut publisher = cluster.durable(1, V5, &unique("p"));
    publisher.publish(message(&topic, "kept").qos(1));
    let packet_id = subscriber.expect_publish(message(&topic, "kept").qos(1));
    cluster.redis.kill();
    expect_sent_away(&mut subscriber);
    expect_sent_away(&mut publisher);
    expect_refused(&cluster, 0);
    cluster.redis.revive();
    let mut subscriber = back(&cluster, 0, &id);
    assert!(subscriber.session_present());
    subscriber.receive(message(&topic, "kept").qos(1).dup().id(packet_id));
    let mut publisher = back(&cluster, 1, &publisher.id);
    publisher.publish(message(&topic, "after").qos(1));
    subscriber.receive(message(&topic, "after").qos(1));
    assert!(cluster.node(0).runs() && cluster.node(1).runs());
    assert!(cluster.node(0).has_said("joins again when it can") && cluster.node(0).has_said("is a member of the cluster"));
    // What the earlier incarnations had is cleaned up, and not taken for a death.
    cluster.until_buried(2);
}

/// FLUSHALL: everything is lost, which every node notices, says, and survives. Clients learn it by Session Present.
#[test]
fn a_flush_is_noticed_and_said() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let (topic, id) = (unique("t"), unique("c"));
    let mut subscriber = cluster.durable(0, V5, &id);
    subscriber.subscribe(&topic, 1);
    let mut live = cluster.client(1, V5).connect();
    live.subscribe(&topic, 1);
    let _: () = cluster.redis.query(&["FLUSHALL"]);
    expect_sent_away(&mut subscriber);
    expect_sent_away(&mut live);
    until_begun_anew(&mut cluster, 2);
    let mut subscriber = back(&cluster, 0, &id);
    assert!(!subscriber.session_present());
    subscriber.subscribe(&topic, 1);
    let mut publisher = back(&cluster, 1, &unique("p"));
    publisher.publish(message(&topic, "after").qos(1));
    subscriber.receive(message(&topic, "after").qos(1));
    subscriber.fence();
    assert!(cluster.node(0).runs() && cluster.node(1).runs());
    cluster.until_buried(2);
}

/// A Redis that comes back empty is the same.
#[test]
fn an_empty_redis_is_noticed_and_said() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let id = unique("c");
    let mut client = cluster.durable(0, V5, &id);
    cluster.redis.kill();
    cluster.redis.revive();
    expect_sent_away(&mut client);
    until_begun_anew(&mut cluster, 1);
    assert!(!back(&cluster, 0, &id).session_present());
    assert!(cluster.node(0).runs());
}

/// A node that begins before its Redis waits for it, and refuses clients meanwhile.
#[test]
fn a_node_may_begin_before_its_redis() {
    let Some(mut redis) = Redis::start() else { return };
    redis.kill();
    let mut cluster = Cluster::on(redis, 1, &[]);
    expect_refused(&cluster, 0);
    assert!(cluster.node(0).has_said("clients are refused (0x88)"));
    cluster.redis.revive();
    let mut client = back(&cluster, 0, &unique("c"));
    client.subscribe("a", 1);
    client.publish(message("a", "1").qos(1));
    client.receive(message("a", "1").qos(1));
    client.disconnect();
}

/// A node that was paused for longer than its lease is taken for dead; it joins again, and takes clients as before.
#[test]
fn a_node_that_was_taken_for_dead_comes_back() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let (topic, id) = (unique("t"), unique("c"));
    let mut client = cluster.durable(0, V5, &id);
    client.subscribe(&topic, 1);
    cluster.node(0).pause();
    cluster.until_buried(1);
    cluster.node(0).resume();
    cluster.until_buried(2);
    let mut client = back(&cluster, 0, &id);
    assert!(client.session_present());
    let mut publisher = cluster.client(1, V5).connect();
    publisher.publish(message(&topic, "after").qos(1));
    client.receive(message(&topic, "after").qos(1));
    assert!(cluster.node(0).runs() && cluster.node(0).has_said("taken for dead: it joins again"));
}
