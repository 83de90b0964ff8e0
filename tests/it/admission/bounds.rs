//! How much may wait for one Client, and how much it may ask for: each bound has a name, and what is beyond it is counted or refused.

use mqttd_tests::*;

/// New messages are dropped at the bound, by number or by bytes; those before them come.
#[test]
fn a_queue_is_bounded_in_messages_and_in_bytes() {
    for (messages_max, bytes_max) in [(3, usize::MAX), (1000, 3 * 1500)] {
        let broker = Broker::with(|config| {
            config.session.queue_messages_max = messages_max;
            config.session.queue_bytes_max = bytes_max.min(1 << 30);
        });
        for version in VERSIONS {
            let (id, topic) = (unique("c"), unique("t"));
            let mut away = broker.client(version).id(&id).durable().connect();
            away.subscribe(&topic, 1);
            away.disconnect();
            let before = broker.auth().count(|metrics| &metrics.messages_dropped_queue_full);
            let mut publisher = broker.client(version).connect();
            for number in 0..6u8 {
                publisher.publish(message(&topic, vec![number; 1000]).qos(1));
            }
            let dropped = broker.auth().count(|metrics| &metrics.messages_dropped_queue_full) - before;
            let mut back = broker.client(version).id(&id).durable().connect();
            for number in 0..6 - dropped as u8 {
                back.receive(message(&topic, vec![number; 1000]).qos(1));
            }
            back.expect_nothing();
            assert!((1..6).contains(&dropped), "{dropped} of 6 were dropped");
            assert!(messages_max > 3 || dropped == 3, "{dropped} of 6 were dropped");
        }
    }
}

/// A Client that acknowledges nothing has so many; its own Receive Maximum can only make it fewer.
#[test]
fn what_is_in_flight_is_bounded() {
    let broker = Broker::with(|config| config.session.inflight_max = 2);
    for (receive_maximum, expected) in [(100, 2), (1, 1)] {
        let topic = unique("t");
        let mut reader = broker.client(V5).receive_maximum(receive_maximum).connect();
        reader.subscribe(&topic, 1);
        let mut publisher = broker.client(V5).connect();
        for number in 0..5u8 {
            publisher.publish(message(&topic, [number]).qos(1));
        }
        let ids: Vec<u16> = (0..expected).map(|number| reader.expect_publish(message(&topic, [number]).qos(1))).collect();
        reader.expect_nothing();
        reader.send(puback(ids[0]));
        reader.expect_publish(message(&topic, [expected]).qos(1));
        reader.expect_nothing();
    }
}

/// SUBACK 0x97, 3.1.1: 0x80. The same filter again is no new one.
#[test]
fn subscriptions_of_a_client_are_bounded() {
    let broker = Broker::with(|config| config.limits.subscriptions_per_client_max = 2);
    for (version, refused) in [(V5, Reason::QUOTA_EXCEEDED), (V3_1_1, Reason::UNSPECIFIED_ERROR)] {
        let mut client = broker.client(version).connect();
        client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a", 0), ("b", 0), ("c", 0)]))));
        client.expect_suback(1, &[Reason(0), Reason(0), refused]);
        client.subscribe("a", 0);
        client.unsubscribe("a");
        client.send(Packet::Subscribe(Box::new(subscribe(2, &[("b", 0), ("d", 0)]))));
        client.expect_suback(2, &[Reason(0), Reason(0)]);
        client.unsubscribe("d");
        client.subscribe("c", 0);
        client.publish(message("c", "x"));
        client.receive(message("c", "x"));
    }
}
