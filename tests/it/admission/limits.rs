//! How many and how fast: connections, messages, bytes, subscriptions. What is counted returns to zero.

use std::io::Write;
use std::time::{Duration, Instant};

use mqttd::config::keys::OverRate;
use mqttd::config::{ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd_tests::bridge::runtime;
use mqttd_tests::client::Came;
use mqttd_tests::cluster::until;
use mqttd_tests::way::Way;
use mqttd_tests::*;

/// v5 0x9F, v3 0x03 (`max_connections_per_ip`); a place that is left can be taken again, a thousand times over.
#[test]
fn connections_of_one_address_are_bounded_and_the_count_never_drifts() {
    let broker = Broker::with(|config| config.limits.connections_per_address_max = 2);
    let one = broker.client(V5).connect();
    let mut two = broker.client(V3_1_1).connect();
    for version in VERSIONS {
        broker.client(version).refused(if version == V5 { Reason::CONNECTION_RATE_EXCEEDED } else { Reason::SERVER_UNAVAILABLE });
    }
    // What never says CONNECT counts too; over QUIC a stream begins with its first byte.
    two.send_hex("e0 00");
    two.expect_closed();
    let count = || broker.auth().addresses().first().map_or(0, |(_, count)| *count);
    until("its place is free", || count() == 1);
    let mut silent = broker.open(V5);
    silent.send_hex("10");
    until("it is counted", || count() == 2);
    broker.client(V5).refused(Reason::CONNECTION_RATE_EXCEEDED);
    drop((one, silent));
    broker.auth().until_empty();
    for round in 0..1000 {
        match round % 4 {
            0 => drop(broker.client(V5).try_connect(Duration::from_secs(5))), // those before it may not be gone yet
            1 => drop(broker.open(V5)),
            2 => drop(broker.client(V5).with(|connect| connect.client_id = "\u{1}".into()).send()),
            _ => broker.open(V5).send_hex("ff ff ff ff ff"),
        }
    }
    broker.auth().until_empty();
    let (_one, _two) = broker.pair(V5);
    // Of a flood not everybody is told; when it is over the next one is.
    let is_told = |came| matches!(came, Came::Packet(Packet::Connack(connack)) if connack.reason == Reason::CONNECTION_RATE_EXCEEDED);
    until("one is told", || is_told(broker.client(V5).send().next_event()));
    assert!(broker.auth().count(|metrics| &metrics.connections_refused_address) >= 5);
}

/// From the first byte on, whatever comes before CONNECT: TLS, WebSocket, QUIC.
#[test]
fn who_has_not_said_connect_counts_for_its_address() {
    for transport in [Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket, Transport::Quic] {
        let broker = Broker::over(&[transport], |config| config.limits.connections_per_address_max = 2);
        let address = broker.address();
        let silent = |_| -> Box<dyn std::any::Any> {
            match transport {
                Transport::Quic => Box::new(runtime().block_on(Way::new(Transport::Quic).quic(address)).expect("a handshake")),
                _ => {
                    let mut socket = std::net::TcpStream::connect(address).expect("it listens");
                    let beginning: &[u8] = if transport == Transport::WebSocket { b"GET /mqtt" } else { b"\x16\x03\x01" };
                    socket.write_all(beginning).expect("sent");
                    Box::new(socket)
                }
            }
        };
        let silent: Vec<_> = (0..2).map(silent).collect();
        until("they are counted", || broker.auth().addresses().first().is_some_and(|(_, count)| *count == 2));
        broker.client(V5).refused(Reason::CONNECTION_RATE_EXCEEDED);
        assert_eq!(broker.auth().count(|metrics| &metrics.connections_refused_address), 1);
        drop(silent);
        broker.auth().until_empty();
        broker.client(V5).connect().disconnect();
    }
}

/// Who says nothing, or was refused and stays, has no place of a listener.
#[test]
fn places_of_a_listener_are_those_of_its_clients() {
    let broker = Broker::over(&[], |config| {
        let narrow = ListenUrl::tcp("127.0.0.1", 0);
        config.listener.0.push(Listener { connections_max: 2, ..Listener::new(narrow) });
    });
    let _silent: Vec<_> = (0..10).map(|_| broker.open(V5)).collect();
    let (one, _two) = broker.pair(V5);
    let mut refused: Vec<_> = (0..10).map(|_| broker.client(V5).send()).collect();
    assert!(refused.iter_mut().all(|client| client.expect_connack().reason == Reason::SERVER_BUSY));
    one.disconnect();
    until("its place is free", || broker.client(V5).try_connect(Duration::from_secs(5)).is_some());
}

/// v5 0x89, v3 0x03 (`max_connections`).
#[test]
fn connections_of_all_are_bounded() {
    let broker = Broker::with(|config| config.limits.connections_max = 2);
    let (one, _two) = broker.pair(V5);
    for version in VERSIONS {
        broker.client(version).refused(if version == V5 { Reason::SERVER_BUSY } else { Reason::SERVER_UNAVAILABLE });
    }
    one.cut();
    until("its place is free again", || broker.client(V5).try_connect(Duration::from_secs(5)).is_some());
}

#[test]
fn who_comes_too_fast_is_told_so() {
    let broker = Broker::with(|config| config.limits.connections_per_second_per_address_max = 5);
    let begun = Instant::now();
    let reasons: Vec<_> = (0..12).map(|_| broker.client(V5).send().expect_connack().reason).collect();
    let most = 5 + (begun.elapsed().as_secs_f64() * 5.0).ceil() as usize;
    let accepted = reasons.iter().filter(|reason| **reason == Reason::SUCCESS).count();
    assert!((5..=most).contains(&accepted), "{reasons:?}");
    assert!(reasons.iter().all(|reason| [Reason::SUCCESS, Reason::CONNECTION_RATE_EXCEEDED].contains(reason)), "{reasons:?}");
    assert_eq!(broker.auth().count(|metrics| &metrics.connections_refused_rate) as usize, 12 - accepted);
}

/// 0x9F, 3.1.1: 0x03; of one listener, whatever others take. Who is refused counts too, and what never says CONNECT.
#[test]
fn who_comes_too_fast_to_a_listener_is_told_so() {
    let broker = Broker::over(&[], |config| {
        config.limits.connections_per_second_max = 4;
        let own = |rate| Listener { connections_per_second_max: rate, ..Listener::new(ListenUrl::tcp("127.0.0.1", 0)) };
        config.listener.0.extend([own(None), own(Some(0))]);
        config.listener.0.push(Listener::new(ListenUrl::new(Scheme::Quic, "127.0.0.1", 0)));
    });
    for transport in [Transport::Tcp, Transport::Quic] {
        let address = broker.address_of(transport);
        let begun = Instant::now();
        let reasons: Vec<_> =
            (0..12).map(|number| broker.client(VERSIONS[number % 2]).to(address).send().expect_connack().reason).collect();
        let most = 4 + (begun.elapsed().as_secs_f64() * 4.0).ceil() as usize;
        let accepted = reasons.iter().filter(|reason| **reason == Reason::SUCCESS).count();
        assert!((4..=most).contains(&accepted), "{reasons:?}");
        let refused = [Reason::SUCCESS, Reason::CONNECTION_RATE_EXCEEDED, Reason::SERVER_UNAVAILABLE];
        assert!(reasons.iter().all(|reason| refused.contains(reason)), "{reasons:?}");
    }
    let before = broker.auth().count(|metrics| &metrics.connections_refused_rate);
    assert!(before > 0);
    let unbounded = broker.addresses()[1];
    (0..50).for_each(|_| broker.client(V5).to(unbounded).connect().disconnect());
    assert_eq!(broker.auth().count(|metrics| &metrics.connections_refused_rate), before);
}

/// Nothing is lost, out of order, or broken: the publisher is read no further for a while. Its Keep Alive does not run out meanwhile.
#[test]
fn messages_over_the_rate_are_delayed() {
    let broker = Broker::with(|config| config.limits.messages_per_second_max = 20);
    for (version, level) in [(V5, 0), (V3_1_1, 1), (V5, 2)] {
        let topic = unique("t");
        let mut reader = broker.client(version).connect();
        reader.subscribe(&topic, level);
        let mut publisher = broker.client(version).keep_alive(1).connect();
        let begun = Instant::now();
        for number in 0..50u16 {
            let message = message(&topic, number.to_string()).qos(level);
            let message = if level > 0 { message.id(number + 1) } else { message };
            publisher.send(message);
        }
        publisher.send(Packet::Pingreq);
        for number in 0..50u16 {
            reader.receive(message(&topic, number.to_string()).qos(level));
        }
        assert!(begun.elapsed() >= Duration::from_millis(1400), "{:?}", begun.elapsed());
    }
    assert!(broker.auth().count(|metrics| &metrics.rate_delays) > 0);
    assert_eq!(broker.auth().count(|metrics| &metrics.messages_over_rate), 0);
}

/// QoS 0 is dropped; QoS 1 and 2 get 0x97. One message in an hour would do for this: no more than the first is taken.
#[test]
fn messages_over_the_rate_are_dropped_where_it_is_configured() {
    let broker = Broker::with(|config| {
        config.limits.messages_per_second_max = 1;
        config.limits.over_rate = OverRate::Drop;
    });
    let topic = unique("t");
    let mut reader = broker.client(V5).connect();
    reader.subscribe(&topic, 2);
    let mut publisher = broker.client(V5).connect();
    // In one write, so that the clock hardly moves between them.
    let burst: Vec<u8> = (0..20)
        .flat_map(|_| [0x30, 4 + topic.len() as u8, 0, topic.len() as u8].into_iter().chain(topic.bytes()).chain([0, b'x']))
        .collect();
    publisher.send_bytes(&burst);
    publisher.send(message(&topic, "y").qos(1).id(1));
    publisher.expect_ack(Kind::Puback, 1, Reason::QUOTA_EXCEEDED);
    publisher.send(message(&topic, "y").qos(2).id(2));
    publisher.expect_ack(Kind::Pubrec, 2, Reason::QUOTA_EXCEEDED);
    reader.receive(message(&topic, "x"));
    assert!(broker.auth().count(|metrics| &metrics.messages_over_rate) >= 20);
    // The stream is whole, and whoever waits is heard again.
    publisher.send(Packet::Pingreq);
    publisher.expect_pingresp();
}

#[test]
fn bytes_over_the_rate_are_delayed() {
    let broker = Broker::with(|config| config.limits.bytes_per_second_max = 20_000);
    let topic = unique("t");
    let mut reader = broker.client(V5).connect();
    reader.subscribe(&topic, 0);
    let mut publisher = broker.client(V5).connect();
    let begun = Instant::now();
    for _ in 0..6 {
        publisher.publish(message(&topic, vec![b'x'; 10_000]));
    }
    for _ in 0..6 {
        reader.receive(message(&topic, vec![b'x'; 10_000]));
    }
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// A packet is paid for when it has come: none is larger than what may come in ten seconds, and who closes meanwhile is seen to.
#[test]
fn a_large_packet_is_paid_for_within_ten_seconds() {
    let broker = Broker::with(|config| config.limits.bytes_per_second_max = 1000);
    let mut client = broker.client(V5).connect();
    assert_eq!(client.connack.as_ref().and_then(|connack| connack.properties.maximum_packet_size), Some(10_000));
    client.send(message("t", vec![b'x'; 10_000]));
    client.expect_disconnect(Reason::PACKET_TOO_LARGE);
    let topic = unique("t");
    let mut watcher = broker.client(V5).connect();
    watcher.subscribe(&topic, 0);
    // It has to wait for nine seconds; its will comes sooner, for it is seen to be gone.
    let mut publisher = broker.client(V5).will(message(&topic, "gone")).connect();
    publisher.send(message("t", vec![b'x'; 9_900]));
    publisher.cut();
    watcher.receive(message(&topic, "gone"));
}

/// Before anything is known of a Client it is given less memory.
#[test]
fn the_first_packet_has_a_bound_of_its_own() {
    let broker = Broker::with(|config| config.limits.connect_bytes_max = 1000);
    for version in VERSIONS {
        broker.client(version).user("ann", &"x".repeat(2000)).send().expect_closed();
        let mut client = broker.client(version).user("ann", &"x".repeat(200)).connect();
        let topic = unique("t");
        client.subscribe(&topic, 0);
        client.publish(message(&topic, vec![b'x'; 100_000]));
        client.receive(message(&topic, vec![b'x'; 100_000]));
    }
}

/// SUBACK 0x97, 3.1.1: 0x80; filters count, not packets (`max_subscriptions_per_minute`).
#[test]
fn subscriptions_over_the_rate_are_refused() {
    let broker = Broker::with(|config| config.limits.subscriptions_per_minute_max = 3);
    for (version, refused) in [(V5, Reason::QUOTA_EXCEEDED), (V3_1_1, Reason::UNSPECIFIED_ERROR)] {
        let mut client = broker.client(version).connect();
        client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a", 0), ("b", 0), ("c", 0), ("d", 0)]))));
        client.expect_suback(1, &[Reason(0), Reason(0), Reason(0), refused]);
        client.send(Packet::Subscribe(Box::new(subscribe(2, &[("a", 0)]))));
        client.expect_suback(2, &[refused]);
        client.publish(message("c", "x"));
        client.receive(message("c", "x"));
    }
    assert_eq!(broker.auth().count(|metrics| &metrics.subscriptions_over_rate), 4);
}

#[test]
fn topics_are_bounded_in_length_and_levels() {
    let broker = Broker::with(|config| {
        config.limits.topic_bytes_max = 10;
        config.limits.topic_levels_max = 3;
    });
    let mut client = broker.client(V5).connect();
    for (topic, reason) in
        [("a/b/c", Reason::NO_MATCHING_SUBSCRIBERS), ("a/b/c/d", Reason::TOPIC_NAME_INVALID), ("elevenbytes", Reason::TOPIC_NAME_INVALID)]
    {
        let id = client.unused_packet_id();
        client.send(message(topic, "x").qos(1).id(id));
        client.expect_ack(Kind::Puback, id, reason);
    }
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a/b/#", 0), ("a/b/c/#", 0), ("elevenbytes", 0)]))));
    client.expect_suback(1, &[Reason(0), Reason::TOPIC_FILTER_INVALID, Reason::TOPIC_FILTER_INVALID]);
}
