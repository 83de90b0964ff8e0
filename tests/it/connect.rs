//! CONNECT (5.0 section 3.1, 3.1.1 section 3.1).

use mqttd_tests::client::Came;
use mqttd_tests::*;

/// `[MQTT-3.1.4-5]` `[v3:MQTT-3.1.4-4]` `[MQTT-3.1.2-1]` `[MQTT-3.2.0-1]` `[v3:MQTT-3.2.0-1]` `[MQTT-3.12.4-1]` `[v3:MQTT-3.12.4-1]`
#[test]
fn every_version_is_accepted() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send(Packet::Pingreq);
        client.expect_pingresp();
        client.disconnect();
    }
}

/// `[v3:MQTT-3.1.2-2]` An old level is answered in the old layout.
#[test]
fn a_level_below_three_is_refused_with_return_code_1() {
    let mut client = open(V3_1_1);
    client.send_hex("10 0d 0004 'MQTT' 02 02 0000 0001 'a'");
    assert_eq!(client.next_bytes(), hex::bytes("20 02 00 01"));
    client.expect_closed();
}

/// `[MQTT-3.1.2-2]` A level that does not exist yet is answered in the newest layout.
#[test]
fn a_level_above_five_is_refused_with_0x84() {
    let mut client = open(V5);
    client.send_hex("10 0e 0004 'MQTT' 06 02 0000 00 0001 'a'");
    assert_eq!(client.next_bytes()[2..4], hex::bytes("00 84"));
    client.expect_closed();
}

/// `[MQTT-3.1.2-1]` `[v3:MQTT-3.1.2-1]` The broker may say what it is before it closes.
#[test]
fn another_protocol_name_ends_the_connection() {
    for (name, version) in [("'MQXX' 04", V3_1_1), ("'mqtt' 04", V3_1_1), ("'MQTt' 05", V5), ("'HTTP' 03", V3_1)] {
        let mut client = open(version);
        client.send_bytes(&hex::packet(0x10, &format!("0004 {name} 02 0000 00 0001 'a'")));
        match client.next_event() {
            Came::Closed => {}
            Came::Packet(Packet::Connack(connack)) if connack.reason.is_error() => client.expect_closed(),
            other => client.fail("a refusal or the end of the connection", &other),
        }
    }
}

/// `[MQTT-3.1.0-1]` `[v3:MQTT-3.1.0-1]` `[MQTT-3.14.0-1]` Nothing is sent before a CONNACK, not even DISCONNECT.
#[test]
fn the_first_packet_must_be_connect() {
    let packets = [
        "30 04 0001 'a' 00",
        "82 07 0001 00 0001 'a' 00",
        "c0 00",
        "e0 00",
        "40 02 0001",
        "62 02 0001",
        "f0 00",
        "20 03 00 00 00",
        "00 00",
    ];
    for bytes in packets {
        for version in [V3_1_1, V5] {
            let mut client = open(version);
            client.send_hex(bytes);
            client.expect_closed();
        }
    }
}

/// `[MQTT-3.1.0-2]` `[v3:MQTT-3.1.0-2]`
#[test]
fn a_second_connect_is_a_protocol_error() {
    for version in VERSIONS {
        let connecting = client(version);
        let mut client = connecting.connect();
        client.send(connecting.packet());
        client.expect_disconnect(Reason::PROTOCOL_ERROR);
    }
}

/// A refusal of malformed input: CONNACK 0x81 in 5.0, in 3.1.1 the end of the connection without a CONNACK `[v3:MQTT-3.2.2-6]`.
#[track_caller]
fn refuses(version: Version, content: &str) {
    let mut client = open(version);
    let name = if version == V3_1 { "0006 'MQIsdp'" } else { "0004 'MQTT'" };
    client.send_bytes(&hex::packet(0x10, &format!("{name} {content}")));
    if version == V5 {
        client.expect_refused(Reason::MALFORMED_PACKET);
    } else {
        client.expect_closed();
    }
}

/// `[MQTT-3.1.2-3]` `[v3:MQTT-3.1.2-3]` `[MQTT-3.1.4-1]` `[v3:MQTT-3.1.4-1]`
#[test]
fn the_reserved_connect_flag_must_be_zero() {
    refuses(V3_1_1, "04 03 0000 0001 'a'");
    refuses(V5, "05 03 0000 00 0001 'a'");
}

