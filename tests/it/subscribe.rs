//! SUBSCRIBE and SUBACK (5.0 sections 3.8 and 3.9).

use mqttd::packet::subscribe::SubscriptionOptions;
use mqttd_tests::build::Asked;
use mqttd_tests::*;

const GRANTED: [Reason; 3] = [Reason::SUCCESS, Reason::GRANTED_QOS_1, Reason::GRANTED_QOS_2];

fn packet(id: u16, filters: &[(&str, u8)]) -> Packet {
    Packet::Subscribe(Box::new(subscribe(id, filters)))
}

/// `[MQTT-3.8.4-1]` `[MQTT-3.8.4-2]` `[MQTT-2.2.1-6]` `[MQTT-3.8.4-7]` `[MQTT-3.9.3-2]` `[v3:MQTT-3.8.4-1]` `[v3:MQTT-3.8.4-2]` `[v3:MQTT-2.3.1-7]`
/// `[v3:MQTT-3.9.3-2]`
#[test]
fn subscribe_is_answered_with_suback() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        for (level, id) in [(0u8, 1), (1, 0xFFFF), (2, 0x0100)] {
            client.send(packet(id, &[(&unique("t"), level)]));
            client.expect_suback(id, &[GRANTED[usize::from(level)]]);
        }
        client.expect_nothing();
    }
}

/// `[MQTT-3.8.4-5]` `[MQTT-3.8.4-6]` `[MQTT-3.9.3-1]` `[v3:MQTT-3.8.4-4]` `[v3:MQTT-3.8.4-5]` `[v3:MQTT-3.9.3-1]` `[MQTT-4.7.1-1]` `[MQTT-4.7.1-2]`
/// `[v3:MQTT-4.7.1-2]` `[v3:MQTT-4.7.1-3]` One bad filter does not spoil its neighbours.
#[test]
fn every_filter_has_its_own_answer_in_order() {
    for version in VERSIONS {
        let root = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        let filters = [("/a", 2), ("/b/#/c", 0), ("/c", 0), ("/d+", 1), ("/e", 1), ("/f#", 0)];
        let filters: Vec<_> = filters.iter().map(|(filter, level)| (format!("{root}{filter}"), *level)).collect();
        let filters: Vec<_> = filters.iter().map(|(filter, level)| (filter.as_str(), *level)).collect();
        subscriber.send(packet(7, &filters));
        let bad = Reason::TOPIC_FILTER_INVALID;
        subscriber.expect_suback(7, &[GRANTED[2], bad, GRANTED[0], bad, GRANTED[1], bad]);
        for (topic, level) in [("/a", 2), ("/c", 0), ("/e", 1)] {
            publisher.publish(message(&format!("{root}{topic}"), "x").qos(2));
            subscriber.receive(message(&format!("{root}{topic}"), "x").qos(level));
        }
    }
}

/// `[MQTT-3.8.4-3]` `[MQTT-3.8.4-4]` `[v3:MQTT-3.8.4-3]` The same filter again replaces its QoS, and one copy is sent.
#[test]
fn the_same_filter_again_replaces_the_subscription() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        for level in [2u8, 0, 1] {
            subscriber.subscribe(&topic, level);
            publisher.publish(message(&topic, "x").qos(2));
            subscriber.receive(message(&topic, "x").qos(level));
            subscriber.expect_nothing();
        }
    }
}

/// `[MQTT-3.8.4-3]` All options are replaced, and the identifier, also by none.
#[test]
fn replacing_a_subscription_replaces_its_options() {
    let topic = unique("t");
    let mut client = client(V5).connect();
    client.subscribe_as(subscribe_with_id(1, 7, &topic, options(1).retain_as_published()), &[GRANTED[1]]);
    client.publish(message(&topic, "x").qos(1).retain());
    client.receive(message(&topic, "x").qos(1).retain().ids(&[7]));
    client.subscribe_as(
        subscribe_with_id(2, 9, &topic, options(0).retain_handling(mqttd::packet::subscribe::RetainHandling::DoNotSend)),
        &[GRANTED[0]],
    );
    client.publish(message(&topic, "y").qos(1).retain());
    client.receive(message(&topic, "y").ids(&[9]));
    client.subscribe(&topic, options(2).no_local().retain_handling(mqttd::packet::subscribe::RetainHandling::DoNotSend));
    client.publish(message(&topic, "z").qos(1));
    client.expect_nothing();
}

