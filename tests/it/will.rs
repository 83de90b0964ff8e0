//! The Will Message (5.0 section 3.1.2.5).

use mqttd_tests::*;

/// `[MQTT-3.1.2-7]` `[MQTT-3.1.2-8]` `[v3:MQTT-3.1.2-8]` `[MQTT-3.1.2-14]` `[v3:MQTT-3.1.2-16]`
#[test]
fn a_lost_connection_publishes_the_will() {
    for version in VERSIONS {
        for level in 0..=2u8 {
            let topic = unique("t");
            let mut watcher = client(version).connect();
            watcher.subscribe(&topic, 2);
            client(version).will(message(&topic, "lost").qos(level)).connect().cut();
            watcher.receive(message(&topic, "lost").qos(level));
            let mut late = client(version).connect();
            late.subscribe(&topic, 0);
            late.expect_nothing();
            watcher.expect_nothing();
        }
    }
}

/// `[MQTT-3.1.2-15]` `[v3:MQTT-3.1.2-17]`
#[test]
fn a_will_may_be_retained() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        client(version).will(message(&topic, "lost").retain()).connect().cut();
        watcher.expect_publish(message(&topic, "lost"));
        let mut late = client(version).connect();
        late.subscribe(&topic, 0);
        late.expect_publish(message(&topic, "lost").retain());
    }
}

/// `[v3:MQTT-3.1.2-12]` Without a Will nothing is published.
#[test]
fn without_a_will_a_lost_connection_is_silent() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut other, mut watcher) = pair(version);
        watcher.subscribe(&topic, 0);
        client(version).connect().cut();
        watcher.expect_nothing_from(&mut other);
    }
}

/// `[v3:MQTT-3.1.2-8]` `[MQTT-3.1.2-8]` A protocol error of the client is no normal end.
#[test]
fn a_protocol_error_publishes_the_will() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut faulty = client(version).will(message(&topic, "faulty")).connect();
        faulty.send_hex("36 05 0001 'a' 0001");
        faulty.expect_disconnect(Reason::MALFORMED_PACKET);
        watcher.expect_publish(message(&topic, "faulty"));
    }
}

/// The end of the stream on the client's side is a loss, too.
#[test]
fn the_end_of_the_stream_publishes_the_will() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut ending = client(version).will(message(&topic, "ended")).connect();
        ending.end_of_stream();
        ending.expect_closed();
        watcher.expect_publish(message(&topic, "ended"));
    }
}

/// `[MQTT-3.1.2-10]` Once it is published it is gone: the next loss of the same client has no Will unless it set one.
#[test]
fn a_will_is_published_once() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let (mut other, mut watcher) = pair(version);
        watcher.subscribe(&topic, 0);
        client(version).id(&id).durable().will(message(&topic, "first")).connect().cut();
        watcher.expect_publish(message(&topic, "first"));
        client(version).id(&id).durable().connect().cut();
        watcher.expect_nothing_from(&mut other);
    }
}

/// `[MQTT-3.1.3-10]` (section 3.1.3.2) A Will carries the properties of a message.
#[test]
fn a_will_has_properties() {
    let topic = unique("t");
    let mut watcher = client(V5).connect();
    watcher.subscribe(&topic, 0);
    let will = message(&topic, "lost").user("z", "1").user("a", "2").user("z", "0").with(|properties| {
        properties.payload_is_utf8 = Some(true);
        properties.content_type = Some("text/plain".into());
        properties.response_topic = Some("answer/here".into());
        properties.correlation_data = Some(b"\0\xFF".to_vec().into());
        properties.message_expiry_s = Some(100);
    });
    client(V5).will(will.clone()).connect().cut();
    watcher.expect_publish(will);
}

/// `[MQTT-3.1.2-8]` A Will may be empty, and with RETAIN it deletes.
#[test]
fn an_empty_will_deletes_a_retained_message() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut watcher = client(version).connect();
        watcher.publish(message(&topic, "online").qos(1).retain());
        watcher.subscribe(&topic, 0);
        watcher.expect_publish(message(&topic, "online").retain());
        client(version).will(message(&topic, "").retain()).connect().cut();
        watcher.expect_publish(message(&topic, ""));
        let mut late = client(version).connect();
        late.subscribe(&topic, 0);
        late.expect_nothing();
    }
}