/// `[MQTT-3.1.2-11]` `[MQTT-3.1.2-13]` `[v3:MQTT-3.1.2-11]` `[v3:MQTT-3.1.2-13]` `[v3:MQTT-3.1.2-15]`
#[test]
fn without_the_will_flag_its_companions_must_be_zero() {
    for flags in ["0a", "12", "22"] {
        refuses(V3_1_1, &format!("04 {flags} 0000 0001 'a'"));
        refuses(V5, &format!("05 {flags} 0000 00 0001 'a'"));
    }
}

/// `[MQTT-3.1.2-12]` `[v3:MQTT-3.1.2-14]`
#[test]
fn a_will_qos_of_3_is_malformed() {
    refuses(V3_1_1, "04 1e 0000 0001 'a' 0001 't' 0001 'w'");
    refuses(V5, "05 1e 0000 00 0001 'a' 00 0001 't' 0001 'w'");
}

/// `[MQTT-3.1.2-9]` `[v3:MQTT-3.1.2-9]`
#[test]
fn the_will_flag_announces_topic_and_payload() {
    refuses(V3_1_1, "04 06 0000 0001 'a'");
    refuses(V3_1_1, "04 06 0000 0001 'a' 0001 't'");
    refuses(V5, "05 06 0000 00 0001 'a' 00");
    refuses(V5, "05 06 0000 00 0001 'a' 00 0001 't'");
}

/// `[MQTT-3.1.2-16]` `[MQTT-3.1.2-17]` `[MQTT-3.1.2-18]` `[MQTT-3.1.2-19]` `[v3:MQTT-3.1.2-18]` `[v3:MQTT-3.1.2-19]` `[v3:MQTT-3.1.2-20]`
/// `[v3:MQTT-3.1.2-21]` `[MQTT-3.1.3-1]` `[v3:MQTT-3.1.3-1]`
#[test]
fn the_payload_holds_what_the_flags_announce_and_no_more() {
    let rows = [
        ("82", ""),                  // a User Name is announced and missing
        ("82", "0004 'use'"),        // it is cut short
        ("c2", "0001 'u'"),          // a Password is announced and missing
        ("c2", "0001 'u' 0002 'p'"), // it is cut short
        ("02", "0001 'u'"),          // a User Name is there and not announced
        ("82", "0001 'u' 0001 'p'"), // a Password is there and not announced
        ("02", "0001 't' 0001 'w'"), // a Will is there and not announced
    ];
    for (flags, rest) in rows {
        refuses(V3_1_1, &format!("04 {flags} 0000 0001 'a' {rest}"));
        refuses(V5, &format!("05 {flags} 0000 00 0001 'a' {rest}"));
    }
}

/// `[MQTT-3.1.3-3]` `[v3:MQTT-3.1.3-3]`
#[test]
fn a_client_identifier_must_be_there() {
    refuses(V3_1_1, "04 02 0000");
    refuses(V5, "05 02 0000 00");
    refuses(V3_1_1, "04 02 0000 0005 'a'");
}

/// `[MQTT-3.1.3-4]` `[MQTT-3.1.3-11]` `[MQTT-3.1.3-12]` `[v3:MQTT-3.1.3-4]` `[v3:MQTT-3.1.3-10]` `[v3:MQTT-3.1.3-11]` `[MQTT-1.5.4-1]`
/// `[MQTT-1.5.4-2]` `[v3:MQTT-1.5.3-1]` `[v3:MQTT-1.5.3-2]`
#[test]
fn every_string_is_utf8_without_the_null_character() {
    for bad in ["0002 c328", "0003 eda080", "0001 00", "0002 c080", "0004 f4908080"] {
        for (flags, before, after) in [("02", "", ""), ("06", "0001 'a'", "0001 'w'"), ("82", "0001 'a'", "")] {
            refuses(V3_1_1, &format!("04 {flags} 0000 {before} {bad} {after}"));
            let will_properties = if flags == "06" { "00" } else { "" };
            refuses(V5, &format!("05 {flags} 0000 00 {before} {will_properties} {bad} {after}"));
        }
    }
}

