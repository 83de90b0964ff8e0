//! Session State (5.0 section 4.1) and redelivery (section 4.4).

use mqttd_tests::*;

/// A durable client with one subscription at QoS 2, and its topic and Client Identifier.
#[track_caller]
fn subscriber(version: Version) -> (Client, String, String) {
    let (topic, id) = (unique("t"), unique("c"));
    let mut client = client(version).id(&id).durable().connect();
    client.subscribe(&topic, 2);
    (client, topic, id)
}

#[track_caller]
fn back(version: Version, id: &str) -> Client {
    client(version).id(id).durable().connect()
}

/// `[MQTT-3.1.2-5]` `[v3:MQTT-3.1.2-4]` `[v3:MQTT-3.1.2-5]` `[MQTT-4.5.0-1]` `[v3:MQTT-4.5.0-1]` `[MQTT-3.1.2-23]`
#[test]
fn messages_wait_for_an_absent_client() {
    for version in VERSIONS {
        for end in [Client::disconnect, Client::cut] {
            let (client, topic, id) = subscriber(version);
            end(client);
            let mut publisher = mqttd_tests::client(version).connect();
            for level in [1, 2, 1] {
                publisher.publish(message(&topic, format!("{level}")).qos(level));
            }
            let mut client = back(version, &id);
            for level in [1, 2, 1] {
                client.receive(message(&topic, format!("{level}")).qos(level));
            }
            publisher.publish(message(&topic, "live").qos(2));
            client.receive(message(&topic, "live").qos(2));
            client.expect_nothing();
        }
    }
}

/// `[MQTT-4.4.0-1]` `[v3:MQTT-4.4.0-1]` `[MQTT-3.3.1-1]` `[v3:MQTT-3.3.1-1]` `[MQTT-4.3.2-3]` `[MQTT-4.3.3-3]` `[v3:MQTT-4.3.2-1]` The same Packet Identifiers, the same
/// order, and DUP. `[v3:MQTT-4.6.0-1]`
#[test]
fn unacknowledged_messages_come_again() {
    for version in VERSIONS {
        let (mut client, topic, id) = subscriber(version);
        let mut publisher = mqttd_tests::client(version).connect();
        let mut sent = Vec::new();
        for (number, level) in [1u8, 2, 2, 1, 1].into_iter().enumerate() {
            let message = message(&topic, format!("{number}")).qos(level);
            publisher.publish(message.clone());
            sent.push(message.clone().id(client.expect_publish(message)).dup());
        }
        for _ in 0..2 {
            client.cut();
            client = back(version, &id);
            for message in &sent {
                client.expect_publish(message);
            }
            client.expect_nothing();
        }
        client.cut();
        client = back(version, &id);
        for message in &sent {
            client.receive(message);
        }
        client.expect_nothing();
        client.cut();
        back(version, &id).expect_nothing();
    }
}

/// `[MQTT-4.3.3-5]` `[MQTT-4.3.3-6]` `[MQTT-4.4.0-1]` `[v3:MQTT-4.3.3-1]` After PUBREC it is PUBREL that comes again, never the PUBLISH.
#[test]
fn a_released_message_sends_pubrel_again() {
    for version in VERSIONS {
        let (mut client, topic, id) = subscriber(version);
        mqttd_tests::client(version).connect().publish(message(&topic, "x").qos(2));
        let packet_id = client.expect_publish(message(&topic, "x").qos(2));
        client.send(pubrec(packet_id));
        client.expect_pubrel(packet_id);
        for _ in 0..3 {
            client.cut();
            client = back(version, &id);
            client.expect_pubrel(packet_id);
            client.expect_nothing();
        }
        client.send(pubcomp(packet_id));
        client.expect_nothing();
        client.cut();
        back(version, &id).expect_nothing();
    }
}

/// `[MQTT-4.4.0-1]` A client that took the message before the connection broke may answer the repetition with PUBREC.
#[test]
fn a_repeated_message_may_be_released() {
    for version in VERSIONS {
        let (mut client, topic, id) = subscriber(version);
        mqttd_tests::client(version).connect().publish(message(&topic, "x").qos(2));
        let packet_id = client.expect_publish(message(&topic, "x").qos(2));
        client.cut();
        let mut client = back(version, &id);
        client.receive(message(&topic, "x").qos(2).dup().id(packet_id));
        client.expect_nothing();
    }
}

/// `[MQTT-4.3.3-10]` `[v3:MQTT-4.3.3-2]` The broker remembers what it has received across connections: exactly once.
#[test]
fn a_qos_2_publish_again_after_reconnection_is_delivered_once() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut publisher = back(version, &id);
        publisher.send(message(&topic, "once").qos(2).id(11));
        publisher.expect_pubrec(11);
        for _ in 0..2 {
            publisher.cut();
            publisher = back(version, &id);
            publisher.send(message(&topic, "once").qos(2).id(11).dup());
            publisher.expect_pubrec(11);
        }
        publisher.send(pubrel(11));
        publisher.expect_pubcomp(11);
        watcher.expect_publish(message(&topic, "once"));
        watcher.expect_nothing();
    }
}

