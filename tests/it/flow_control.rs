//! Receive Maximum (5.0 sections 3.1.2.11.3, 3.2.2.3.3 and 4.9), in both directions.

use mqttd_tests::*;

/// A subscriber with this Receive Maximum, to whom `count` messages of this QoS have been published.
#[track_caller]
fn behind_a_window(maximum: u16, level: u8, count: u32) -> (Client, String) {
    let topic = unique("t");
    let mut subscriber = client(V5).receive_maximum(maximum).connect();
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(V5).connect();
    for number in 0..count {
        publisher.publish(message(&topic, format!("{number}")).qos(level));
    }
    (subscriber, topic)
}

/// `[MQTT-3.3.4-9]` `[MQTT-4.9.0-1]` `[MQTT-4.9.0-2]` No more than the client said, and one more for each PUBACK.
#[test]
fn puback_makes_room() {
    for maximum in [1, 3, 10] {
        let (mut subscriber, topic) = behind_a_window(maximum, 1, 15);
        let mut unanswered = std::collections::VecDeque::new();
        for number in 0..maximum {
            unanswered.push_back(subscriber.expect_publish(message(&topic, format!("{number}")).qos(1)));
        }
        for number in maximum..15 {
            subscriber.expect_nothing();
            subscriber.send(puback(unanswered.pop_front().expect("one is unanswered")));
            unanswered.push_back(subscriber.expect_publish(message(&topic, format!("{number}")).qos(1)));
        }
        for id in unanswered {
            subscriber.send(puback(id));
        }
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.3.4-9]` `[MQTT-4.9.0-2]` For QoS 2 it is PUBCOMP that makes room, PUBREC does not.
#[test]
fn pubcomp_makes_room_and_pubrec_does_not() {
    let (mut subscriber, topic) = behind_a_window(2, 2, 4);
    let first = subscriber.expect_publish(message(&topic, "0").qos(2));
    let second = subscriber.expect_publish(message(&topic, "1").qos(2));
    subscriber.expect_nothing();
    subscriber.send(pubrec(first));
    subscriber.expect_pubrel(first);
    subscriber.send(pubrec(second));
    subscriber.expect_pubrel(second);
    subscriber.expect_nothing();
    subscriber.send(pubcomp(second));
    subscriber.receive(message(&topic, "2").qos(2));
    subscriber.expect_publish(message(&topic, "3").qos(2));
    subscriber.expect_nothing();
}

/// `[MQTT-3.3.4-9]` A PUBREC that refuses makes room at once, and so does a PUBACK that refuses.
#[test]
fn a_refusal_makes_room() {
    for (level, kind) in [(1, Kind::Puback), (2, Kind::Pubrec)] {
        let (mut subscriber, topic) = behind_a_window(1, level, 3);
        for number in 0..3 {
            let id = subscriber.expect_publish(message(&topic, format!("{number}")).qos(level));
            subscriber.expect_nothing();
            subscriber.send(ack(kind, id, Reason::UNSPECIFIED_ERROR));
        }
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.3.4-10]` `[MQTT-4.9.0-3]` Everything but PUBLISH goes on while the window is full.
#[test]
fn other_packets_do_not_wait_for_room() {
    let (mut subscriber, topic) = behind_a_window(1, 1, 2);
    let id = subscriber.expect_publish(message(&topic, "0").qos(1));
    subscriber.expect_nothing();
    subscriber.subscribe(&unique("t"), 0);
    subscriber.unsubscribe("something");
    subscriber.publish(message(&unique("t"), "x").qos(1));
    subscriber.publish(message(&unique("t"), "x").qos(2));
    subscriber.send(puback(id));
    subscriber.receive(message(&topic, "1").qos(1));
}

/// `[MQTT-4.9.0-2]` Only acknowledgements of the messages in the window make room: those for nothing do not.
#[test]
fn acknowledgements_for_nothing_make_no_room() {
    let (mut subscriber, topic) = behind_a_window(1, 1, 2);
    let id = subscriber.expect_publish(message(&topic, "0").qos(1));
    let other = if id == 1000 { 1001 } else { 1000 };
    subscriber.send(puback(other));
    subscriber.send(pubcomp(other));
    subscriber.expect_nothing();
    subscriber.send(puback(id));
    subscriber.receive(message(&topic, "1").qos(1));
    subscriber.expect_nothing();
}

/// `[MQTT-4.9.0-1]` A redelivery counts: a client that comes back with a smaller window gets no more than that.
#[test]
fn redelivery_respects_the_new_window() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut first = client(V5).id(&id).durable().receive_maximum(5).connect();
    first.subscribe(&topic, 1);
    let mut publisher = client(V5).connect();
    for number in 0..6 {
        publisher.publish(message(&topic, format!("{number}")).qos(1));
    }
    for number in 0..5 {
        first.expect_publish(message(&topic, format!("{number}")).qos(1));
    }
    first.cut();
    let mut second = client(V5).id(&id).durable().receive_maximum(2).connect();
    let mut unanswered = std::collections::VecDeque::new();
    for number in 0..6 {
        if number >= 2 {
            second.expect_nothing();
            second.send(puback(unanswered.pop_front().expect("two are unanswered")));
        }
        let expected = message(&topic, format!("{number}")).qos(1);
        unanswered.push_back(second.expect_publish(if number < 5 { expected.dup() } else { expected }));
    }
    second.expect_nothing();
}