/// `[v3:MQTT-3.1.2-22]` 5.0 allows it, for tokens that say all.
#[test]
fn a_password_without_user_name_is_for_5_0_only() {
    refuses(V3_1_1, "04 42 0000 0001 'a' 0001 'p'");
    let mut client = client(V5).with(|connect| connect.password = Some(b"p".to_vec().into())).connect();
    client.expect_nothing();
}

/// `[MQTT-3.1.3-5]` `[v3:MQTT-3.1.3-5]`
#[test]
fn client_identifiers_of_23_letters_and_digits_are_allowed() {
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in VERSIONS {
        for start in (0..alphabet.len()).step_by(23) {
            let id = &alphabet[start..alphabet.len().min(start + 23)];
            client(version).id(id).connect().disconnect();
        }
    }
}

/// `[MQTT-3.1.3-6]` `[MQTT-3.1.3-7]` `[MQTT-3.2.2-16]` also with Clean Start 0.
#[test]
fn an_empty_client_identifier_gets_one_assigned() {
    let (first, second) = (client(V5).id("").connect(), client(V5).id("").resume().connect());
    assert!(!first.id.is_empty() && !second.id.is_empty() && first.id != second.id);
    assert!(!second.session_present());
}

/// `[MQTT-3.1.3-7]` `[MQTT-3.1.3-2]` `[v3:MQTT-3.1.3-2]` An assigned Client Identifier is one like any other.
#[test]
fn an_assigned_client_identifier_names_its_session() {
    let first = client(V5).id("").durable().connect();
    let id = first.id.clone();
    first.disconnect();
    assert!(client(V5).id(&id).durable().connect().session_present());
}

/// `[v3:MQTT-3.1.3-6]` `[v3:MQTT-3.1.3-7]` `[v3:MQTT-3.1.3-8]` `[v3:MQTT-3.1.3-9]` `[v3:MQTT-3.2.2-4]` `[v3:MQTT-3.2.2-5]`
#[test]
fn an_empty_client_identifier_of_3_1_1_needs_clean_session() {
    let (mut first, mut second) = (client(V3_1_1).id("").connect(), client(V3_1_1).id("").connect());
    first.expect_nothing();
    second.expect_nothing();
    client(V3_1_1).id("").resume().refused(Reason::CLIENT_IDENTIFIER_NOT_VALID);
}

/// A client need not wait for CONNACK before it goes on (5.0 section 3.1.4, non-normative).
#[test]
fn packets_may_follow_connect_at_once() {
    let topic = unique("t");
    let mut client = open(V3_1_1);
    let packet = |first, content: String| hex::packet(first, &content);
    let mut bytes = packet(0x10, format!("0004 'MQTT' 04 02 0000 {:04x} '{topic}'", topic.len()));
    bytes.extend(packet(0x82, format!("0001 {:04x} '{topic}' 00", topic.len())));
    bytes.extend(packet(0x30, format!("{:04x} '{topic}' 'hello'", topic.len())));
    client.send_bytes(&bytes);
    assert_eq!(client.expect_connack().reason, Reason::SUCCESS);
    client.expect_suback(1, &[Reason::SUCCESS]);
    client.expect_publish(message(&topic, "hello"));
}

/// The bytes of a packet may come one by one.
#[test]
fn a_connect_may_come_in_pieces() {
    for version in VERSIONS {
        let bytes = {
            let mut out = bytes::BytesMut::new();
            client(version).packet().encode(version, &mut out);
            out
        };
        let mut client = open(version);
        for byte in bytes.chunks(1) {
            client.send_bytes(byte);
        }
        assert_eq!(client.expect_connack().reason, Reason::SUCCESS);
    }
}

/// `[MQTT-3.1.4-6]` `[v3:MQTT-3.1.4-5]`
#[test]
fn after_a_refused_connect_nothing_is_handled() {
    let topic = unique("t");
    let mut watcher = client(V3_1_1).connect();
    watcher.subscribe(&topic, 0);
    let mut bytes = hex::packet(0x10, "0004 'MQTT' 04 00 0000 0000");
    bytes.extend(hex::packet(0x31, &format!("{:04x} '{topic}' 'no'", topic.len())));
    let mut refused = open(V3_1_1);
    refused.send_bytes(&bytes);
    refused.expect_refused(Reason::CLIENT_IDENTIFIER_NOT_VALID);
    let mut other = client(V3_1_1).connect();
    watcher.expect_nothing_from(&mut other);
}