/// `[MQTT-4.3.3-11]` `[MQTT-4.3.3-12]` PUBREL after a reconnection ends the exchange, and frees the Packet Identifier.
#[test]
fn pubrel_after_reconnection_is_answered() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut publisher = back(version, &id);
        publisher.send(message(&topic, "first").qos(2).id(11));
        publisher.expect_pubrec(11);
        publisher.cut();
        let mut publisher = back(version, &id);
        publisher.send(pubrel(11));
        publisher.expect_pubcomp(11);
        publisher.publish(message(&topic, "second").qos(2).id(11));
        watcher.expect_publish(message(&topic, "first"));
        watcher.expect_publish(message(&topic, "second"));
        watcher.expect_nothing();
    }
}

/// `[MQTT-3.1.2-4]` `[v3:MQTT-3.1.2-6]` `[MQTT-3.1.4-4]` `[v3:MQTT-3.1.4-3]` Nothing of the old Session is left.
#[test]
fn clean_start_discards_everything() {
    for version in VERSIONS {
        let (mut client, topic, id) = subscriber(version);
        let mut publisher = mqttd_tests::client(version).connect();
        publisher.publish(message(&topic, "in flight").qos(1));
        client.expect_publish(message(&topic, "in flight").qos(1));
        client.send(message(&topic, "not released").qos(2).id(9));
        client.expect_pubrec(9);
        client.cut();
        publisher.publish(message(&topic, "queued").qos(1));
        let mut client = mqttd_tests::client(version).id(&id).connect();
        client.expect_nothing();
        publisher.publish(message(&topic, "no subscription").qos(1));
        client.expect_nothing();
        let mut watcher = mqttd_tests::client(version).connect();
        watcher.subscribe(&topic, 0);
        client.publish(message(&topic, "a new one").qos(2).id(9));
        watcher.expect_publish(message(&topic, "a new one"));
    }
}

/// `[v3:MQTT-3.1.2-5]` QoS 0 may be dropped or kept for an absent client; the rest is not disturbed by it.
#[test]
fn qos_0_messages_of_an_absence_do_not_disturb() {
    for version in VERSIONS {
        let (client, topic, id) = subscriber(version);
        client.disconnect();
        let mut publisher = mqttd_tests::client(version).connect();
        publisher.publish(message(&topic, "zero"));
        publisher.publish(message(&topic, "one").qos(1));
        let mut client = back(version, &id);
        let first = client.next_publish();
        if first.payload == "zero" {
            client.receive(message(&topic, "one").qos(1));
        } else {
            assert_eq!(first.payload, "one");
            client.send(puback(first.packet_id.expect("QoS 1").get()));
        }
        client.expect_nothing();
    }
}

/// `[MQTT-4.1.0-1]` `[v3:MQTT-4.1.0-2]` What a Session is does not change while its client is there.
#[test]
fn a_session_lasts_while_the_connection_is_open() {
    let topic = unique("t");
    let mut subscribers = [client(V5).expiry(1).connect(), client(V5).connect(), client(V3_1_1).connect()];
    for subscriber in &mut subscribers {
        subscriber.subscribe(&topic, 1);
    }
    pass(Broker::shared(), 2);
    client(V5).connect().publish(message(&topic, "x").qos(1));
    for subscriber in &mut subscribers {
        subscriber.receive(message(&topic, "x").qos(1));
    }
}

/// Section 3.1.2.4: a Session of one version is taken up by a client of another; subscriptions and messages stay.
#[test]
fn sessions_cross_versions() {
    for from in VERSIONS {
        for to in VERSIONS {
            let (client, topic, id) = subscriber(from);
            client.disconnect();
            mqttd_tests::client(V5).connect().publish(message(&topic, "x").qos(2).user("a", "b"));
            let mut client = back(to, &id);
            let expected = message(&topic, "x").qos(2);
            client.receive(if to == V5 { expected.user("a", "b") } else { expected });
            client.expect_nothing();
        }
    }
}

/// Many messages wait and come in order, more than any window or mailbox of default size at once.
#[test]
fn a_long_queue_is_delivered_in_order() {
    let (client, topic, id) = subscriber(V5);
    client.disconnect();
    let mut publisher = mqttd_tests::client(V5).connect();
    let window = 500;
    for start in (0..5000u16).step_by(window) {
        for number in start..start + 500 {
            publisher.send(message(&topic, format!("{number}")).qos(1).id(number + 1));
        }
        for number in start..start + 500 {
            publisher.expect_puback(number + 1);
        }
    }
    let mut client = back(V5, &id);
    for number in 0..5000 {
        client.receive(message(&topic, format!("{number}")).qos(1));
    }
    client.expect_nothing();
}

/// `[MQTT-4.5.0-1]` Subscriptions that match twice queue one copy.
#[test]
fn overlapping_subscriptions_queue_one_copy() {
    for version in VERSIONS {
        let (mut client, topic, id) = subscriber(version);
        client.subscribe(&format!("{topic}/#"), 1);
        client.disconnect();
        mqttd_tests::client(version).connect().publish(message(&topic, "x").qos(2));
        let mut client = back(version, &id);
        client.receive(message(&topic, "x").qos(2));
        client.expect_nothing();
    }
}
