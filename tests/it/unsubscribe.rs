//! UNSUBSCRIBE and UNSUBACK (5.0 sections 3.10 and 3.11).

use mqttd_tests::*;

const NONE: Reason = Reason::NO_SUBSCRIPTION_EXISTED;

/// `[MQTT-3.10.4-4]` `[MQTT-3.10.4-5]` `[MQTT-3.11.3-2]` `[MQTT-2.2.1-6]` `[v3:MQTT-3.10.4-4]` `[v3:MQTT-3.10.4-5]` `[v3:MQTT-2.3.1-7]`
#[test]
fn unsubscribe_is_answered_whether_it_found_something_or_not() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut client = client(version).connect();
        client.subscribe(&topic, 1);
        client.send(unsubscribe(0xFFFF, &[&topic]));
        client.expect_unsuback(0xFFFF, &[Reason::SUCCESS]);
        client.send(unsubscribe(1, &[&topic]));
        client.expect_unsuback(1, &[NONE]);
        client.expect_nothing();
    }
}

/// `[MQTT-3.10.4-2]` `[v3:MQTT-3.10.4-2]`
#[test]
fn after_unsuback_no_new_message_comes() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 1);
        publisher.publish(message(&topic, "before").qos(1));
        subscriber.receive(message(&topic, "before").qos(1));
        subscriber.unsubscribe(&topic);
        publisher.publish(message(&topic, "after").qos(1));
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// `[MQTT-3.10.4-6]` `[MQTT-3.11.3-1]` `[v3:MQTT-3.10.4-6]`
#[test]
fn several_filters_have_one_answer_in_order() {
    for version in VERSIONS {
        let root = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| format!("{root}/{name}"));
        for topic in [&a, &b, &c] {
            subscriber.subscribe(topic, 0);
        }
        subscriber.send(unsubscribe(9, &[&a, &d, &c, &a]));
        subscriber.expect_unsuback(9, &[Reason::SUCCESS, NONE, Reason::SUCCESS, NONE]);
        for topic in [&a, &b, &c] {
            publisher.publish(message(topic, "x"));
        }
        subscriber.expect_publish(message(&b, "x"));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.10.4-1]` `[v3:MQTT-3.10.4-1]` Filters are compared as text: a wildcard unsubscribes itself, not what it matches.
#[test]
fn filters_are_compared_character_by_character() {
    for version in VERSIONS {
        let root = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        let topic = format!("{root}/a");
        subscriber.subscribe(&topic, 0);
        for other in ["#", "+", "A", "a/", "/a", "a/#"] {
            subscriber.send(unsubscribe(1, &[&format!("{root}/{other}")]));
            subscriber.expect_unsuback(1, &[NONE]);
        }
        publisher.publish(message(&topic, "x"));
        subscriber.expect_publish(message(&topic, "x"));
        let wild = format!("{root}/#");
        subscriber.subscribe(&wild, 0);
        subscriber.unsubscribe(&topic);
        publisher.publish(message(&topic, "y"));
        subscriber.expect_publish(message(&topic, "y"));
        subscriber.unsubscribe(&wild);
        publisher.publish(message(&topic, "z"));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.10.4-3]` `[v3:MQTT-3.10.4-3]` What is on its way is brought to its end.
#[test]
fn deliveries_that_have_begun_are_completed() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut publisher = client(version).connect();
        let mut subscriber = client(version).id(&id).durable().connect();
        subscriber.subscribe(&topic, 2);
        publisher.publish(message(&topic, "one").qos(1));
        publisher.publish(message(&topic, "two").qos(2));
        let one = subscriber.expect_publish(message(&topic, "one").qos(1));
        let two = subscriber.expect_publish(message(&topic, "two").qos(2));
        subscriber.unsubscribe(&topic);
        subscriber.send(pubrec(two));
        subscriber.expect_pubrel(two);
        subscriber.cut();
        let mut subscriber = client(version).id(&id).durable().connect();
        subscriber.wait_for("PUBREL", |packet| *packet == pubrel(two));
        subscriber.expect_publish(message(&topic, "one").qos(1).dup().id(one));
        subscriber.send(puback(one));
        subscriber.send(pubcomp(two));
        subscriber.expect_nothing();
    }
}

/// Section 3.10.4: it ends for the whole Session.
#[test]
fn unsubscribing_is_kept_with_the_session() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut first = client(version).id(&id).durable().connect();
        first.subscribe(&topic, 1);
        first.unsubscribe(&topic);
        first.disconnect();
        client(version).connect().publish(message(&topic, "x").qos(1));
        client(version).id(&id).durable().connect().expect_nothing();
    }
}

/// Section 4.8.2: a Shared Subscription is another subscription than that of its filter.
#[test]
fn shared_and_plain_subscriptions_are_two() {
    let topic = unique("t");
    let shared = format!("$share/group/{topic}");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, 0);
    subscriber.subscribe(&shared, 0);
    subscriber.unsubscribe(&topic);
    publisher.publish(message(&topic, "shared"));
    subscriber.expect_publish(message(&topic, "shared"));
    subscriber.unsubscribe(&shared);
    publisher.publish(message(&topic, "none"));
    subscriber.expect_nothing();
}
