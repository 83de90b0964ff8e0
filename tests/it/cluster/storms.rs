//! Publishers under load, while nodes die.

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, PATIENCE};
use mqttd_tests::*;

use super::load::{Checker, Publisher, start};

const COUNT: usize = 300;

/// Every row a publisher: each version at each acknowledged QoS.
fn publishers(cluster: &Cluster, nodes: &[usize], root: &str) -> Vec<Publisher> {
    let nodes: Vec<_> = nodes.iter().map(|node| cluster.address(*node)).collect();
    let rows = [(V3_1_1, 1), (V3_1_1, 2), (V5, 1), (V5, 2)];
    let make = |(row, (version, level))| Publisher::new(version, &nodes, &format!("{root}/{row}"), level, COUNT);
    rows.into_iter().enumerate().map(make).collect()
}

/// Takes everything to the end, and at the given totals does what `event` does.
#[track_caller]
fn watch(subscriber: &mut Client, topics: usize, at: &[usize], mut event: impl FnMut(usize)) -> Checker {
    let (mut checker, mut events) = (Checker::default(), at.iter().enumerate().peekable());
    while !checker.is_complete(topics, COUNT) {
        match subscriber.came_within(PATIENCE) {
            Came::Packet(Packet::Publish(came)) => {
                checker.check(&came);
                subscriber.acknowledge(came.qos, came.packet_id.map_or(0, u16::from));
            }
            other => subscriber.fail("more messages", &other),
        }
        if let Some((number, _)) = events.next_if(|(_, total)| checker.total() >= **total) {
            event(number);
        }
    }
    checker
}

/// `[MQTT-4.3.2-1]` `[MQTT-4.3.3-1]` The node of publishers dies twice: nothing that was acknowledged is lost, nothing is out of order,
/// and nothing of QoS 2 comes twice.
#[test]
fn publishers_survive_the_death_of_their_node() {
    for durable in [false, true] {
        let Some(mut cluster) = Cluster::start(3) else { return };
        let root = unique("t");
        let connecting = cluster.client(2, V5);
        let mut subscriber = if durable { connecting.durable() } else { connecting }.connect();
        subscriber.subscribe(&format!("{root}/#"), 2);
        let publishers = publishers(&cluster, &[0, 1], &root);
        let topics = publishers.len();
        let outcome = start(publishers);
        watch(&mut subscriber, topics, &[200], |_| cluster.node(0).kill());
        let outcome: Vec<_> = outcome.into_iter().collect();
        assert_eq!(outcome.len(), topics, "publishers failed, see above");
        assert!(outcome.iter().any(|publisher| publisher.resumptions > 0), "the node died too late");
        subscriber.expect_nothing();
    }
}

/// `[MQTT-4.4.0-1]` The node of a durable subscriber dies under load; on another one it has everything, in order, QoS 2 once.
#[test]
fn a_subscriber_survives_the_death_of_its_node_under_load() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let (root, id) = (unique("t"), unique("c"));
    let mut subscriber = cluster.durable(0, V5, &id);
    subscriber.subscribe(&format!("{root}/#"), 2);
    let publishers = publishers(&cluster, &[2, 1], &root);
    let topics = publishers.len();
    let outcome = start(publishers);
    let mut checker = Checker::default();
    for (node, total) in [(0, 150), (1, 400), (0, 700), (2, topics * COUNT)] {
        if node != 0 || total > 150 {
            subscriber = cluster.durable(node, V5, &id);
        }
        take(&mut subscriber, &mut checker, total);
        if total == 150 {
            cluster.node(0).kill();
            cluster.node(0).revive();
        }
    }
    assert_eq!(outcome.into_iter().count(), topics, "publishers failed, see above");
    subscriber.expect_nothing();
}

/// Up to a total. A client that has released a QoS 2 message before takes PUBREL for it, and no PUBLISH.
#[track_caller]
fn take(subscriber: &mut Client, checker: &mut Checker, total: usize) {
    while checker.total() < total {
        match subscriber.came_within(PATIENCE) {
            Came::Packet(Packet::Publish(came)) => {
                checker.check(&came);
                let packet_id = came.packet_id.map_or(0, u16::from);
                subscriber.send(if came.qos == QoS::ExactlyOnce { pubrec(packet_id) } else { puback(packet_id) });
            }
            Came::Packet(Packet::Acknowledge(ack)) if ack.kind == Kind::Pubrel => subscriber.send(pubcomp(ack.packet_id.get())),
            other => subscriber.fail("more messages", &other),
        }
    }
}
