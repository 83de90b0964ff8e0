//! What a message carries and the broker forwards unaltered (5.0 section 3.3.2.3).

use mqttd_tests::*;

#[track_caller]
fn forwarded(full: Message) {
    for level in 0..=2u8 {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(V5);
        subscriber.subscribe(&topic, 2);
        let mut sent = full.clone().qos(level);
        sent = sent.to(&topic);
        publisher.publish(sent.clone());
        subscriber.receive(sent);
    }
}

/// `[MQTT-3.3.2-4]`
#[test]
fn payload_format_indicator() {
    for is_utf8 in [true, false] {
        forwarded(message("", "x").with(|properties| properties.payload_is_utf8 = Some(is_utf8)));
    }
}

/// Section 3.3.2.3.2: a payload that is not what the indicator says may be refused, and is no reason to break anything else.
#[test]
fn a_payload_that_is_no_utf8_despite_the_indicator() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, 1);
    let bad = message(&topic, b"\xC3\x28").qos(1).id(1).with(|properties| properties.payload_is_utf8 = Some(true));
    publisher.send(bad);
    match publisher.next_event() {
        client::Came::Packet(Packet::Acknowledge(ack)) if ack.reason == Reason::PAYLOAD_FORMAT_INVALID => subscriber.expect_nothing(),
        client::Came::Packet(Packet::Acknowledge(ack)) if !ack.reason.is_error() => {
            let id = subscriber.next_publish().packet_id.expect("QoS 1");
            subscriber.send(puback(id.get()));
        }
        client::Came::Packet(Packet::Disconnect(end)) if end.reason == Reason::PAYLOAD_FORMAT_INVALID => publisher.expect_closed(),
        other => publisher.fail("PUBACK, or a refusal with 0x99", &other),
    }
}

/// `[MQTT-3.3.2-15]` `[MQTT-3.3.2-13]` `[MQTT-3.3.2-16]`
#[test]
fn response_topic_and_correlation_data() {
    for data in [&b""[..], b"\0", b"\xFF\xFE", &[7; 1000]] {
        forwarded(message("", "question").with(|properties| {
            properties.response_topic = Some("answers/for/\u{1F4A1}".into());
            properties.correlation_data = Some(data.to_vec().into());
        }));
    }
}

/// `[MQTT-3.3.2-14]`
#[test]
fn a_response_topic_has_no_wildcards() {
    for bad in ["a/+", "#", "a/#"] {
        let mut client = client(V5).connect();
        client.send(message("t", "x").with(|properties| properties.response_topic = Some(bad.into())));
        client.expect_disconnect_of(&[Reason::PROTOCOL_ERROR, Reason::TOPIC_NAME_INVALID, Reason::MALFORMED_PACKET]);
    }
}

/// `[MQTT-3.3.2-20]` `[MQTT-3.3.2-19]`
#[test]
fn content_type() {
    for text in ["", "text/plain", "anything at all \u{1F600}"] {
        forwarded(message("", "x").with(|properties| properties.content_type = Some(text.into())));
    }
}

/// `[MQTT-3.3.2-17]` `[MQTT-3.3.2-18]` `[MQTT-1.5.7-1]` Names may repeat and be empty; the order stays.
#[test]
fn user_properties_keep_their_order() {
    forwarded(message("", "x").user("b", "1").user("a", "2").user("b", "3").user("", "").user("a", "2").user("\u{FEFF}", "\u{1F600}"));
    let many = (0..500).fold(message("", "x"), |message, number| message.user(&format!("name{}", number % 7), &format!("{number}")));
    forwarded(many);
}

/// `[MQTT-3.3.2-4]` `[MQTT-3.3.2-15]` `[MQTT-3.3.2-17]` All of them together, and to a subscriber that is away.
#[test]
fn properties_wait_in_the_session() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut away = client(V5).id(&id).durable().connect();
    away.subscribe(&topic, 2);
    away.disconnect();
    let full = message(&topic, "x").qos(2).user("k", "v").with(|properties| {
        properties.payload_is_utf8 = Some(true);
        properties.content_type = Some("c".into());
        properties.response_topic = Some("r".into());
        properties.correlation_data = Some(b"d".to_vec().into());
    });
    client(V5).connect().publish(full.clone());
    client(V5).id(&id).durable().connect().receive(full);
}

/// A subscriber of 3.1.1 gets the message without what its version cannot say.
#[test]
fn properties_end_at_a_3_1_1_subscriber() {
    for version in [V3_1, V3_1_1] {
        let topic = unique("t");
        let mut subscriber = client(version).connect();
        subscriber.subscribe(&topic, 1);
        client(V5).connect().publish(message(&topic, "x").qos(1).user("a", "b").expiry(100));
        subscriber.receive(message(&topic, "x").qos(1));
    }
}

/// `[MQTT-2.2.2-1]` A message without properties has a Property Length of zero, and without payload it ends there.
#[test]
fn no_properties_are_one_byte() {
    let topic = "p".repeat(10) + &unique("t");
    let mut client = client(V5).connect();
    client.subscribe(&topic, 0);
    client.send(message(&topic, ""));
    let bytes = client.next_bytes();
    assert_eq!(bytes.len(), 2 + 2 + topic.len() + 1);
    assert_eq!(bytes.last(), Some(&0));
}
