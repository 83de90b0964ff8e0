//! RETAIN (5.0 section 3.3.1.3).

use mqttd::packet::subscribe::RetainHandling;
use mqttd_tests::*;

/// `[MQTT-3.3.1-5]` `[MQTT-3.3.1-9]` `[v3:MQTT-3.3.1-5]` `[v3:MQTT-3.3.1-6]` `[v3:MQTT-3.3.1-8]` `[v3:MQTT-3.3.1-7]`
#[test]
fn a_new_subscriber_gets_the_last_retained_message() {
    for version in VERSIONS {
        for level in 0..=2u8 {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            publisher.publish(message(&topic, "old").qos(2).retain());
            publisher.publish(message(&topic, "new").qos(level).retain());
            subscriber.subscribe(&topic, 2);
            subscriber.receive(message(&topic, "new").qos(level).retain());
            subscriber.expect_nothing();
        }
    }
}

/// `[MQTT-3.8.4-8]` The QoS of a retained message is bounded by the one granted.
#[test]
fn a_retained_message_has_at_most_the_granted_qos() {
    for version in VERSIONS {
        for granted in 0..=2u8 {
            let topic = unique("t");
            let (mut publisher, mut subscriber) = pair(version);
            publisher.publish(message(&topic, "x").qos(2).retain());
            subscriber.subscribe(&topic, granted);
            subscriber.receive(message(&topic, "x").qos(granted).retain());
        }
    }
}

/// `[MQTT-3.3.1-6]` `[MQTT-3.3.1-7]` `[v3:MQTT-3.3.1-10]` `[v3:MQTT-3.3.1-11]` It is delivered, and it is not kept.
#[test]
fn an_empty_retained_message_deletes() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        publisher.publish(message(&topic, "x").retain());
        subscriber.subscribe(&topic, 0);
        subscriber.expect_publish(message(&topic, "x").retain());
        publisher.publish(message(&topic, "").retain());
        subscriber.expect_publish(message(&topic, ""));
        let mut late = client(version).connect();
        late.subscribe(&topic, 0);
        late.expect_nothing();
    }
}

/// `[MQTT-3.3.1-8]` `[v3:MQTT-3.3.1-12]` also when the payload is empty.
#[test]
fn without_the_flag_nothing_is_kept_or_deleted() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        publisher.publish(message(&topic, "no").qos(1));
        subscriber.subscribe(&topic, 1);
        subscriber.expect_nothing();
        publisher.publish(message(&topic, "kept").qos(1).retain());
        subscriber.receive(message(&topic, "kept").qos(1));
        publisher.publish(message(&topic, "not kept").qos(1));
        subscriber.receive(message(&topic, "not kept").qos(1));
        publisher.publish(message(&topic, "").qos(1));
        subscriber.receive(message(&topic, "").qos(1));
        let mut late = client(version).connect();
        late.subscribe(&topic, 0);
        late.expect_publish(message(&topic, "kept").retain());
        late.expect_nothing();
    }
}

/// `[MQTT-3.3.1-12]` `[v3:MQTT-3.3.1-9]` An established subscription sees no flag.
#[test]
fn the_flag_is_cleared_for_established_subscriptions() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 1);
        publisher.publish(message(&topic, "x").qos(1).retain());
        subscriber.receive(message(&topic, "x").qos(1));
    }
}

/// `[MQTT-3.3.1-13]`
#[test]
fn retain_as_published_keeps_the_flag() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, options(0).retain_as_published());
    publisher.publish(message(&topic, "with").retain());
    publisher.publish(message(&topic, "without"));
    subscriber.expect_publish(message(&topic, "with").retain());
    subscriber.expect_publish(message(&topic, "without"));
    publisher.publish(message(&topic, "").retain());
    subscriber.expect_publish(message(&topic, "").retain());
}

/// `[MQTT-3.3.1-9]` A retained message that comes with a subscription has the flag, whatever Retain As Published says.
#[test]
fn retained_messages_of_a_subscription_have_the_flag() {
    for asked in [options(0), options(0).retain_as_published()] {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(V5);
        publisher.publish(message(&topic, "x").retain());
        subscriber.subscribe(&topic, asked);
        subscriber.expect_publish(message(&topic, "x").retain());
    }
}

/// `[MQTT-3.3.1-9]` `[MQTT-3.8.4-4]` `[v3:MQTT-3.8.4-3]` Subscribed again, sent again.
#[test]
fn retain_handling_0_sends_at_every_subscribe() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        publisher.publish(message(&topic, "x").retain());
        for _ in 0..3 {
            subscriber.subscribe(&topic, 0);
            subscriber.expect_publish(message(&topic, "x").retain());
            subscriber.expect_nothing();
        }
    }
}

/// `[MQTT-3.3.1-10]`
#[test]
fn retain_handling_1_sends_at_the_first_subscribe() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    publisher.publish(message(&topic, "x").retain());
    let asked = options(0).retain_handling(RetainHandling::SendIfNew);
    subscriber.subscribe(&topic, asked);
    subscriber.expect_publish(message(&topic, "x").retain());
    subscriber.subscribe(&topic, asked);
    subscriber.expect_nothing();
    subscriber.unsubscribe(&topic);
    subscriber.subscribe(&topic, asked);
    subscriber.expect_publish(message(&topic, "x").retain());
}

