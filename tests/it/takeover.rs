//! One Client Identifier, several connections (5.0 section 3.1.4).

use mqttd_tests::*;

/// `[MQTT-3.1.4-3]` `[v3:MQTT-3.1.4-2]`
#[test]
fn the_latest_connection_has_the_client_identifier() {
    for version in VERSIONS {
        for durable in [false, true] {
            let connecting = if durable { client(version).durable() } else { client(version) };
            let mut first = connecting.connect();
            let mut second = connecting.connect();
            first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
            assert_eq!(second.session_present(), durable && version != V3_1);
            second.expect_nothing();
        }
    }
}

/// `[MQTT-3.1.4-3]` whatever versions the two are of.
#[test]
fn versions_take_over_from_each_other() {
    for from in VERSIONS {
        for to in VERSIONS {
            let id = unique("c");
            let mut first = client(from).id(&id).durable().connect();
            client(to).id(&id).durable().connect().expect_nothing();
            first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
        }
    }
}

/// `[MQTT-3.1.2-8]` `[v3:MQTT-3.1.2-8]` The Will of the connection that had to go is published.
#[test]
fn a_takeover_publishes_the_will() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut first = client(version).id(&id).durable().will(message(&topic, "first")).connect();
        let second = client(version).id(&id).durable().will(message(&topic, "second")).connect();
        first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
        watcher.expect_publish(message(&topic, "first"));
        watcher.expect_nothing();
        second.disconnect();
        watcher.expect_nothing();
    }
}

/// `[MQTT-3.1.3-9]` A Will with a delay is not published when the Session goes on.
#[test]
fn a_takeover_in_time_cancels_a_delayed_will() {
    let (topic, id) = (unique("t"), unique("c"));
    let (mut other, mut watcher) = pair(V5);
    watcher.subscribe(&topic, 0);
    let mut first = client(V5).id(&id).durable().will_after(1, message(&topic, "first")).connect();
    let _second = client(V5).id(&id).durable().connect();
    first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
    pass(Broker::shared(), 2);
    watcher.expect_nothing_from(&mut other);
}

/// `[MQTT-3.1.2-8]` With Clean Start the old Session ends, so its Will does not wait.
#[test]
fn a_takeover_with_clean_start_publishes_a_delayed_will() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut watcher = client(V5).connect();
    watcher.subscribe(&topic, 0);
    let mut first = client(V5).id(&id).durable().will_after(1000, message(&topic, "first")).connect();
    let _second = client(V5).id(&id).connect();
    first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
    watcher.expect_publish(message(&topic, "first"));
}

/// `[MQTT-4.4.0-1]` What the first connection has not acknowledged comes to the second.
#[test]
fn a_takeover_takes_over_what_is_in_flight() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut publisher = client(version).connect();
        let mut first = client(version).id(&id).durable().connect();
        first.subscribe(&topic, 2);
        publisher.publish(message(&topic, "one").qos(1));
        publisher.publish(message(&topic, "two").qos(2));
        let one = first.expect_publish(message(&topic, "one").qos(1));
        let two = first.expect_publish(message(&topic, "two").qos(2));
        let mut second = client(version).id(&id).durable().connect();
        second.receive(message(&topic, "one").qos(1).dup().id(one));
        second.receive(message(&topic, "two").qos(2).dup().id(two));
        publisher.publish(message(&topic, "three").qos(1));
        second.receive(message(&topic, "three").qos(1));
        second.expect_nothing();
        first.expect_disconnect(Reason::SESSION_TAKEN_OVER);
    }
}

/// `[MQTT-3.1.4-3]` A storm: of many connections at once the last one stays, all others are told, and nothing is left behind.
#[test]
fn a_takeover_storm_ends_with_one_connection() {
    let (topic, id) = (unique("t"), unique("c"));
    let connecting = client(V5).id(&id).durable();
    let storm = || (0..25).map(|_| connecting.send()).collect::<Vec<_>>();
    let mut clients: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(storm)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a storm")).collect()
    });
    for client in &mut clients {
        assert_eq!(client.expect_connack().reason, Reason::SUCCESS);
    }
    let mut last = connecting.connect();
    last.subscribe(&topic, 1);
    for mut client in clients {
        client.expect_disconnect(Reason::SESSION_TAKEN_OVER);
    }
    client(V5).connect().publish(message(&topic, "x").qos(1));
    last.receive(message(&topic, "x").qos(1));
    last.expect_nothing();
}

/// Messages that come during take-overs are not lost: a subscriber that reconnects again and again gets every one.
#[test]
fn nothing_is_lost_in_takeovers() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut publisher = client(V5).connect();
    let mut subscriber = client(V5).id(&id).durable().connect();
    subscriber.subscribe(&topic, 1);
    let mut expected = 0;
    for round in 0..20u16 {
        for number in 0..10 {
            publisher.send(message(&topic, format!("{}", round * 10 + number)).qos(1).id(round * 10 + number + 1));
        }
        subscriber = client(V5).id(&id).durable().connect();
        while expected < (round + 1) * 10 {
            let came = subscriber.next_publish();
            assert_eq!(came.payload, format!("{expected}"));
            subscriber.send(puback(came.packet_id.expect("QoS 1").get()));
            expected += 1;
        }
        subscriber.fence();
    }
}
