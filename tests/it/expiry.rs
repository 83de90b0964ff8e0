//! Message Expiry (5.0 section 3.3.2.3.3) and Session Expiry (section 3.1.2.11.2). Time passes on the broker ([`pass`]).

use mqttd_tests::*;

/// `[MQTT-3.3.2-6]` Delivered at once, the interval is what was sent, or a second less.
#[test]
fn the_interval_is_forwarded() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, 0);
    for seconds in [10, 100_000, u32::MAX] {
        publisher.publish(message(&topic, "x").expiry(seconds));
        subscriber.expect_publish(message(&topic, "x").expiry(seconds));
    }
}

/// `[MQTT-3.3.2-6]` `[MQTT-3.3.2-5]` What waits for an absent subscriber grows older, and too old it is never sent.
#[test]
fn messages_grow_old_while_they_wait() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut subscriber = client(V5).id(&id).durable().connect();
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = client(V5).connect();
    publisher.publish(message(&topic, "short").qos(1).expiry(1));
    publisher.publish(message(&topic, "long").qos(1).expiry(60));
    publisher.publish(message(&topic, "for ever").qos(1));
    pass(Broker::shared(), 2);
    let mut subscriber = client(V5).id(&id).durable().connect();
    let came = subscriber.next_publish();
    let left = came.properties.and_then(|properties| properties.message_expiry_s).expect("it has an interval");
    assert_eq!(came.payload, "long");
    assert!((50..=58).contains(&left), "{left} of 60 seconds are left after 2");
    subscriber.receive(message(&topic, "for ever").qos(1));
    subscriber.expect_nothing();
}

/// `[MQTT-3.3.2-5]` for subscribers of 3.1.1 as well.
#[test]
fn messages_expire_for_every_version() {
    let dialogue = |version| {
        let (topic, id) = (unique("t"), unique("c"));
        let mut subscriber = client(version).id(&id).durable().connect();
        subscriber.subscribe(&topic, 1);
        subscriber.disconnect();
        client(V5).connect().publish(message(&topic, "short").qos(1).expiry(1));
        pass(Broker::shared(), 2);
        client(version).id(&id).durable().connect().expect_nothing();
    };
    together([V3_1, V3_1_1].map(|version| Box::new(move || dialogue(version)) as Box<dyn FnOnce() + Send>).into());
}

/// `[MQTT-3.3.2-5]` A retained message expires as well; 3.3.2.3.3.
#[test]
fn retained_messages_expire() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    publisher.publish(message(&format!("{topic}/short"), "x").retain().expiry(1));
    publisher.publish(message(&format!("{topic}/long"), "x").retain().expiry(60));
    pass(Broker::shared(), 2);
    subscriber.subscribe(&format!("{topic}/#"), 0);
    let left = subscriber.next_publish().properties.and_then(|properties| properties.message_expiry_s).expect("it has an interval");
    assert!((50..=58).contains(&left), "{left} of 60 seconds are left after 2");
    subscriber.expect_nothing();
}

/// `[MQTT-3.3.2-5]` Waiting for room in the Receive Maximum is waiting, too.
#[test]
fn messages_expire_behind_a_full_window() {
    let topic = unique("t");
    let mut subscriber = client(V5).receive_maximum(1).connect();
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(V5).connect();
    publisher.publish(message(&topic, "first").qos(1));
    publisher.publish(message(&topic, "short").qos(1).expiry(1));
    publisher.publish(message(&topic, "last").qos(1));
    let id = subscriber.expect_publish(message(&topic, "first").qos(1));
    pass(Broker::shared(), 2);
    subscriber.send(puback(id));
    subscriber.receive(message(&topic, "last").qos(1));
    subscriber.expect_nothing();
}

/// `[MQTT-4.3.3-7]` `[MQTT-4.3.3-13]` A message that was sent once does not expire; its exchange goes on to the end.
#[test]
fn what_was_sent_does_not_expire() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut subscriber = client(V5).id(&id).durable().connect();
    subscriber.subscribe(&topic, 2);
    client(V5).connect().publish(message(&topic, "x").qos(2).expiry(1));
    let packet_id = subscriber.expect_publish(message(&topic, "x").qos(2).expiry(1));
    subscriber.cut();
    pass(Broker::shared(), 2);
    let mut subscriber = client(V5).id(&id).durable().connect();
    let came = subscriber.next_publish();
    assert!(came.dup && came.packet_id.is_some_and(|id| id.get() == packet_id), "{came:?}");
    subscriber.send(pubrec(packet_id));
    subscriber.expect_pubrel(packet_id);
    subscriber.send(pubcomp(packet_id));
    subscriber.expect_nothing();
}

/// `[MQTT-4.1.0-2]` `[MQTT-3.1.2-23]` A Session is kept for its interval and no longer: its delayed Will says when it ends.
#[test]
fn a_session_ends_after_its_interval() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut watcher = client(V5).connect();
    watcher.subscribe(&topic, 0);
    let mut first = client(V5).id(&id).expiry(1).will_after(1000, message(&topic, "ended")).connect();
    first.subscribe("kept/while/the/session/lasts", 1);
    first.cut();
    watcher.expect_publish(message(&topic, "ended"));
    assert!(!client(V5).id(&id).resume().connect().session_present());
}

/// Section 3.1.2.11.2: absent is zero.
#[test]
fn without_an_interval_a_session_ends_with_its_connection() {
    for connecting in [client(V5).resume(), client(V5).resume().expiry(0)] {
        connecting.connect().cut();
        assert!(!connecting.connect().session_present());
        connecting.connect().disconnect();
        assert!(!connecting.connect().session_present());
    }
}

/// Section 3.1.2.11.2: it counts from the end of the connection, and that of the latest CONNECT holds.
#[test]
fn the_latest_interval_holds() {
    let id = unique("c");
    client(V5).id(&id).expiry(1).connect().disconnect();
    client(V5).id(&id).resume().expiry(100).connect().disconnect();
    pass(Broker::shared(), 2);
    assert!(client(V5).id(&id).resume().connect().session_present());
}

/// `[v3:MQTT-3.1.2-6]` `[v3:MQTT-3.1.2-5]` `[v3:MQTT-4.1.0-1]` What 3.1.1 keeps, and how it deletes it.
#[test]
fn clean_session_decides_in_3_1_1() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut first = client(V3_1_1).id(&id).durable().connect();
    first.subscribe(&topic, 1);
    first.disconnect();
    client(V3_1_1).connect().publish(message(&topic, "kept").qos(1));
    let mut second = client(V3_1_1).id(&id).durable().connect();
    second.receive(message(&topic, "kept").qos(1));
    second.disconnect();
    client(V3_1_1).id(&id).connect().disconnect();
    assert!(!client(V3_1_1).id(&id).durable().connect().session_present());
}
