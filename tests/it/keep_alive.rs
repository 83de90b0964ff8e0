//! Keep Alive (5.0 section 3.1.2.10), and connections that never become one.

use std::time::{Duration, Instant};

use mqttd_tests::*;

/// `[MQTT-3.1.2-22]` `[v3:MQTT-3.1.2-24]` `[MQTT-3.2.2-22]` One and a half times, and not sooner.
#[test]
fn silence_ends_the_connection_after_one_and_a_half_intervals() {
    let dialogue = |version| {
        let before = Instant::now();
        let mut client = client(version).keep_alive(1).connect();
        client.expect_disconnect(Reason::KEEP_ALIVE_TIMEOUT);
        let silence = before.elapsed();
        assert!(silence >= Duration::from_millis(1400), "closed after {silence:?}");
    };
    together(VERSIONS.map(|version| Box::new(move || dialogue(version)) as Box<dyn FnOnce() + Send>).into());
}

/// `[MQTT-3.1.2-22]` `[v3:MQTT-3.1.2-24]` `[v3:MQTT-3.1.2-8]` It is a loss of the network: the Will is published.
#[test]
fn silence_publishes_the_will() {
    let dialogue = |version| {
        let topic = unique("t");
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut silent = client(version).keep_alive(1).will(message(&topic, "silent")).connect();
        silent.expect_disconnect(Reason::KEEP_ALIVE_TIMEOUT);
        watcher.expect_publish(message(&topic, "silent"));
    };
    together(VERSIONS.map(|version| Box::new(move || dialogue(version)) as Box<dyn FnOnce() + Send>).into());
}

/// `[MQTT-3.1.2-22]` Every Control Packet is a sign of life, not PINGREQ alone; what the broker sends is none.
#[test]
fn any_packet_is_a_sign_of_life() {
    let topic = unique("t");
    let mut client = client(V5).keep_alive(2).connect();
    let before = Instant::now();
    client.subscribe(&topic, 0);
    for _ in 0..2 {
        pass(Broker::shared(), 2);
        client.send(message(&topic, "alive"));
        client.expect_publish(message(&topic, "alive"));
    }
    assert!(before.elapsed() > Duration::from_secs(3), "longer than one and a half intervals");
}

/// Section 3.1.2.10: a half packet is no packet, so it does not keep the connection.
#[test]
fn half_a_packet_is_no_sign_of_life() {
    let mut client = client(V5).keep_alive(1).connect();
    client.send_hex("30 7f 0001");
    client.expect_disconnect(Reason::KEEP_ALIVE_TIMEOUT);
}

/// Section 3.1.2.10: zero turns the mechanism off.
#[test]
fn without_keep_alive_silence_is_allowed() {
    let mut silent = client(V5).connect();
    pass(Broker::shared(), 2);
    silent.expect_nothing();
}
