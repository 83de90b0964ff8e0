//! PUBLISH from a client to the broker (5.0 sections 3.3 and 4.3).

use mqttd_tests::*;

/// `[MQTT-3.3.4-1]` `[v3:MQTT-3.3.4-1]` `[MQTT-4.3.1-1]` `[v3:MQTT-4.3.1-1]` `[MQTT-2.2.1-2]` `[v3:MQTT-2.3.1-5]` and has no Packet Identifier.
#[test]
fn qos_0_is_not_acknowledged() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        publisher.send(message(&topic, "hello"));
        publisher.expect_nothing();
        subscriber.expect_publish(message(&topic, "hello"));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.3.4-1]` `[MQTT-2.2.1-5]` `[v3:MQTT-2.3.1-6]` `[MQTT-4.3.2-4]` `[v3:MQTT-4.3.2-2]`
#[test]
fn qos_1_is_answered_with_puback() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        publisher.send(message(&topic, "hello").qos(1).id(0xFFFF));
        publisher.expect_puback(0xFFFF);
        publisher.expect_nothing();
        subscriber.expect_publish(message(&topic, "hello"));
    }
}

/// `[MQTT-3.3.4-1]` `[MQTT-4.3.3-8]` `[MQTT-4.3.3-11]` `[v3:MQTT-4.3.3-2]` The message goes out once.
#[test]
fn qos_2_is_answered_with_pubrec_and_pubcomp() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 2);
        publisher.send(message(&topic, "hello").qos(2).id(7));
        publisher.expect_pubrec(7);
        publisher.send(pubrel(7));
        publisher.expect_pubcomp(7);
        publisher.expect_nothing();
        subscriber.receive(message(&topic, "hello").qos(2));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-4.3.3-10]` `[v3:MQTT-4.3.3-2]` Until PUBREL the same Packet Identifier is the same message.
#[test]
fn a_repeated_qos_2_publish_is_delivered_once() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        publisher.send(message(&topic, "once").qos(2).id(1));
        publisher.expect_pubrec(1);
        for _ in 0..3 {
            publisher.send(message(&topic, "once").qos(2).id(1).dup());
            publisher.expect_pubrec(1);
        }
        publisher.send(pubrel(1));
        publisher.expect_pubcomp(1);
        subscriber.expect_publish(message(&topic, "once"));
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// `[MQTT-4.3.3-12]` `[MQTT-4.3.2-5]` After the exchange the Packet Identifier names a new message, whatever DUP says.
#[test]
fn a_packet_identifier_is_free_after_its_exchange() {
    for version in VERSIONS {
        for level in [1, 2] {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&topic, 0);
            for payload in ["first", "second"] {
                publisher.publish(message(&topic, payload).qos(level).id(5));
                subscriber.expect_publish(message(&topic, payload));
            }
            publisher.publish(message(&topic, "third").qos(level).id(5).dup());
            subscriber.expect_publish(message(&topic, "third"));
            publisher.expect_nothing();
        }
    }
}

/// `[MQTT-4.3.3-11]` PUBREL is answered whenever it comes; 5.0 says that nothing was found.
#[test]
fn pubrel_without_publish_is_answered() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send(pubrel(9));
        client.expect_ack(Kind::Pubcomp, 9, Reason::PACKET_IDENTIFIER_NOT_FOUND);
        client.expect_nothing();
    }
}

/// `[MQTT-4.3.3-11]` A PUBREL again, after a lost PUBCOMP, is answered again.
#[test]
fn a_repeated_pubrel_is_answered_again() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut client = client(version).connect();
        client.publish(message(&topic, "x").qos(2).id(3));
        client.send(pubrel(3));
        client.expect_ack(Kind::Pubcomp, 3, Reason::PACKET_IDENTIFIER_NOT_FOUND);
    }
}

/// Section 4.3: exchanges of several Packet Identifiers may interleave.
#[test]
fn exchanges_interleave() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        for id in 1..=3 {
            publisher.send(message(&topic, format!("{id}")).qos(2).id(id));
        }
        publisher.send(message(&topic, "4").qos(1).id(4));
        for id in 1..=3 {
            publisher.expect_pubrec(id);
        }
        publisher.expect_puback(4);
        for id in [2, 3, 1] {
            publisher.send(pubrel(id));
        }
        for id in [2, 3, 1] {
            publisher.expect_pubcomp(id);
        }
        let mut payloads: Vec<_> = (0..4).map(|_| subscriber.next_publish().payload).collect();
        payloads.sort();
        assert_eq!(payloads, ["1", "2", "3", "4"]);
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.4.2-1]` `[MQTT-3.5.2-1]` Whether anybody subscribes or not, the answer is one of success.
#[test]
fn nobody_listens_and_it_is_no_error() {
    for version in VERSIONS {
        let mut publisher = client(version).connect();
        publisher.publish(message(&unique("t"), "x").qos(1));
        publisher.publish(message(&unique("t"), "x").qos(2));
        publisher.expect_nothing();
    }
}

/// Section 3.3.3: an empty payload is a message like any other when RETAIN is 0.
#[test]
fn an_empty_payload_is_delivered() {
    for version in VERSIONS {
        for level in 0..=2 {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&topic, 2);
            publisher.publish(message(&topic, "").qos(level));
            subscriber.receive(message(&topic, "").qos(level));
        }
    }
}

/// Section 3.3.3: a payload is bytes, not text.
#[test]
fn a_payload_is_bytes() {
    let every: Vec<u8> = (0..=255).collect();
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        publisher.publish(message(&topic, &every));
        subscriber.expect_publish(message(&topic, &every));
    }
}

/// `[MQTT-3.3.2-2]` `[v3:MQTT-3.3.2-2]` `[MQTT-4.7.0-1]` `[v3:MQTT-4.7.1-1]` `[MQTT-4.7.3-1]` `[v3:MQTT-4.7.3-1]`
#[test]
fn a_topic_name_without_meaning_ends_the_connection() {
    for version in VERSIONS {
        for (topic, reasons) in [
            ("a/+/b", &[Reason::TOPIC_NAME_INVALID, Reason::MALFORMED_PACKET][..]),
            ("a/#", &[Reason::TOPIC_NAME_INVALID, Reason::MALFORMED_PACKET]),
            ("+", &[Reason::TOPIC_NAME_INVALID, Reason::MALFORMED_PACKET]),
            ("a+b", &[Reason::TOPIC_NAME_INVALID, Reason::MALFORMED_PACKET]),
            ("", &[Reason::PROTOCOL_ERROR, Reason::TOPIC_NAME_INVALID]),
        ] {
            let mut client = client(version).connect();
            client.send(message(topic, "x"));
            client.expect_disconnect_of(reasons);
        }
    }
}

/// `[MQTT-3.3.4-6]` Subscription Identifiers are for the other direction.
#[test]
fn a_client_must_not_send_subscription_identifiers() {
    let mut client = client(V5).connect();
    client.send_hex("30 06 0001 'a' 02 0b 01");
    client.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// `[MQTT-4.5.0-1]` `[v3:MQTT-4.5.0-1]` A publisher hears itself when it subscribes.
#[test]
fn a_publisher_may_be_its_own_subscriber() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut client = client(version).connect();
        client.subscribe(&topic, 2);
        for level in 0..=2 {
            client.publish(message(&topic, "self").qos(level));
            client.receive(message(&topic, "self").qos(level));
        }
        client.expect_nothing();
    }
}
