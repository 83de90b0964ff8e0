//! What is published on one node and wanted on another.

use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

use super::publish_all;

/// Every QoS of a publisher to every QoS of a subscriber, in both directions, live and durable.
#[test]
fn a_message_crosses_nodes_at_every_qos() {
    let Some(cluster) = Cluster::start(2) else { return };
    for (version, (from, to)) in VERSIONS.into_iter().flat_map(|version| [(0, 1), (1, 0)].map(|way| (version, way))) {
        for durable in [false, true] {
            let topic = unique("t");
            let mut publisher = cluster.client(from, version).connect();
            let connecting = cluster.client(to, version);
            let connecting = if durable { connecting.durable() } else { connecting };
            let mut subscribers = [0, 1, 2].map(|level| (level, connecting.clone().id(&unique("c")).connect()));
            for (level, subscriber) in &mut subscribers {
                subscriber.subscribe(&topic, *level);
            }
            for level in [0, 1, 2] {
                publisher.publish(message(&topic, "x").qos(level));
                for (granted, subscriber) in &mut subscribers {
                    subscriber.receive(message(&topic, "x").qos(level.min(*granted)));
                }
            }
            subscribers.iter_mut().for_each(|(_, subscriber)| subscriber.expect_nothing());
        }
    }
}

#[test]
fn wildcards_match_across_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        let root = unique("t");
        let (mut publisher, mut subscriber) = (cluster.client(0, version).connect(), cluster.client(1, version).connect());
        subscriber.subscribe(&format!("{root}/+/b/#"), 1);
        subscriber.subscribe(&format!("{root}/exact"), 2);
        for (topic, level) in [("/a/b", 1), ("/x/b/c/d", 0), ("/exact", 2)] {
            publisher.publish(message(&format!("{root}{topic}"), "x").qos(level));
            subscriber.receive(message(&format!("{root}{topic}"), "x").qos(level));
        }
        publisher.publish(message(&format!("{root}/a/c"), "x").qos(1));
        subscriber.unsubscribe(&format!("{root}/exact"));
        publisher.publish(message(&format!("{root}/exact"), "x").qos(1));
        publisher.publish(message(&format!("{root}/a/b"), "last").qos(1));
        subscriber.receive(message(&format!("{root}/a/b"), "last").qos(1));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.3.2-17]` What a publisher says of its message reaches the other node whole, and Subscription Identifiers are the subscriber's.
#[test]
fn properties_cross_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for durable in [false, true] {
        let topic = unique("t");
        let mut publisher = cluster.client(0, V5).connect();
        let connecting = cluster.client(1, V5);
        let mut subscriber = if durable { connecting.durable() } else { connecting }.connect();
        subscriber.subscribe_as(subscribe_with_id(1, 7, &topic, 2), &[Reason::GRANTED_QOS_2]);
        for level in [0, 1, 2] {
            let sent = message(&topic, vec![b'x'; 20_000]).qos(level).user("a", "b").user("a", "c").expiry(1000).with(|properties| {
                properties.payload_is_utf8 = Some(true);
                properties.content_type = Some("text/plain".into());
                properties.response_topic = Some("answer".into());
                properties.correlation_data = Some(vec![0, 1, 255].into());
            });
            publisher.publish(&sent);
            subscriber.receive(sent.ids(&[7]));
        }
    }
}

/// A retained message is there for a subscriber on another node, once; with its new content after a change, and not at all once removed.
#[test]
fn retained_messages_are_those_of_all_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        for level in [0, 1, 2] {
            let topic = unique("t");
            let mut publisher = cluster.client(0, version).connect();
            publisher.publish(message(&topic, "first").qos(level).retain());
            publisher.publish(message(&topic, "second").qos(level).retain());
            let mut subscriber = cluster.client(1, version).connect();
            subscriber.subscribe(&topic, 2);
            subscriber.receive(message(&topic, "second").qos(level).retain());
            publisher.publish(message(&topic, "live").qos(level).retain());
            subscriber.receive(message(&topic, "live").qos(level));
            publisher.publish(message(&topic, "").qos(level).retain());
            subscriber.receive(message(&topic, "").qos(level));
            let mut late = cluster.client(1, version).connect();
            late.subscribe(&topic, 2);
            late.expect_nothing();
        }
    }
}

/// `[MQTT-3.8.3-3]` A client that moves to another node does not hear what it has published on the first.
#[test]
fn no_local_holds_across_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for level in [0, 1, 2] {
        let topic = unique("t");
        let mut both = cluster.client(0, V5).connect();
        let mut other = cluster.client(1, V5).connect();
        both.subscribe(&topic, options(2).no_local());
        other.subscribe(&topic, options(2).no_local());
        both.publish(message(&topic, "of both").qos(level));
        other.receive(message(&topic, "of both").qos(level));
        other.publish(message(&topic, "of other").qos(level));
        both.receive(message(&topic, "of other").qos(level));
        both.expect_nothing();
        other.expect_nothing();
    }
}

/// `[MQTT-4.6.0-5]` `[MQTT-4.6.0-6]` The messages of a publisher come in its order, at each QoS, to live and durable subscribers.
#[test]
fn order_is_kept_across_nodes() {
    const COUNT: usize = 200;
    let Some(cluster) = Cluster::start(2) else { return };
    for (version, level, durable) in [(V5, 0, false), (V5, 1, false), (V3_1_1, 2, false), (V3_1_1, 1, true), (V5, 2, true)] {
        let topic = unique("t");
        let connecting = cluster.client(1, version);
        let mut subscriber = if durable { connecting.durable() } else { connecting }.connect();
        subscriber.subscribe(&format!("{topic}/#"), 2);
        std::thread::scope(|scope| {
            for name in ["a", "b"] {
                let (mut publisher, topic) = (cluster.client(0, version).connect(), format!("{topic}/{name}"));
                scope.spawn(move || publish_all(&mut publisher, &topic, 0..COUNT, level));
            }
            let mut next = [0; 2];
            while next != [COUNT; 2] {
                let came = subscriber.next_publish();
                let of = usize::from(came.topic.ends_with("/b"));
                assert_eq!(came.payload, format!("{}", next[of]), "of publisher {of} at QoS {level}");
                next[of] += 1;
                subscriber.acknowledge(came.qos, came.packet_id.map_or(0, u16::from));
            }
        });
        subscriber.fence();
    }
}

/// A SUBACK is a promise: what is published on any node after it, comes.
#[test]
fn a_suback_is_a_promise_of_all_nodes() {
    const ROUNDS: usize = 300;
    let Some(cluster) = Cluster::start(2) else { return };
    for (level, durable) in [(0, false), (1, false), (0, true), (1, true)] {
        let root = unique("t");
        let connecting = cluster.client(0, V5);
        let mut subscriber = if durable { connecting.durable() } else { connecting }.connect();
        let mut publisher = cluster.client(1, V5).connect();
        for round in 0..ROUNDS {
            let topic = format!("{root}/{round}");
            subscriber.subscribe(&topic, level);
            publisher.publish(message(&topic, "x").qos(level));
            subscriber.receive(message(&topic, "x").qos(level));
            subscriber.unsubscribe(&topic);
        }
    }
}
