//! A node that ends in good order, and what the clock does to Sessions that were on several nodes.

use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

/// `[MQTT-3.14.0-1]` SIGTERM: 5.0 clients are told 0x8B, their Wills are not forgotten, and the Sessions go on elsewhere.
#[test]
fn a_node_ends_in_good_order() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut publisher = cluster.client(1, V5).connect();
    let mut clients = VERSIONS.map(|version| {
        let topic = unique("t");
        let mut client = cluster.durable(0, version, &unique("c"));
        client.subscribe(&topic, 2);
        publisher.publish(message(&topic, "one").qos(2));
        let one = client.expect_publish(message(&topic, "one").qos(2));
        (client, topic, one)
    });
    cluster.node(0).terminate();
    clients.iter_mut().for_each(|(client, ..)| client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN));
    cluster.node(0).ended();
    for (client, topic, one) in clients {
        publisher.publish(message(&topic, "two").qos(1));
        let mut client = cluster.durable(1, client.version, &client.id);
        assert!(client.session_present() || client.version == V3_1);
        client.receive(message(&topic, "one").qos(2).dup().id(one));
        client.receive(message(&topic, "two").qos(1));
        client.expect_nothing();
    }
    cluster.until_buried(1);
}

/// `[MQTT-3.1.2-23]` A Session that was left on one node ends in time for all of them.
#[test]
fn sessions_expire_across_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    let (topic, ids) = (unique("t"), [unique("brief"), unique("long")]);
    for (id, expiry) in ids.iter().zip([1, 60]) {
        let mut client = cluster.client(0, V5).id(id).resume().expiry(expiry).connect();
        client.subscribe(&topic, 1);
        client.disconnect();
    }
    cluster.pass(1, 3);
    cluster.client(1, V5).connect().publish(message(&topic, "x").qos(1));
    let [brief, long] = ids.map(|id| cluster.durable(1, V5, &id));
    assert_eq!([brief, long].map(|client| client.session_present()), [false, true]);
}

/// The same for Sessions whose node is dead: one was left before, the other died with it.
#[test]
fn sessions_expire_though_their_node_is_dead() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let ids = [unique("left"), unique("dead"), unique("long")];
    let mut clients = [1, 1, 60].iter().zip(&ids).map(|(expiry, id)| cluster.client(0, V5).id(id).resume().expiry(*expiry).connect());
    let [left, _dead, _long] = [clients.next(), clients.next(), clients.next()].map(|client| client.expect("three clients"));
    drop(clients);
    left.disconnect();
    cluster.bury(0);
    cluster.pass(1, 3);
    assert_eq!(ids.map(|id| cluster.durable(1, V5, &id).session_present()), [false, false, true]);
}

/// `[MQTT-3.1.2-4]` Clean Start on one node discards what was on another.
#[test]
fn a_clean_start_holds_for_all_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut publisher = cluster.client(0, version).connect();
        let mut old = cluster.durable(0, version, &id);
        old.subscribe(&topic, 1);
        publisher.publish(message(&topic, "old").qos(1));
        old.expect_publish(message(&topic, "old").qos(1));
        let mut new = cluster.client(1, version).id(&id).connect();
        old.expect_disconnect(Reason::SESSION_TAKEN_OVER);
        publisher.publish(message(&topic, "not wanted").qos(1));
        new.expect_nothing_from(&mut publisher);
        new.disconnect();
        assert!(!cluster.durable(0, version, &id).session_present());
    }
}

/// A subscription that a client made on one node and gave up on another is gone on both.
#[test]
fn unsubscribing_holds_for_all_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        cluster.durable(0, version, &id).subscribe(&topic, 1);
        let mut moved = cluster.durable(1, version, &id);
        moved.unsubscribe(&topic);
        moved.disconnect();
        for node in [0, 1] {
            cluster.client(node, version).connect().publish(message(&topic, "x").qos(1));
        }
        cluster.durable(0, version, &id).expect_nothing();
    }
}
