//! The largest and the strangest of what the standards allow.

use mqttd_tests::*;

/// `[MQTT-1.5.4-3]` `[v3:MQTT-1.5.3-3]` U+FEFF at the front is a character, not a mark to strip.
#[test]
fn a_zero_width_no_break_space_stays() {
    for version in VERSIONS {
        let topic = unique("\u{FEFF}t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        subscriber.subscribe(topic.trim_start_matches('\u{FEFF}'), 0);
        publisher.publish(message(&topic, "x"));
        subscriber.expect_publish(message(&topic, "x"));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-1.5.4-3]` in a Client Identifier: with and without it are two clients.
#[test]
fn a_client_identifier_keeps_its_first_character() {
    let id = unique("c");
    let mut plain = client(V5).id(&id).connect();
    let mut marked = client(V5).id(&format!("\u{FEFF}{id}")).connect();
    plain.expect_nothing();
    marked.expect_nothing();
}

/// `[MQTT-4.7.3-3]` `[v3:MQTT-4.7.3-3]` A Topic Name and a Topic Filter of 65,535 bytes.
#[test]
fn the_longest_topic() {
    for version in VERSIONS {
        let start = unique("t");
        let topic = format!("{start}/{}", "x".repeat(65_535 - start.len() - 1));
        let (mut publisher, mut subscriber) = pair(version);
        for filter in [topic.as_str(), &format!("{start}/+")] {
            subscriber.subscribe(filter, 1);
            publisher.publish(message(&topic, "x").qos(1));
            subscriber.receive(message(&topic, "x").qos(1));
        }
    }
}

/// Section 1.5.4: a Client Identifier, a user name and a password of 65,535 bytes. (3.1 allowed 23.)
#[test]
fn the_longest_client_identifier() {
    for version in [V3_1_1, V5] {
        let start = unique("c");
        let id = format!("{start}{}", "x".repeat(65_535 - start.len()));
        let long = "u".repeat(65_535);
        client(version).id(&id).durable().user(&long, &long).connect().disconnect();
        assert!(client(version).id(&id).durable().connect().session_present());
        client(version).id(&id).connect().expect_nothing();
    }
}

/// Section 4.7.1: a thousand levels, for each kind of filter.
#[test]
fn a_thousand_levels() {
    for version in VERSIONS {
        let root = unique("t");
        let topic = format!("{root}{}", "/x".repeat(1000));
        for filter in [topic.clone(), format!("{root}{}", "/+".repeat(1000)), format!("{root}{}/#", "/+".repeat(500)), format!("{root}/#")]
        {
            let (mut publisher, mut subscriber) = pair(version);
            subscriber.subscribe(&filter, 0);
            publisher.publish(message(&topic, "x"));
            subscriber.expect_publish(message(&topic, "x"));
            subscriber.expect_nothing();
        }
    }
}

/// Section 4.7.1: nothing but separators; nothing but wildcards.
#[test]
fn nothing_but_empty_levels() {
    let broker = Broker::start();
    for version in VERSIONS {
        for topic in ["/", "//", "///////"] {
            let filter = topic.split('/').map(|_| "+").collect::<Vec<_>>().join("/");
            for filter in [topic, &filter, "#"] {
                let (mut publisher, mut subscriber) = broker.pair(version);
                subscriber.subscribe(filter, 0);
                publisher.publish(message(topic, "x"));
                subscriber.expect_publish(message(topic, "x"));
                subscriber.expect_nothing();
            }
        }
    }
}

/// `[MQTT-3.8.4-5]` `[MQTT-3.8.4-6]` Ten thousand filters in one SUBSCRIBE, and in one UNSUBSCRIBE.
#[test]
fn ten_thousand_filters_in_one_packet() {
    for version in [V3_1_1, V5] {
        let root = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        let filters: Vec<_> = (0..10_000).map(|number| format!("{root}/{number}{}", if number % 2 == 0 { "" } else { "/+" })).collect();
        let asked: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1u8)).collect();
        subscriber.send(Packet::Subscribe(Box::new(subscribe(9, &asked))));
        subscriber.expect_suback(9, &[Reason::GRANTED_QOS_1; 10_000]);
        for topic in ["/0", "/4321/x", "/9999/y"] {
            publisher.publish(message(&format!("{root}{topic}"), "x").qos(1));
            subscriber.receive(message(&format!("{root}{topic}"), "x").qos(1));
        }
        let asked: Vec<_> = filters.iter().map(String::as_str).collect();
        subscriber.send(unsubscribe(9, &asked));
        subscriber.expect_unsuback(9, &[Reason::SUCCESS; 10_000]);
        publisher.publish(message(&format!("{root}/0"), "x"));
        subscriber.expect_nothing();
    }
}

/// Two hundred and fifty clients at once: all subscribe, all publish, all get everything.
#[test]
fn many_clients_at_once() {
    let topic = unique("t");
    let mut clients: Vec<_> = (0..250).map(|number| client(VERSIONS[number % 3]).connect()).collect();
    for client in &mut clients {
        client.subscribe(&topic, 1);
    }
    for number in [0, 100, 249] {
        clients[number].publish(message(&topic, format!("{number}")).qos(1));
    }
    for client in &mut clients {
        for number in [0, 100, 249] {
            client.receive(message(&topic, format!("{number}")).qos(1));
        }
        client.expect_nothing();
    }
}

/// Sockets that come all at once and leave without a word.
#[test]
fn a_storm_of_connections() {
    let sockets: Vec<_> = (0..300).map(|_| client(V5).send()).collect();
    for mut socket in sockets {
        assert_eq!(socket.expect_connack().reason, Reason::SUCCESS);
        socket.cut();
    }
    client(V5).connect().expect_nothing();
}

/// `[MQTT-2.2.1-3]` Every Packet Identifier from 1 to 65,535, in one connection.
#[test]
fn every_packet_identifier() {
    let topic = unique("t");
    let mut publisher = client(V3_1_1).connect();
    for start in (1..=65_535u32).step_by(1000) {
        let block = start..(start + 1000).min(65_536);
        for id in block.clone() {
            publisher.send(message(&topic, "x").qos(1).id(id as u16));
        }
        for id in block {
            publisher.expect_puback(id as u16);
        }
    }
    publisher.expect_nothing();
}

/// More messages to one subscriber than there are Packet Identifiers.
#[test]
fn packet_identifiers_are_used_again() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, 1);
    for block in 0..140u32 {
        for number in 0..500u16 {
            publisher.send(message(&topic, (block * 500 + u32::from(number)).to_string()).qos(1).id(number + 1));
        }
        for number in 0..500u16 {
            publisher.expect_puback(number + 1);
            subscriber.receive(message(&topic, (block * 500 + u32::from(number)).to_string()).qos(1));
        }
    }
    subscriber.expect_nothing();
}

/// The largest values of every number in CONNECT.
#[test]
fn the_largest_numbers_in_connect() {
    let topic = unique("t");
    let (most, keep_alive) = (u16::MAX, u16::MAX);
    let mut client = client(V5)
        .expiry(u32::MAX)
        .keep_alive(keep_alive)
        .receive_maximum(most)
        .topic_alias_maximum(most)
        .maximum_packet_size(u32::MAX)
        .will_after(u32::MAX, message(&topic, "never").expiry(u32::MAX))
        .connect();
    client.subscribe(&topic, 2);
    client.publish(message(&topic, "x").qos(2));
    let came = client.next_publish();
    assert_eq!(came.payload, "x");
}

/// Every size around the borders of the Remaining Length: one byte, two, three, four.
#[test]
fn sizes_around_the_borders_of_the_remaining_length() {
    let topic = "t".repeat(3) + &unique("");
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        let overhead = 2 + topic.len() + usize::from(version == V5);
        for border in [128usize, 16_384] {
            for size in border - 2..=border + 1 {
                let payload = vec![b'x'; size - overhead];
                publisher.publish(message(&topic, &payload));
                subscriber.expect_publish(message(&topic, &payload));
            }
        }
    }
}

/// Packets that come cut at every place, and many in one piece.
#[test]
fn packets_may_be_cut_anywhere() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe(&topic, 0);
    let mut bytes = bytes::BytesMut::new();
    for number in 0..10 {
        Packet::from(message(&topic, format!("{number}")).user("name", "value")).encode(V5, &mut bytes);
    }
    for piece in [1, 2, 3, 7, 64, bytes.len()] {
        for part in bytes.chunks(piece) {
            publisher.send_bytes(part);
        }
        for number in 0..10 {
            subscriber.expect_publish(message(&topic, format!("{number}")).user("name", "value"));
        }
    }
}
