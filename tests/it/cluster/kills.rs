//! kill -9 of a node: what its clients were promised is kept by the others.

use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

use super::publish_all;

/// A durable subscriber in the middle of things: by number, 0 and 1 are acknowledged to the end, of 3 the PUBREC was sent, nothing else.
struct Interrupted {
    version: Version,
    id: String,
    topic: String,
    /// Packet Identifiers of 0 to 5.
    packet_ids: Vec<u16>,
}

fn level(number: usize) -> u8 {
    if number.is_multiple_of(2) { 1 } else { 2 }
}

impl Interrupted {
    #[track_caller]
    fn begin(cluster: &Cluster, version: Version, publisher: &mut Client) -> Interrupted {
        let (id, topic) = (unique("c"), unique("t"));
        let mut client = cluster.durable(0, version, &id);
        client.subscribe(&topic, 2);
        let mut packet_ids = Vec::new();
        for number in 0..6 {
            let numbered = message(&topic, format!("{number}")).qos(level(number));
            publisher.publish(&numbered);
            packet_ids.push(client.expect_publish(numbered));
        }
        client.send(puback(packet_ids[0]));
        client.send(pubrec(packet_ids[1]));
        client.expect_pubrel(packet_ids[1]);
        client.send(pubcomp(packet_ids[1]));
        client.send(pubrec(packet_ids[3]));
        client.expect_pubrel(packet_ids[3]);
        client.expect_nothing();
        Interrupted { version, id, topic, packet_ids }
    }

    /// PUBREL for 3, and 2, 4, 5 again; then what was queued meanwhile. PUBREL and PUBLISH may come in any order of the two.
    #[track_caller]
    fn go_on(&self, cluster: &Cluster, node: usize) {
        let mut client = cluster.durable(node, self.version, &self.id);
        assert!(client.session_present() || self.version == V3_1, "the Session is gone");
        client.wait_for("PUBREL", |packet| matches!(packet, Packet::Acknowledge(ack) if ack.kind == Kind::Pubrel));
        for number in [2, 4, 5] {
            client.expect_publish(message(&self.topic, format!("{number}")).qos(level(number)).dup().id(self.packet_ids[number]));
        }
        for number in 6..12 {
            client.receive(message(&self.topic, format!("{number}")).qos(level(number)));
        }
        client.send(pubcomp(self.packet_ids[3]));
        client.send(puback(self.packet_ids[2]));
        client.send(puback(self.packet_ids[4]));
        client.send(pubrec(self.packet_ids[5]));
        client.expect_pubrel(self.packet_ids[5]);
        client.send(pubcomp(self.packet_ids[5]));
        client.expect_nothing();
        client.cut();
        cluster.durable(node, self.version, &self.id).expect_nothing();
    }
}

/// `[MQTT-4.4.0-1]` `[MQTT-4.3.3-10]` `[MQTT-4.5.0-1]`
#[test]
fn a_session_survives_the_death_of_its_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut publisher = cluster.client(1, V5).connect();
    let sessions = VERSIONS.map(|version| Interrupted::begin(&cluster, version, &mut publisher));
    cluster.node(0).kill();
    for session in &sessions {
        for number in 6..12 {
            publisher.publish(message(&session.topic, format!("{number}")).qos(level(number)));
        }
    }
    for session in &sessions {
        session.go_on(&cluster, 1);
    }
}

/// The same when the whole cluster dies and one node comes back.
#[test]
fn a_session_survives_the_death_of_all_nodes() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut publisher = cluster.client(1, V5).connect();
    let sessions = VERSIONS.map(|version| Interrupted::begin(&cluster, version, &mut publisher));
    cluster.node(0).kill();
    cluster.node(1).kill();
    cluster.node(1).revive();
    let mut publisher = cluster.client(1, V5).connect();
    for session in &sessions {
        for number in 6..12 {
            publisher.publish(message(&session.topic, format!("{number}")).qos(level(number)));
        }
        session.go_on(&cluster, 1);
    }
}