/// `[MQTT-3.8.3-3]`
#[test]
fn no_local_keeps_own_messages_away() {
    let topic = unique("t");
    let (mut other, mut client) = pair(V5);
    client.subscribe(&topic, options(1).no_local());
    client.publish(message(&topic, "mine").qos(1));
    client.expect_nothing();
    other.publish(message(&topic, "other").qos(1));
    client.receive(message(&topic, "other").qos(1));
}

/// `[MQTT-3.8.3-3]` It goes by the Client Identifier: also what the client published on an earlier connection stays away.
#[test]
fn no_local_goes_by_the_client_identifier() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut first = client(V5).id(&id).durable().connect();
    first.subscribe(&topic, options(1).no_local());
    first.publish(message(&topic, "mine").qos(1));
    first.cut();
    let mut second = client(V5).id(&id).durable().connect();
    second.publish(message(&topic, "mine again").qos(1));
    second.expect_nothing();
}

/// `[MQTT-3.3.4-2]` `[v3:MQTT-3.3.5-1]` One copy, with the highest QoS of all that match.
#[test]
fn overlapping_subscriptions_give_one_copy_at_the_highest_qos() {
    for version in VERSIONS {
        let root = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        for (filter, level) in [("/#", 0), ("/a/b", 1), ("/+/b", 2), ("/a/#", 0)] {
            subscriber.subscribe(&format!("{root}{filter}"), level);
        }
        publisher.publish(message(&format!("{root}/a/b"), "x").qos(2));
        subscriber.receive(message(&format!("{root}/a/b"), "x").qos(2));
        publisher.publish(message(&format!("{root}/a/c"), "x").qos(2));
        subscriber.receive(message(&format!("{root}/a/c"), "x"));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.8.3-3]` `[MQTT-3.3.4-2]` No Local takes one subscription out, not the others.
#[test]
fn no_local_beside_an_overlapping_subscription() {
    let root = unique("t");
    let mut client = client(V5).connect();
    client.subscribe(&format!("{root}/a"), options(2).no_local());
    client.subscribe(&format!("{root}/+"), 1);
    client.publish(message(&format!("{root}/a"), "x").qos(2));
    client.receive(message(&format!("{root}/a"), "x").qos(1));
    client.expect_nothing();
}

/// `[MQTT-3.3.4-3]` `[MQTT-3.3.4-4]` Every identifier that matched is named, and those that did not are not.
#[test]
fn subscription_identifiers_name_what_matched() {
    let root = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    for (id, number, filter) in [(1, 1, "/a"), (2, 268_435_455, "/+"), (3, 5, "/b"), (4, 128, "/#")] {
        subscriber.subscribe_as(subscribe_with_id(id, number, &format!("{root}{filter}"), 1), &[GRANTED[1]]);
    }
    subscriber.subscribe(&format!("{root}/+/#"), 0);
    publisher.publish(message(&format!("{root}/a"), "x").qos(1));
    subscriber.receive(message(&format!("{root}/a"), "x").qos(1).ids(&[1, 128, 268_435_455]));
    publisher.publish(message(&format!("{root}/c/d"), "x").qos(1));
    subscriber.receive(message(&format!("{root}/c/d"), "x").qos(1).ids(&[128]));
    subscriber.expect_nothing();
}

/// `[MQTT-3.3.4-3]` Retained messages carry the identifier of the subscription that called for them.
#[test]
fn retained_messages_carry_the_identifier() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    publisher.publish(message(&topic, "x").retain());
    subscriber.subscribe_as(subscribe_with_id(1, 42, &topic, 0), &[GRANTED[0]]);
    subscriber.expect_publish(message(&topic, "x").retain().ids(&[42]));
}

/// Section 3.8.2.1.2: identifiers are part of the Session.
#[test]
fn identifiers_are_kept_with_the_session() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut first = client(V5).id(&id).durable().connect();
    first.subscribe_as(subscribe_with_id(1, 42, &topic, 1), &[GRANTED[1]]);
    first.disconnect();
    let mut publisher = client(V5).connect();
    publisher.publish(message(&topic, "away").qos(1));
    let mut second = client(V5).id(&id).durable().connect();
    second.receive(message(&topic, "away").qos(1).ids(&[42]));
    publisher.publish(message(&topic, "back").qos(1));
    second.receive(message(&topic, "back").qos(1).ids(&[42]));
}

/// `[MQTT-3.8.4-5]` One identifier for all filters of its packet.
#[test]
fn an_identifier_is_for_all_filters_of_its_packet() {
    let root = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    let (a, b) = (format!("{root}/a"), format!("{root}/b"));
    let mut request = subscribe_with_id(1, 3, &a, 0);
    request.filters.push((b.as_str().into(), SubscriptionOptions::default()));
    subscriber.subscribe_as(request, &[GRANTED[0], GRANTED[0]]);
    for topic in [&a, &b] {
        publisher.publish(message(topic, "x"));
        subscriber.expect_publish(message(topic, "x").ids(&[3]));
    }
}

/// `[MQTT-4.7.3-1]` `[v3:MQTT-4.7.3-1]` An empty filter is no filter.
#[test]
fn an_empty_filter_is_refused() {
    for version in VERSIONS {
        let mut subscriber = client(version).connect();
        subscriber.send(packet(3, &[("", 0)]));
        match subscriber.next_event() {
            client::Came::Packet(Packet::Suback(suback)) => assert!(suback.reasons[0].is_error(), "{suback:?}"),
            client::Came::Packet(Packet::Disconnect(_)) => subscriber.expect_closed(),
            client::Came::Closed if version != V5 => {}
            other => subscriber.fail("a SUBACK that refuses, or the end", &other),
        }
    }
}

/// `[MQTT-3.8.4-4]` Nothing is lost while a subscription is replaced: a publisher goes on all the time.
#[test]
fn replacing_loses_nothing() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, 1);
    for number in 0..50u16 {
        publisher.send(message(&topic, format!("{number}")).qos(1).id(number + 1));
        subscriber.send(packet(number + 1, &[(&topic, 1)]));
    }
    let (mut subacks, mut messages) = (0, 0);
    while subacks < 50 || messages < 50 {
        match subscriber.next_event() {
            client::Came::Packet(Packet::Suback(_)) => subacks += 1,
            client::Came::Packet(Packet::Publish(came)) => {
                assert_eq!(came.payload, format!("{messages}"));
                messages += 1;
                subscriber.send(puback(came.packet_id.expect("QoS 1").get()));
            }
            other => subscriber.fail("SUBACK or PUBLISH", &other),
        }
    }
    subscriber.expect_nothing();
}

/// `[MQTT-3.8.3-5]` `[v3:MQTT-3.8.3-4]` as options of a filter: reserved bits, QoS 3, Retain Handling 3.
#[test]
fn options_are_checked_to_the_last_bit() {
    for (version, bad) in [(V5, &["03", "30", "40", "80", "c0"][..]), (V3_1_1, &["03", "04", "08", "10", "80"]), (V3_1, &["03"])] {
        for bits in bad {
            let mut client = client(version).connect();
            let properties = if version == V5 { "00" } else { "" };
            client.send_bytes(&hex::packet(0x82, &format!("0001 {properties} 0001 'a' {bits}")));
            client.expect_disconnect_of(&[Reason::MALFORMED_PACKET, Reason::PROTOCOL_ERROR]);
        }
    }
}

/// Section 3.8.3.1: what is asked for by options is what a value of options says.
#[test]
fn options_are_written_as_the_standard_says() {
    assert_eq!(
        options(2).no_local().asked(),
        SubscriptionOptions { qos: QoS::ExactlyOnce, no_local: true, ..SubscriptionOptions::default() }
    );
    let topic = unique("t");
    let mut client = client(V5).connect();
    client.send_bytes(&hex::packet(0x82, &format!("0001 00 {:04x} '{topic}' 2e", topic.len())));
    client.expect_suback(1, &[GRANTED[2]]);
    client.publish(message(&topic, "no local"));
    client.expect_nothing();
}
