//! Bytes that are no packet, or a packet that must not be (5.0 sections 1.5, 2.1 and 4.13). What 5.0 answers with a DISCONNECT,
//! 3.1.1 answers with the end of the connection.

use mqttd_tests::*;

const MALFORMED: &[Reason] = &[Reason::MALFORMED_PACKET];
const PROTOCOL: &[Reason] = &[Reason::PROTOCOL_ERROR];
const EITHER: &[Reason] = &[Reason::MALFORMED_PACKET, Reason::PROTOCOL_ERROR];

/// A connected client sends these bytes, and is told so.
#[track_caller]
fn refuses(version: Version, bytes: &[u8], reasons: &[Reason]) {
    let mut client = client(version).connect();
    client.send_bytes(bytes);
    client.expect_disconnect_of(reasons);
}

#[track_caller]
fn refuses_everywhere(first: u8, content: &str, reasons: &[Reason]) {
    for version in VERSIONS {
        refuses(version, &hex::packet(first, content), reasons);
    }
}

/// `[MQTT-2.1.3-1]` `[v3:MQTT-2.2.2-1]` `[v3:MQTT-2.2.2-2]` `[MQTT-3.6.1-1]` `[MQTT-3.8.1-1]` `[MQTT-3.10.1-1]` `[v3:MQTT-3.6.1-1]` `[v3:MQTT-3.8.1-1]`
/// `[v3:MQTT-3.10.1-1]` `[MQTT-3.14.1-1]` `[MQTT-4.13.1-1]` Every type that has reserved flags, with every wrong value of them.
#[test]
fn reserved_flags_must_have_their_value() {
    let packets = [
        (0x40, 0, "0001"), // PUBACK
        (0x50, 0, "0001"), // PUBREC
        (0x60, 2, "0001"), // PUBREL
        (0x70, 0, "0001"), // PUBCOMP
        (0xC0, 0, ""),     // PINGREQ
        (0xE0, 0, ""),     // DISCONNECT
    ];
    for (first, right, content) in packets {
        for flags in (0..16).filter(|&flags| flags != right) {
            refuses(V5, &hex::packet(first | flags, content), MALFORMED);
            // 3.1 has DUP and QoS in every fixed header, and nothing to say of most.
            refuses(V3_1_1, &hex::packet(first | flags, content), MALFORMED);
        }
    }
    for version in [V3_1_1, V5] {
        let properties = if version == V5 { "00" } else { "" };
        for flags in (0..16).filter(|&flags| flags != 2) {
            refuses(version, &hex::packet(0x80 | flags, &format!("0001 {properties} 0001 'a' 00")), MALFORMED);
            refuses(version, &hex::packet(0xA0 | flags, &format!("0001 {properties} 0001 'a'")), MALFORMED);
        }
    }
}

/// `[MQTT-2.1.3-1]` CONNECT has reserved flags as well; nothing is accepted yet, so the answer is a CONNACK or the end.
#[test]
fn reserved_flags_of_connect() {
    for flags in 1..16 {
        let mut client = open(V5);
        client.send_bytes(&hex::packet(0x10 | flags, "0004 'MQTT' 05 02 0000 00 0001 'a'"));
        client.expect_closed_after_any_connack();
        let mut client = open(V3_1_1);
        client.send_bytes(&hex::packet(0x10 | flags, "0004 'MQTT' 04 02 0000 0001 'a'"));
        client.expect_closed_after_any_connack();
    }
}

/// `[MQTT-3.3.1-4]` `[v3:MQTT-3.3.1-4]`
#[test]
fn qos_3_is_malformed() {
    for first in [0x36, 0x37, 0x3E, 0x3F] {
        for version in VERSIONS {
            let properties = if version == V5 { "00" } else { "" };
            refuses(version, &hex::packet(first, &format!("0001 'a' 0001 {properties} 'x'")), MALFORMED);
        }
    }
}

/// `[MQTT-3.3.1-2]` `[v3:MQTT-3.3.1-2]` DUP at QoS 0 has no meaning.
#[test]
fn dup_at_qos_0_is_malformed() {
    for version in [V3_1_1, V5] {
        let properties = if version == V5 { "00" } else { "" };
        refuses(version, &hex::packet(0x38, &format!("0001 'a' {properties}")), EITHER);
    }
}