/// `[MQTT-4.3.3-10]` `[MQTT-4.3.3-12]` A publisher whose node dies between PUBREC and PUBREL releases on another one, or sends again first: once.
#[test]
fn a_publisher_releases_on_another_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let rows = VERSIONS.map(|version| [false, true].map(|again| (version, again, unique("c"), unique("t"))));
    let mut watcher = cluster.client(1, V5).connect();
    for (version, _, id, topic) in rows.iter().flatten() {
        watcher.subscribe(topic, 2);
        let mut publisher = cluster.durable(0, *version, id);
        publisher.send(message(topic, "once").qos(2).id(11));
        publisher.expect_pubrec(11);
        watcher.receive(message(topic, "once").qos(2));
    }
    cluster.node(0).kill();
    for (version, again, id, topic) in rows.iter().flatten() {
        let mut publisher = cluster.durable(1, *version, id);
        if *again {
            publisher.send(message(topic, "once").qos(2).id(11).dup());
            publisher.expect_pubrec(11);
        }
        publisher.send(pubrel(11));
        publisher.expect_pubcomp(11);
        publisher.publish(message(topic, "next").qos(2).id(11));
        watcher.receive(message(topic, "next").qos(2));
    }
    watcher.expect_nothing();
}

/// What one node queued for a Session that is nowhere connected, another delivers after the first is dead.
#[test]
fn what_a_dead_node_queued_is_delivered() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        let (id, topic) = (unique("c"), unique("t"));
        let mut client = cluster.durable(0, version, &id);
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = cluster.client(0, version).connect();
        publish_all(&mut publisher, &topic, 0..50, 1);
        publish_all(&mut publisher, &topic, 50..100, 2);
        cluster.node(0).kill();
        let mut client = cluster.durable(1, version, &id);
        for number in 0..100 {
            client.receive(message(&topic, format!("{number}")).qos(if number < 50 { 1 } else { 2 }));
        }
        client.expect_nothing();
        cluster.node(0).revive();
    }
}

/// A node that comes back under its name finds the retained messages, the routes and the Sessions of all.
#[test]
fn a_node_that_comes_back_knows_what_the_others_know() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let (id, topic) = (unique("c"), unique("t"));
    let mut live = cluster.client(1, V5).connect();
    live.subscribe(&format!("{topic}/#"), 1);
    let mut absent = cluster.durable(0, V5, &id);
    absent.subscribe(&format!("{topic}/#"), 1);
    cluster.client(0, V5).connect().publish(message(&format!("{topic}/kept"), "kept").qos(1).retain());
    live.receive(message(&format!("{topic}/kept"), "kept").qos(1));
    absent.expect_publish(message(&format!("{topic}/kept"), "kept").qos(1));
    cluster.node(0).kill();
    cluster.node(0).revive();
    let mut publisher = cluster.client(0, V5).connect();
    publisher.publish(message(&format!("{topic}/new"), "new").qos(1));
    live.receive(message(&format!("{topic}/new"), "new").qos(1));
    let mut back = cluster.durable(0, V5, &id);
    assert!(back.session_present());
    back.expect_publish(message(&format!("{topic}/kept"), "kept").qos(1).dup());
    back.expect_publish(message(&format!("{topic}/new"), "new").qos(1));
    publisher.subscribe(&format!("{topic}/kept"), 1);
    publisher.receive(message(&format!("{topic}/kept"), "kept").qos(1).retain());
}

/// A node that dies again before its first death is noticed is one dead node, not most of the cluster.
#[test]
fn a_node_that_dies_twice_is_buried_twice() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let topic = unique("t");
    let mut watcher = cluster.client(0, V5).connect();
    watcher.subscribe(&topic, 1);
    let mut dead = Vec::new();
    for round in ["1", "2"] {
        if round == "2" {
            cluster.node(1).revive();
        }
        dead.push(cluster.client(1, V5).will(message(&topic, round).qos(1)).connect());
        cluster.node(1).kill();
    }
    cluster.until_buried(1);
    let mut wills = [0, 1].map(|_| {
        let will = watcher.next_publish();
        watcher.acknowledge(will.qos, will.packet_id.map_or(0, u16::from));
        will.payload
    });
    wills.sort();
    assert_eq!(wills, ["1", "2"]);
    watcher.expect_nothing();
}