/// Section 3.1.2.11.3: 3.1.1 has no Receive Maximum, and gets everything.
#[test]
fn an_older_client_gets_what_there_is() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V3_1_1);
    subscriber.subscribe(&topic, 1);
    for number in 0..100 {
        publisher.publish(message(&topic, format!("{number}")).qos(1));
        subscriber.expect_publish(message(&topic, format!("{number}")).qos(1));
    }
}

/// Towards a broker that takes `maximum` messages at a time.
fn narrow(maximum: u16) -> Broker {
    Broker::with(|config| config.session.receive_maximum = maximum)
}

/// `[MQTT-3.3.4-7]` (section 3.2.2.3.3) The broker announces its Receive Maximum, and 0x93 is the answer to one message too many.
#[test]
fn a_client_must_keep_to_the_brokers_window() {
    let broker = narrow(3);
    let mut client = broker.client(V5).connect();
    assert_eq!(client.connack.as_ref().and_then(|connack| connack.properties.receive_maximum), Some(3));
    for id in 1..=3 {
        client.send(message("t", "x").qos(2).id(id));
        client.expect_pubrec(id);
    }
    client.send(message("t", "x").qos(2).id(4));
    client.expect_disconnect(Reason::RECEIVE_MAXIMUM_EXCEEDED);
}

/// Section 4.9: a message again with DUP is no further one, QoS 0 does not count, and PUBCOMP gives back what it took.
#[test]
fn what_does_not_use_the_brokers_window() {
    let broker = narrow(2);
    let mut client = broker.client(V5).connect();
    for round in 0..3 {
        for id in 1..=2 {
            client.send(message("t", "x").qos(2).id(id));
            client.expect_pubrec(id);
        }
        client.send(message("t", "x").qos(2).id(1).dup());
        client.expect_pubrec(1);
        client.publish(message("t", format!("{round}")));
        for id in 1..=2 {
            client.send(pubrel(id));
            client.expect_pubcomp(id);
        }
    }
    client.expect_nothing();
}

/// Section 4.9: QoS 1 messages are answered before the next are read, however many come in one write.
#[test]
fn acknowledged_messages_leave_the_brokers_window() {
    let broker = narrow(2);
    let mut client = broker.client(V5).connect();
    for id in 1..=100 {
        client.send(message("t", "x").qos(1).id(id));
        client.expect_puback(id);
    }
    client.expect_nothing();
}

/// 3.1.1 knows no Receive Maximum: its clients are never closed for it.
#[test]
fn an_older_client_cannot_exceed_the_window() {
    let broker = narrow(2);
    let mut client = broker.client(V3_1_1).connect();
    for id in 1..=50 {
        client.send(message("t", "x").qos(2).id(id));
    }
    for id in 1..=50 {
        client.expect_pubrec(id);
    }
    client.expect_nothing();
}