/// `[MQTT-2.2.1-3]` `[v3:MQTT-2.3.1-1]` (section 2.2.1) A Packet Identifier of zero.
#[test]
fn packet_identifier_zero() {
    for version in VERSIONS {
        let properties = if version == V5 { "00" } else { "" };
        for (first, content) in [
            (0x32, format!("0001 'a' 0000 {properties} 'x'")),
            (0x34, format!("0001 'a' 0000 {properties} 'x'")),
            (0x40, "0000".into()),
            (0x50, "0000".into()),
            (0x62, "0000".into()),
            (0x70, "0000".into()),
            (0x82, format!("0000 {properties} 0001 'a' 00")),
            (0xA2, format!("0000 {properties} 0001 'a'")),
        ] {
            refuses(version, &hex::packet(first, &content), EITHER);
        }
    }
}

/// `[MQTT-1.5.4-1]` `[MQTT-1.5.4-2]` `[v3:MQTT-1.5.3-1]` `[v3:MQTT-1.5.3-2]` `[MQTT-3.3.2-1]` `[v3:MQTT-3.3.2-1]` `[MQTT-3.8.3-1]` `[v3:MQTT-3.8.3-1]`
/// `[MQTT-3.10.3-1]` `[v3:MQTT-3.10.3-1]` `[MQTT-4.7.3-2]` `[v3:MQTT-4.7.3-2]`
#[test]
fn strings_are_utf8_without_the_null_character() {
    let bad_strings = [
        "0001 80",           // a continuation byte alone
        "0002 c328",         // a lead byte without its continuation
        "0002 c080",         // U+0000 in two bytes
        "0003 e08080",       // too long a form
        "0003 eda080",       // U+D800, a surrogate
        "0003 edbfbf",       // U+DFFF
        "0006 eda080edb080", // a pair of surrogates
        "0004 f4908080",     // above U+10FFFF
        "0003 610062",       // U+0000 in the middle
    ];
    for bad in bad_strings {
        for version in VERSIONS {
            let properties = if version == V5 { "00" } else { "" };
            refuses(version, &hex::packet(0x30, &format!("{bad} {properties}")), EITHER);
            refuses(version, &hex::packet(0x82, &format!("0001 {properties} {bad} 00")), EITHER);
            refuses(version, &hex::packet(0xA2, &format!("0001 {properties} {bad}")), EITHER);
        }
    }
}

/// `[MQTT-3.8.3-2]` `[MQTT-3.10.3-2]` `[v3:MQTT-3.8.3-3]` `[v3:MQTT-3.10.3-2]` No filter at all.
#[test]
fn a_payload_without_filters() {
    for version in VERSIONS {
        let properties = if version == V5 { "00" } else { "" };
        refuses(version, &hex::packet(0x82, &format!("0001 {properties}")), EITHER);
        refuses(version, &hex::packet(0xA2, &format!("0001 {properties}")), EITHER);
    }
}

/// Lengths that do not fit what they measure: strings longer than the packet, packets shorter than their fields.
#[test]
fn lengths_that_do_not_fit() {
    for (first, content) in [
        (0x30, ""),
        (0x30, "00"),
        (0x30, "0005 'abc'"),
        (0x32, "0001 'a'"),
        (0x32, "0001 'a' 00"),
        (0x40, ""),
        (0x40, "00"),
        (0x50, "01"),
        (0x62, ""),
        (0x70, "01"),
        (0x82, ""),
        (0x82, "00"),
        (0xA2, "00"),
        (0xC0, "00"),
    ] {
        refuses_everywhere(first, content, EITHER);
    }
    for version in VERSIONS {
        let properties = if version == V5 { "00" } else { "" };
        for (first, content) in [
            (0x82, format!("0001 {properties} 0001")),
            (0x82, format!("0001 {properties} 0001 'a'")),
            (0x82, format!("0001 {properties} 0003 'a' 00")),
            (0x82, format!("0001 {properties} 0001 'a' 00 0001")),
            (0xA2, format!("0001 {properties} 0002 'a'")),
            (0xA2, format!("0001 {properties} 0001 'a' 00")),
        ] {
            refuses(version, &hex::packet(first, &content), EITHER);
        }
    }
}

