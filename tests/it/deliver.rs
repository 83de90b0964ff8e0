//! PUBLISH from the broker to a subscriber (5.0 sections 3.3, 4.3 and 4.6).

use mqttd_tests::*;

/// `[MQTT-4.3.2-1]` `[MQTT-4.3.2-2]` `[MQTT-2.2.1-4]` `[v3:MQTT-2.3.1-4]` `[v3:MQTT-4.3.2-1]` `[MQTT-4.3.3-1]` `[MQTT-4.3.3-2]` `[v3:MQTT-4.3.3-1]`
/// `[v3:MQTT-2.3.1-1]`
#[test]
fn packet_identifiers_are_unused_ones() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 2);
        let mut used = std::collections::HashSet::new();
        for (number, level) in [1, 2, 1, 2, 2, 1].into_iter().enumerate() {
            publisher.publish(message(&topic, format!("{number}")).qos(level));
            let id = subscriber.expect_publish(message(&topic, format!("{number}")).qos(level));
            assert!(used.insert(id), "{id} is in use");
        }
    }
}

/// `[MQTT-4.3.3-4]` `[MQTT-4.3.3-5]` `[v3:MQTT-4.3.3-1]` `[MQTT-2.2.1-5]`
#[test]
fn a_qos_2_delivery_is_an_exchange_of_four() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 2);
        publisher.publish(message(&topic, "x").qos(2));
        let id = subscriber.expect_publish(message(&topic, "x").qos(2));
        subscriber.expect_nothing();
        subscriber.send(pubrec(id));
        subscriber.expect_pubrel(id);
        subscriber.expect_nothing();
        subscriber.send(pubcomp(id));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-4.3.3-4]` A PUBREC again, on the same connection, is answered with PUBREL again.
#[test]
fn a_repeated_pubrec_is_answered_with_pubrel() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 2);
        publisher.publish(message(&topic, "x").qos(2));
        let id = subscriber.expect_publish(message(&topic, "x").qos(2));
        for _ in 0..2 {
            subscriber.send(pubrec(id));
            subscriber.expect_pubrel(id);
        }
        subscriber.send(pubcomp(id));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-4.3.3-4]` `[MQTT-3.6.2-1]` A PUBREC for nothing: 5.0 says so in PUBREL, 3.1.1 releases it all the same.
#[test]
fn a_pubrec_for_nothing_is_answered() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send(pubrec(77));
        client.expect_ack(Kind::Pubrel, 77, Reason::PACKET_IDENTIFIER_NOT_FOUND);
        client.send(pubcomp(77));
        client.expect_nothing();
    }
}

/// Section 4.3: acknowledgements for nothing are no reason to end a connection.
#[test]
fn acknowledgements_for_nothing_are_ignored() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send(puback(77));
        client.send(pubcomp(77));
        client.expect_nothing();
    }
}

/// `[MQTT-4.4.0-2]` `[MQTT-4.3.3-4]` A PUBREC that refuses ends the exchange, and nothing comes again.
#[test]
fn a_refused_message_is_done_with() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut publisher = client(V5).connect();
    let mut subscriber = client(V5).id(&id).durable().connect();
    subscriber.subscribe(&topic, 2);
    publisher.publish(message(&topic, "one").qos(1));
    publisher.publish(message(&topic, "two").qos(2));
    let one = subscriber.expect_publish(message(&topic, "one").qos(1));
    let two = subscriber.expect_publish(message(&topic, "two").qos(2));
    subscriber.send(ack(Kind::Puback, one, Reason::NOT_AUTHORIZED));
    subscriber.send(ack(Kind::Pubrec, two, Reason::QUOTA_EXCEEDED));
    subscriber.expect_nothing();
    subscriber.cut();
    let mut again = client(V5).id(&id).durable().connect();
    assert!(again.session_present());
    again.expect_nothing();
}

/// `[MQTT-4.4.0-1]` On one and the same connection nothing is sent twice, however long an acknowledgement takes.
#[test]
fn nothing_is_resent_while_the_connection_lasts() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V3_1_1);
    subscriber.subscribe(&topic, 2);
    publisher.publish(message(&topic, "x").qos(1));
    let id = subscriber.expect_publish(message(&topic, "x").qos(1));
    pass(Broker::shared(), 1);
    subscriber.expect_nothing();
    subscriber.send(puback(id));
    subscriber.expect_nothing();
}

/// `[MQTT-3.8.4-8]` `[v3:MQTT-3.8.4-6]` The lower of the QoS published and the QoS granted.
#[test]
fn qos_is_the_lower_of_published_and_granted() {
    for version in VERSIONS {
        for granted in 0..=2u8 {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&topic, granted);
            for published in 0..=2u8 {
                publisher.publish(message(&topic, format!("{published}")).qos(published));
                subscriber.receive(message(&topic, format!("{published}")).qos(published.min(granted)));
            }
            subscriber.expect_nothing();
        }
    }
}