/// `[MQTT-3.3.1-10]` A subscription that the Session has kept did exist.
#[test]
fn retain_handling_1_remembers_across_connections() {
    let (topic, id) = (unique("t"), unique("c"));
    client(V5).connect().publish(message(&topic, "x").retain());
    let asked = options(0).retain_handling(RetainHandling::SendIfNew);
    let mut first = client(V5).id(&id).durable().connect();
    first.subscribe(&topic, asked);
    first.expect_publish(message(&topic, "x").retain());
    first.disconnect();
    let mut second = client(V5).id(&id).durable().connect();
    second.subscribe(&topic, asked);
    second.expect_nothing();
}

/// `[MQTT-3.3.1-11]`
#[test]
fn retain_handling_2_sends_nothing() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    publisher.publish(message(&topic, "x").retain());
    subscriber.subscribe(&topic, options(0).retain_handling(RetainHandling::DoNotSend));
    subscriber.expect_nothing();
    publisher.publish(message(&topic, "y").retain());
    subscriber.expect_publish(message(&topic, "y"));
}

/// `[MQTT-3.3.1-9]` `[v3:MQTT-3.3.1-6]` Wildcards find every retained message that matches, and no other.
#[test]
fn wildcards_find_retained_messages() {
    for version in VERSIONS {
        let root = unique("t");
        let (mut publisher, _) = pair(version);
        for topic in ["", "/a", "/a/b", "/a/b/c", "/x/b", "//b"] {
            publisher.publish(message(&format!("{root}{topic}"), format!("at {topic}")).retain());
        }
        for (filter, expected) in [
            ("/#", &["", "/a", "/a/b", "/a/b/c", "/x/b", "//b"][..]),
            ("/+", &["/a"]),
            ("/+/b", &["/a/b", "/x/b", "//b"]),
            ("/a/#", &["/a", "/a/b", "/a/b/c"]),
            ("/+/+/+", &["/a/b/c"]),
            ("/a", &["/a"]),
            ("/none/#", &[]),
        ] {
            let mut subscriber = client(version).connect();
            subscriber.subscribe(&format!("{root}{filter}"), 0);
            let mut came: Vec<_> = expected.iter().map(|_| subscriber.next_publish().payload).collect();
            came.sort();
            let mut expected: Vec<_> = expected.iter().map(|topic| format!("at {topic}")).collect();
            expected.sort();
            assert_eq!(came, expected, "{filter}");
            subscriber.expect_nothing();
        }
    }
}

/// `[v3:MQTT-3.1.2-7]` (4.1 of 5.0: retained messages are no part of a Session)
#[test]
fn retained_messages_outlive_the_session_of_their_publisher() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut publisher = client(version).connect();
        publisher.publish(message(&topic, "x").qos(1).retain());
        publisher.disconnect();
        let mut subscriber = client(version).connect();
        subscriber.subscribe(&topic, 0);
        subscriber.expect_publish(message(&topic, "x").retain());
    }
}

/// `[MQTT-3.3.2-18]` `[MQTT-3.3.2-4]` A retained message keeps its properties.
#[test]
fn a_retained_message_keeps_its_properties() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    let full = message(&topic, "x").retain().user("b", "1").user("a", "2").user("b", "3").with(|properties| {
        properties.payload_is_utf8 = Some(true);
        properties.content_type = Some("text/plain".into());
        properties.response_topic = Some("answer/here".into());
        properties.correlation_data = Some(b"\0\x01".to_vec().into());
    });
    publisher.publish(full.clone());
    subscriber.subscribe(&topic, 0);
    subscriber.expect_publish(full);
}

/// Section 3.3.1.3: what a client of one version retained, a client of another gets.
#[test]
fn retained_messages_cross_versions() {
    for from in VERSIONS {
        for to in VERSIONS {
            let topic = unique("t");
            client(from).connect().publish(message(&topic, "x").qos(1).retain());
            let mut subscriber = client(to).connect();
            subscriber.subscribe(&topic, 1);
            subscriber.receive(message(&topic, "x").qos(1).retain());
        }
    }
}

/// Retained messages come under flow control, all of them.
#[test]
fn many_retained_messages_wait_for_acknowledgements() {
    let root = unique("t");
    let mut publisher = client(V5).connect();
    for number in 0..300 {
        publisher.send(message(&format!("{root}/{number}"), "x").qos(1).id(number + 1).retain());
    }
    for number in 0..300 {
        publisher.expect_puback(number + 1);
    }
    let mut subscriber = client(V5).receive_maximum(7).connect();
    subscriber.subscribe(&format!("{root}/+"), 1);
    let mut topics: Vec<_> = (0..300)
        .map(|_| {
            let came = subscriber.next_publish();
            subscriber.send(puback(came.packet_id.expect("QoS 1").get()));
            came.topic
        })
        .collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 300);
    subscriber.expect_nothing();
}