/// Bytes behind the end of what a packet may hold.
#[test]
fn bytes_too_many() {
    for (first, content) in [(0x40, "0001 00"), (0x50, "0001 00"), (0x62, "0001 00"), (0x70, "0001 00"), (0xE0, "00"), (0xC0, "0000")] {
        refuses(V3_1_1, &hex::packet(first, content), MALFORMED);
    }
    for (first, content) in [(0x40, "0001 00 00 00"), (0x62, "0001 00 00 00"), (0xE0, "00 00 00"), (0xC0, "0000")] {
        refuses(V5, &hex::packet(first, content), EITHER);
    }
}

/// `[MQTT-1.5.5-1]` (section 1.5.5) A Remaining Length of five bytes is none; a longer form than needed can be read.
#[test]
fn a_remaining_length_has_at_most_four_bytes() {
    for version in VERSIONS {
        refuses(version, &hex::bytes("30 ff ff ff ff 01"), MALFORMED);
        refuses(version, &hex::bytes("c0 80 80 80 80 00"), MALFORMED);
        let mut client = client(version).connect();
        client.send_hex("c0 80 80 80 00");
        client.expect_pingresp();
    }
}

/// Types that do not exist, that only a Server may send, or that this version does not have.
#[test]
fn types_that_a_client_must_not_send() {
    for (first, content) in [(0x00, ""), (0x20, "00 00"), (0x90, "0001 00"), (0xB0, "0001"), (0xD0, "")] {
        refuses(V3_1_1, &hex::packet(first, content), EITHER);
    }
    refuses(V3_1_1, &hex::packet(0xF0, ""), EITHER);
    for (first, content) in [(0x00, ""), (0x20, "00 00 00"), (0x90, "0001 00 00"), (0xB0, "0001 00 00"), (0xD0, "")] {
        refuses(V5, &hex::packet(first, content), EITHER);
    }
}

/// `[MQTT-3.4.2-1]` `[MQTT-3.5.2-1]` `[MQTT-3.6.2-1]` `[MQTT-3.7.2-1]` Reason Codes that the packet does not have.
#[test]
fn reason_codes_that_the_packet_does_not_have() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        for reason in ["01", "04", "18", "8e", "ff"] {
            refuses(V5, &hex::packet(first, &format!("0001 {reason}")), EITHER);
        }
    }
    refuses(V5, &hex::packet(0x62, "0001 10"), EITHER);
    refuses(V5, &hex::packet(0x40, "0001 92"), EITHER);
}

/// `[MQTT-4.13.1-1]` `[MQTT-3.14.4-1]` `[MQTT-4.13.2-1]` `[v3:MQTT-4.8.0-1]` Behind the fault nothing is handled any more.
#[test]
fn nothing_behind_a_fault_is_handled() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut other, mut watcher) = pair(version);
        watcher.subscribe(&topic, 0);
        let mut bytes = bytes::BytesMut::from(&hex::bytes("36 00")[..]);
        Packet::from(message(&topic, "no")).encode(version, &mut bytes);
        refuses(version, &bytes, EITHER);
        watcher.expect_nothing_from(&mut other);
    }
}

/// What came before the fault counts, in the same write, too.
#[test]
fn what_came_before_a_fault_counts() {
    for version in VERSIONS {
        let topic = unique("t");
        let mut watcher = client(version).connect();
        watcher.subscribe(&topic, 0);
        let mut bytes = bytes::BytesMut::new();
        Packet::from(message(&topic, "yes")).encode(version, &mut bytes);
        bytes.extend(hex::bytes("00 00"));
        refuses(version, &bytes, EITHER);
        watcher.expect_publish(message(&topic, "yes"));
    }
}

/// Section 3.10.2 and 3.8.2: PROTOCOL is what properties of the wrong packet are; the long list stands in `malformed_properties`.
#[test]
fn a_subscription_identifier_of_zero() {
    refuses(V5, &hex::packet(0x82, "0001 02 0b 00 0001 'a' 00"), PROTOCOL);
}

/// Noise: a client that speaks another protocol, at once and after CONNECT.
#[test]
fn noise_is_the_end() {
    for noise in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0", "SSH-2.0-OpenSSH_9.6\r\n"] {
        let mut client = open(V3_1_1);
        client.send_bytes(noise.as_bytes());
        client.end_of_stream();
        client.expect_closed_after_any_connack();
    }
}
