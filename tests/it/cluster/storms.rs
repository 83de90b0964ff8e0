//! Publishers under load, while nodes die.

use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

use super::load::{Publisher, Subscriber, start};

const COUNT: usize = 500;

/// Every row a publisher: each version at each acknowledged QoS.
fn publishers(cluster: &Cluster, nodes: &[usize], root: &str) -> Vec<Publisher> {
    let nodes: Vec<_> = nodes.iter().map(|node| cluster.address(*node)).collect();
    let rows = [(V3_1_1, 1), (V3_1_1, 2), (V5, 1), (V5, 2)];
    let make = |(row, (version, level))| Publisher::new(version, &nodes, &format!("{root}/{row}"), level, COUNT);
    rows.into_iter().enumerate().map(make).collect()
}

/// `[MQTT-4.3.2-1]` The nodes of publishers die one after the other: nothing that was acknowledged is lost, and nothing is out of order.
/// QoS 2 comes once.
#[test]
fn publishers_survive_the_death_of_their_nodes() {
    for durable in [false, true] {
        let Some(mut cluster) = Cluster::start(3) else { return };
        let root = unique("t");
        let connecting = cluster.client(2, V5);
        let mut client = if durable { connecting.durable() } else { connecting }.connect();
        client.subscribe(&format!("{root}/#"), 2);
        let publishers = publishers(&cluster, &[0, 1, 2], &root);
        let topics = publishers.len();
        let outcome = start(publishers);
        let mut subscriber = Subscriber::default();
        for (node, total) in [(0, 50), (1, 600), (2, topics * COUNT)] {
            while subscriber.checker.total() < total {
                assert!(subscriber.take(&mut client), "the subscriber's own node lives");
            }
            if node < 2 {
                cluster.node(node).kill();
            }
        }
        let outcome: Vec<_> = outcome.into_iter().collect();
        assert_eq!(outcome.len(), topics, "publishers failed, see above");
        assert!(outcome.iter().any(|publisher| publisher.resumptions > 0), "the node died too late");
        assert!(subscriber.checker.is_complete(topics, COUNT));
        subscriber.finish(&mut client);
        assert_eq!(subscriber.checker.repeated[2], 0, "QoS 2 came twice");
    }
}

/// `[MQTT-4.4.0-1]` The node of a durable subscriber dies under load, again and again; it has everything, in order, QoS 2 once.
#[test]
fn a_subscriber_survives_the_death_of_its_node_under_load() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let (root, id) = (unique("t"), unique("c"));
    let mut client = cluster.durable(0, V5, &id);
    client.subscribe(&format!("{root}/#"), 2);
    let publishers = publishers(&cluster, &[2], &root);
    let topics = publishers.len();
    let outcome = start(publishers);
    let mut subscriber = Subscriber::default();
    for round in 1..=8 {
        while subscriber.checker.total() < round * topics * COUNT / 8 {
            assert!(subscriber.take(&mut client), "its node lives");
        }
        let node = (round + 1) % 2;
        cluster.node(node).kill();
        client = cluster.durable(round % 2, V5, &id);
        cluster.node(node).revive();
    }
    assert_eq!(outcome.into_iter().count(), topics, "publishers failed, see above");
    assert!(subscriber.checker.is_complete(topics, COUNT));
    assert_eq!(subscriber.checker.repeated[2], 0, "QoS 2 came twice");
    subscriber.finish(&mut client);
}