/// `[MQTT-3.1.2-8]` Will Delay Interval: not at once, but after it.
#[test]
fn a_will_waits_for_its_delay() {
    let topic = unique("t");
    let (mut other, mut watcher) = pair(V5);
    watcher.subscribe(&topic, 0);
    let before = std::time::Instant::now();
    client(V5).expiry(100).will_after(1, message(&topic, "late")).connect().cut();
    watcher.expect_nothing_from(&mut other);
    watcher.expect_publish(message(&topic, "late"));
    assert!(before.elapsed().as_millis() >= 950, "came after {:?}", before.elapsed());
}

/// `[MQTT-3.1.3-9]` A client that comes back in time has no Will published.
#[test]
fn coming_back_in_time_cancels_the_will() {
    let (topic, id) = (unique("t"), unique("c"));
    let (mut other, mut watcher) = pair(V5);
    watcher.subscribe(&topic, 0);
    client(V5).id(&id).expiry(100).will_after(1, message(&topic, "late")).connect().cut();
    let _back = client(V5).id(&id).resume().expiry(100).connect();
    pass(Broker::shared(), 2);
    watcher.expect_nothing_from(&mut other);
}

/// `[MQTT-3.1.2-8]` The end of the Session comes first when it is sooner than the delay.
#[test]
fn a_session_that_ends_publishes_its_delayed_will() {
    let topic = unique("t");
    let mut watcher = client(V5).connect();
    watcher.subscribe(&topic, 0);
    client(V5).expiry(1).will_after(1000, message(&topic, "ended")).connect().cut();
    watcher.expect_publish(message(&topic, "ended"));
}

/// `[MQTT-3.1.2-8]` A Session that ends with its connection leaves no room for a delay.
#[test]
fn a_delay_needs_a_session() {
    let topic = unique("t");
    let mut watcher = client(V5).connect();
    watcher.subscribe(&topic, 0);
    client(V5).will_after(1000, message(&topic, "now")).connect().cut();
    watcher.expect_publish(message(&topic, "now"));
}

/// `[MQTT-3.1.2-8]` `[MQTT-3.1.2-4]` Clean Start ends the old Session, and with it the delay.
#[test]
fn clean_start_publishes_the_delayed_will_of_the_old_session() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut watcher = client(V5).connect();
    watcher.subscribe(&topic, 0);
    client(V5).id(&id).expiry(100).will_after(1000, message(&topic, "old")).connect().cut();
    let _new = client(V5).id(&id).connect();
    watcher.expect_publish(message(&topic, "old"));
}

/// `[MQTT-3.1.2-8]` DISCONNECT 0x04 keeps the Will, and its delay.
#[test]
fn disconnect_with_will_keeps_the_delay() {
    let topic = unique("t");
    let (mut other, mut watcher) = pair(V5);
    watcher.subscribe(&topic, 0);
    let mut leaving = client(V5).expiry(100).will_after(1, message(&topic, "late")).connect();
    leaving.send_hex("e0 01 04");
    leaving.expect_closed();
    watcher.expect_nothing_from(&mut other);
    watcher.expect_publish(message(&topic, "late"));
}

/// `[MQTT-3.1.2-12]` A Will of a client that subscribes to its topic waits in its own Session.
#[test]
fn a_client_may_receive_its_own_will() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut first = client(version).id(&id).durable().will(message(&topic, "mine").qos(1)).connect();
        first.subscribe(&topic, 1);
        first.cut();
        watcher.expect_publish(message(&topic, "mine"));
        let mut second = client(version).id(&id).durable().connect();
        second.receive(message(&topic, "mine").qos(1));
    }
}

/// Sections 3.1.3.3 and 4.7.3: a Will Topic is a Topic Name.
#[test]
fn a_will_topic_must_be_a_topic_name() {
    for topic in ["a/+", "#", ""] {
        let refusal = client(V5).will(message(topic, "x")).send().expect_connack();
        assert!([Reason::TOPIC_NAME_INVALID, Reason::MALFORMED_PACKET, Reason::PROTOCOL_ERROR].contains(&refusal.reason), "{refusal:?}");
        client(V3_1_1).will(message(topic, "x")).send().expect_closed();
    }
}
