//! Maximum Packet Size (5.0 sections 3.1.2.11.4 and 3.2.2.3.6), in both directions.

use mqttd_tests::*;

/// `[MQTT-3.1.2-24]` `[MQTT-3.1.2-25]` What is too large is dropped for this client, and everything goes on as if it had been sent.
#[test]
fn too_large_messages_are_left_out() {
    for level in 0..=2u8 {
        let topic = unique("t");
        let mut small = client(V5).maximum_packet_size(100).receive_maximum(1).connect();
        let (mut publisher, mut large) = pair(V5);
        small.subscribe(&topic, 2);
        large.subscribe(&topic, 2);
        for (payload, fits) in [("x".repeat(200), false), ("small".into(), true), ("y".repeat(100), false), ("again".into(), true)] {
            publisher.publish(message(&topic, &payload).qos(level));
            large.receive(message(&topic, &payload).qos(level));
            if fits {
                small.receive(message(&topic, &payload).qos(level));
            }
        }
        small.expect_nothing();
    }
}

/// `[MQTT-3.1.2-24]` To the byte: the whole packet counts, fixed header included.
#[test]
fn the_limit_counts_the_whole_packet() {
    let topic = unique("t");
    let overhead = 2 + 2 + topic.len() + 1;
    let mut subscriber = client(V5).maximum_packet_size(100).connect();
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(V5).connect();
    let fits = "f".repeat(100 - overhead);
    publisher.publish(message(&topic, &fits));
    publisher.publish(message(&topic, fits.clone() + "!"));
    publisher.publish(message(&topic, "last"));
    subscriber.expect_publish(message(&topic, &fits));
    subscriber.expect_publish(message(&topic, "last"));
}

/// `[MQTT-3.1.2-25]` Also for what waited in the Session, for retained messages, and for identifiers that make a packet larger.
#[test]
fn too_large_messages_are_left_out_wherever_they_come_from() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut publisher = client(V5).connect();
    let mut first = client(V5).id(&id).durable().connect();
    first.subscribe(&topic, 1);
    first.disconnect();
    publisher.publish(message(&topic, "q".repeat(300)).qos(1));
    publisher.publish(message(&topic, "queued").qos(1));
    publisher.publish(message(&format!("{topic}/r"), "r".repeat(300)).qos(1).retain());
    let mut second = client(V5).id(&id).durable().maximum_packet_size(100).receive_maximum(1).connect();
    second.receive(message(&topic, "queued").qos(1));
    second.subscribe(&format!("{topic}/+"), 1);
    second.expect_nothing();
    publisher.publish(message(&topic, "live").qos(1));
    second.receive(message(&topic, "live").qos(1));
    second.expect_nothing();
}

/// Section 3.1.2.11.4: zero is a Protocol Error.
#[test]
fn a_maximum_of_zero_is_a_protocol_error() {
    client(V5).maximum_packet_size(0).refused(Reason::PROTOCOL_ERROR);
}

/// `[MQTT-3.4.2-2]` `[MQTT-3.9.2-1]` `[MQTT-3.11.2-1]` `[MQTT-3.14.2-3]` `[MQTT-3.9.2-2]` `[MQTT-3.11.2-2]` `[MQTT-3.14.2-4]` `[MQTT-3.7.2-2]`
/// `[MQTT-3.7.2-3]` `[MQTT-3.5.2-2]` `[MQTT-3.5.2-3]` `[MQTT-3.4.2-3]` `[MQTT-3.6.2-2]` `[MQTT-3.6.2-3]`
/// Reason Strings and User Properties give way to a small Maximum Packet Size.
#[test]
fn answers_keep_to_a_small_maximum() {
    let mut client = client(V5).maximum_packet_size(25).send();
    let connack = client.next_event();
    let client::Came::Packet(Packet::Connack(connack)) = connack else { client.fail("CONNACK", &connack) };
    assert_eq!(connack.reason, Reason::SUCCESS);
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a/#/b", 0)]))));
    assert!(client.next_bytes().len() <= 25);
    client.send(unsubscribe(1, &["never"]));
    assert!(client.next_bytes().len() <= 25);
    client.send(pubrel(1));
    assert!(client.next_bytes().len() <= 25);
    client.send(pubrec(1));
    assert!(client.next_bytes().len() <= 25);
    client.send(message("a/#", "x"));
    let end = client.next_bytes();
    assert!(end.len() <= 25 && end[0] == 0xE0, "{}", hex::show(&end));
    client.expect_closed();
}

/// `[MQTT-3.1.2-24]` A client that cannot even be told what holds is not left waiting.
#[test]
fn no_room_for_a_connack_is_the_end() {
    for maximum in [1, 4, 5, 12] {
        client(V5).maximum_packet_size(maximum).send().expect_closed_after_any_connack();
    }
}

fn small() -> Broker {
    Broker::with(|config| config.limits.packet_bytes_max = 1000)
}

/// `[MQTT-3.2.2-15]` (section 3.2.2.3.6) Announced, and enforced to the byte.
#[test]
fn a_client_must_keep_to_the_brokers_maximum() {
    let broker = small();
    for version in VERSIONS {
        let mut client = broker.client(version).connect();
        let announced = client.connack.as_ref().and_then(|connack| connack.properties.maximum_packet_size);
        assert_eq!(announced, (version == V5).then_some(1000));
        let overhead = 3 + 2 + 1 + usize::from(version == V5);
        client.publish(message("t", "x".repeat(1000 - overhead)));
        client.send(message("t", "x".repeat(1001 - overhead)));
        client.expect_disconnect(Reason::PACKET_TOO_LARGE);
    }
}

/// The length alone is enough: the broker does not wait for bytes that it will not take.
#[test]
fn an_announced_length_is_enough_to_refuse() {
    let broker = small();
    for version in VERSIONS {
        let mut client = broker.client(version).connect();
        client.send_hex("30 ff ff ff 7f");
        client.expect_disconnect(Reason::PACKET_TOO_LARGE);
        let mut early = broker.open(version);
        early.send_hex("10 ff ff ff 7f");
        early.expect_closed_after_any_connack();
    }
}

/// Large packets pass in both directions, up to the default limit of a mebibyte.
#[test]
fn large_messages_pass() {
    for version in VERSIONS {
        for level in 0..=2u8 {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&topic, 2);
            let payload: Vec<u8> = (0..1_000_000u32).map(|byte| byte as u8).collect();
            publisher.publish(message(&topic, &payload).qos(level));
            subscriber.receive(message(&topic, &payload).qos(level));
        }
    }
}