/// `[MQTT-3.3.1-2]` `[v3:MQTT-3.3.1-2]` `[MQTT-3.3.1-3]` `[v3:MQTT-3.3.1-3]` DUP of the publisher is not DUP of the subscriber.
#[test]
fn dup_is_not_forwarded() {
    for version in VERSIONS {
        for level in [1, 2] {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&topic, 2);
            publisher.publish(message(&topic, "x").qos(level).dup());
            subscriber.receive(message(&topic, "x").qos(level));
        }
    }
}

/// `[MQTT-4.6.0-5]` `[MQTT-4.6.0-6]` `[v3:MQTT-4.6.0-5]` `[v3:MQTT-4.6.0-6]`
#[test]
fn messages_of_a_topic_keep_their_order() {
    for version in VERSIONS {
        for level in 0..=2u8 {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&topic, level);
            let numbered = |number: u16| message(&topic, format!("{number}")).qos(level);
            for number in 1..=200 {
                publisher.send(if level == 0 { numbered(number) } else { numbered(number).id(number) });
            }
            if level == 2 {
                (1..=200).for_each(|id| publisher.expect_pubrec(id));
                (1..=200).for_each(|id| publisher.send(pubrel(id)));
            }
            for number in 1..=200 {
                subscriber.receive(numbered(number));
            }
            subscriber.expect_nothing();
        }
    }
}

/// `[MQTT-4.6.0-2]` `[MQTT-4.6.0-3]` `[v3:MQTT-4.6.0-2]` `[v3:MQTT-4.6.0-3]` `[v3:MQTT-4.6.0-4]` As a receiver the broker keeps the order too.
#[test]
fn acknowledgements_keep_the_order_of_what_they_answer() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut publisher = client(version).connect();
        for id in 1..=50 {
            publisher.send(message(&topic, "x").qos(1).id(id));
        }
        for id in 1..=50 {
            publisher.expect_puback(id);
        }
        for id in 1..=50 {
            publisher.send(message(&topic, "x").qos(2).id(id));
        }
        for id in 1..=50 {
            publisher.expect_pubrec(id);
        }
    }
}

/// `[MQTT-4.6.0-4]` `[v3:MQTT-4.6.0-4]`
#[test]
fn pubrel_comes_in_the_order_of_pubrec() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 2);
        let ids: Vec<u16> = (0..5)
            .map(|number| {
                publisher.publish(message(&topic, format!("{number}")).qos(2));
                subscriber.expect_publish(message(&topic, format!("{number}")).qos(2))
            })
            .collect();
        let order = [ids[3], ids[0], ids[4], ids[1], ids[2]];
        for id in order {
            subscriber.send(pubrec(id));
        }
        for id in order {
            subscriber.expect_pubrel(id);
        }
    }
}

/// `[MQTT-4.5.0-1]` `[v3:MQTT-4.5.0-1]` Everyone who subscribed gets it, each at its own QoS and in its own version.
#[test]
fn every_subscriber_gets_its_own_copy() {
    let topic = unique("t");
    let mut subscribers: Vec<_> =
        VERSIONS.iter().flat_map(|&version| (0..=2u8).map(move |level| (client(version).connect(), level))).collect();
    for (subscriber, level) in &mut subscribers {
        subscriber.subscribe(&topic, *level);
    }
    for version in VERSIONS {
        client(version).connect().publish(message(&topic, "all").qos(2));
        for (subscriber, level) in &mut subscribers {
            subscriber.receive(message(&topic, "all").qos(*level));
        }
    }
    for (subscriber, _) in &mut subscribers {
        subscriber.expect_nothing();
    }
}

/// Section 2.2.1: the two directions have Packet Identifiers of their own; exchanges with the same number do not meet.
#[test]
fn both_directions_may_use_the_same_packet_identifier() {
    for version in VERSIONS {
        let (inward, outward) = (unique("t"), unique("t"));
        let (mut other, mut client) = pair(version);
        client.subscribe(&inward, 2);
        other.subscribe(&outward, 0);
        other.publish(message(&inward, "in").qos(2));
        let id = client.expect_publish(message(&inward, "in").qos(2));
        client.send(message(&outward, "out").qos(2).id(id));
        client.expect_pubrec(id);
        client.send(pubrec(id));
        client.expect_pubrel(id);
        client.send(pubrel(id));
        client.expect_pubcomp(id);
        client.send(pubcomp(id));
        client.expect_nothing();
        other.expect_publish(message(&outward, "out"));
        other.expect_nothing();
    }
}
