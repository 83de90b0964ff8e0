//! One client's fault is no other's: the slow, the silent, the half gone, the noisy (FEATURES 10).

use std::time::{Duration, Instant};

use mqttd_tests::*;

/// A socket that says nothing is closed, and so is one that says half a CONNECT.
#[test]
fn a_connection_without_connect_is_closed() {
    let broker = Broker::with(|config| config.limits.connect_timeout_s = 1);
    let (mut silent, mut half) = (broker.open(V5), broker.open(V5));
    half.send_hex("10 0e 0004 'MQ");
    let before = Instant::now();
    silent.expect_closed();
    half.expect_closed();
    let waited = before.elapsed();
    assert!(waited >= Duration::from_millis(800), "closed after {waited:?}");
}

/// One byte at a time is not fast enough either: the time counts to the whole CONNECT.
#[test]
fn a_connect_that_trickles_is_closed() {
    let broker = Broker::with(|config| config.limits.connect_timeout_s = 1);
    let mut trickle = broker.open(V5);
    let before = Instant::now();
    trickle.send_hex("10 ff 7f 0004 'MQTT' 05 02 0000 00 3ff2");
    while before.elapsed() < Duration::from_secs(2) {
        trickle.send_hex("61");
        pass(&broker, 0);
    }
    trickle.expect_closed();
}

/// A client that reads nothing does not hold up those who do.
#[test]
fn a_slow_reader_holds_up_nobody() {
    let topic = unique("t");
    let broker = Broker::start();
    let (mut publisher, mut reader) = broker.pair(V5);
    let mut slow = broker.client(V5).connect();
    slow.subscribe(&topic, 0);
    reader.subscribe(&topic, 0);
    let payload = vec![7; 600_000];
    for _ in 0..50 {
        publisher.send(message(&topic, &payload));
        reader.expect_publish(message(&topic, &payload));
    }
    publisher.fence();
    let mut other = broker.client(V5).connect();
    other.publish(message(&unique("t"), "x").qos(2));
}

/// What a slow reader gets in the end is in order, and what it asked for at QoS 1 is all there.
#[test]
fn a_slow_reader_gets_its_acknowledged_messages() {
    let topic = unique("t");
    let broker = Broker::start();
    let (mut publisher, mut slow) = broker.pair(V5);
    slow.subscribe(&topic, 1);
    let payload = |number: u16| {
        let mut payload = vec![7; 20_000];
        payload[..2].copy_from_slice(&number.to_be_bytes());
        payload
    };
    for number in 1..=300 {
        publisher.publish(message(&topic, payload(number)).qos(1));
    }
    for number in 1..=300 {
        slow.receive(message(&topic, payload(number)).qos(1));
    }
    slow.expect_nothing();
}

/// A client that takes nothing for the write timeout is closed; its Session stays.
#[test]
fn a_reader_that_takes_nothing_is_closed() {
    let (topic, id) = (unique("t"), unique("c"));
    let broker = Broker::with(|config| config.limits.write_timeout_s = 1);
    let mut watcher = broker.client(V5).connect();
    watcher.subscribe("gone", 0);
    let mut stuck = broker.client(V5).id(&id).durable().will(message("gone", "stuck")).connect();
    stuck.subscribe(&topic, 0);
    let mut publisher = broker.client(V5).connect();
    let payload = vec![7; 500_000];
    for _ in 0..40 {
        publisher.send(message(&topic, &payload));
    }
    watcher.expect_publish(message("gone", "stuck"));
    assert!(broker.client(V5).id(&id).durable().connect().session_present());
}

/// A half-open connection: the client has ended its side, and takes what is still due.
#[test]
fn what_is_due_comes_before_the_end() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut client = client(version).connect();
        client.send(message(&topic, "x").qos(1).id(1));
        client.end_of_stream();
        client.expect_puback(1);
        client.expect_closed();
    }
}

/// Faults of every kind around a client that does everything right.
#[test]
fn faults_around_a_client_do_not_reach_it() {
    let topic = unique("t");
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 1);
        for bytes in ["ff ff ff ff ff", "00 00", "36 00", "82 02 0001", "30 02 ffff", "10 00", "e0 05 00"] {
            let mut faulty = client(version).connect();
            faulty.subscribe(&topic, 1);
            faulty.send_hex(bytes);
            let mut bare = open(version);
            bare.send_hex(bytes);
            faulty.cut();
            publisher.publish(message(&topic, bytes).qos(1));
            subscriber.receive(message(&topic, bytes).qos(1));
        }
        subscriber.expect_nothing();
    }
}

/// A subscriber that leaves in the middle of its messages: the others miss nothing.
#[test]
fn a_subscriber_may_leave_at_any_time() {
    let topic = unique("t");
    let (mut publisher, mut staying) = pair(V5);
    staying.subscribe(&topic, 1);
    let mut leaving: Vec<_> = (0..20).map(|_| client(V5).connect()).collect();
    for client in &mut leaving {
        client.subscribe(&topic, 1);
    }
    for number in 0..20 {
        publisher.publish(message(&topic, format!("{number}")).qos(1));
        leaving.pop().expect("one is left").cut();
        staying.receive(message(&topic, format!("{number}")).qos(1));
    }
}

/// When a node ends, 5.0 clients are told; then all connections end.
#[test]
fn a_node_that_ends_says_so() {
    let mut broker = Broker::start();
    let mut clients = VERSIONS.map(|version| broker.client(version).connect());
    let ended = broker.stop();
    for client in &mut clients {
        client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
    }
    drop(clients);
    ended.join().expect("the node ends");
}

/// Nodes in one process share nothing.
#[test]
fn two_nodes_share_nothing() {
    let (topic, id) = (unique("t"), unique("c"));
    let (one, two) = (Broker::start(), Broker::start());
    let mut first = one.client(V5).id(&id).durable().connect();
    let mut second = two.client(V5).id(&id).durable().connect();
    first.subscribe(&topic, 0);
    second.publish(message(&topic, "x").qos(1).retain());
    first.expect_nothing();
    second.expect_nothing();
}
