//! One Client Identifier on several nodes.

use std::time::{Duration, Instant};

use mqttd_tests::client::{Came, DEADLINE};
use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

use super::rounds::rounds;

/// `[MQTT-3.1.4-3]` The old connection is told, the Session goes on with its subscriptions and what is in flight.
#[test]
fn a_client_moves_to_another_node() {
    let Some(cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut publisher = cluster.client(0, version).connect();
        let mut first = cluster.durable(0, version, &id);
        first.subscribe(&topic, 2);
        publisher.publish(message(&topic, "one").qos(1));
        let one = first.expect_publish(message(&topic, "one").qos(1));
        let mut second = cluster.durable(1, version, &id);
        assert!(second.session_present() || version == V3_1);
        first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
        second.receive(message(&topic, "one").qos(1).dup().id(one));
        for level in [0, 1, 2] {
            publisher.publish(message(&topic, "more").qos(level));
            second.receive(message(&topic, "more").qos(level));
        }
        second.expect_nothing();
        let mut third = cluster.durable(0, version, &id);
        second.expect_disconnect(Reason::SESSION_TAKEN_OVER);
        publisher.publish(message(&topic, "last").qos(1));
        third.receive(message(&topic, "last").qos(1));
        third.expect_nothing();
    }
}

/// `[MQTT-3.1.4-3]` `[MQTT-3.1.2-8]` Without a Session that lasts there is nothing to take over but the name, and the Will.
#[test]
fn a_name_moves_to_another_node() {
    let Some(cluster) = Cluster::start(2) else { return };
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut watcher = cluster.client(1, version).connect();
        watcher.subscribe(&topic, 1);
        let mut first = cluster.client(0, version).id(&id).will(message(&topic, "gone").qos(1)).connect();
        first.subscribe(&unique("t"), 1);
        let mut second = cluster.client(1, version).id(&id).connect();
        assert!(!second.session_present());
        first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
        watcher.receive(message(&topic, "gone").qos(1));
        watcher.expect_nothing();
        second.expect_nothing();
    }
}

/// Whichever of the two is told that it was taken over; the other one has the Session.
#[track_caller]
fn owner(mut clients: [Client; 2]) -> Client {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        for at in [0, 1] {
            match clients[at].came_within(Duration::from_millis(5)) {
                Came::Nothing => {}
                Came::Packet(Packet::Disconnect(end)) if end.reason == Reason::SESSION_TAKEN_OVER => {
                    clients[at].expect_closed();
                    let [first, second] = clients;
                    return if at == 0 { second } else { first };
                }
                other => clients[at].fail("0x8E, or nothing", &other),
            }
        }
    }
    clients[0].fail("that one of the two is taken over", &"nothing")
}

/// `[MQTT-3.1.4-3]` Two nodes that are asked for one Session at the same moment: one has it in the end, and it has the messages.
#[test]
fn raced_takeovers_end_with_one_owner() {
    let Some(cluster) = Cluster::start(2) else { return };
    for durable in [true, false] {
        let (topic, id) = (unique("t"), unique("c"));
        let mut publisher = cluster.client(0, V5).connect();
        let mut before: Option<Client> = None;
        for round in 0..rounds(100, 10) {
            let connect = |node: usize| {
                let connecting = cluster.client(node, V5).id(&id);
                if durable { connecting.durable() } else { connecting }.connect()
            };
            let clients = std::thread::scope(|scope| {
                let other = scope.spawn(|| connect(1));
                [connect(0), other.join().expect("it connects")]
            });
            before.into_iter().for_each(|mut before| before.expect_disconnect(Reason::SESSION_TAKEN_OVER));
            let mut owner = owner(clients);
            if round == 0 || !durable {
                owner.subscribe(&topic, 1);
            }
            publisher.publish(message(&topic, format!("{round}")).qos(1));
            owner.receive(message(&topic, format!("{round}")).qos(1));
            owner.expect_nothing();
            before = Some(owner);
        }
    }
}

/// Messages that come while a subscriber goes from node to node are not lost.
#[test]
fn nothing_is_lost_while_a_client_moves() {
    let Some(cluster) = Cluster::start(2) else { return };
    let (topic, id) = (unique("t"), unique("c"));
    let mut publisher = cluster.client(0, V5).connect();
    let mut subscriber = cluster.durable(0, V5, &id);
    subscriber.subscribe(&topic, 1);
    let mut expected = 0;
    for round in 0..20u16 {
        for number in round * 10..round * 10 + 10 {
            publisher.send(message(&topic, format!("{number}")).qos(1).id(number + 1));
        }
        subscriber = cluster.durable(usize::from(round % 2), V5, &id);
        while expected < (round + 1) * 10 {
            let came = subscriber.next_publish();
            assert_eq!(came.payload, format!("{expected}"));
            subscriber.send(puback(came.packet_id.expect("QoS 1").get()));
            expected += 1;
        }
        subscriber.fence();
    }
}
