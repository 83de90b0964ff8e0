//! Packets that must be understood, and what they say.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};

use super::super::acknowledge::{Acknowledge, AcknowledgeProperties, Kind};
use super::super::connack::Connack;
use super::super::disconnect::Disconnect;
use super::super::publish::{self, Publish, PublishProperties};
use super::super::reason::Reason;
use super::super::{Packet, QoS, Version, answer_version};
use super::{VERSIONS, check_any, encoded, notation};

fn decode(version: Version, packet: &str) -> Packet {
    check_any(version, &notation::bytes(packet)).unwrap_or_else(|error| panic!("{packet} in {version:?}: {error}"))
}

fn id(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

/// Decode understands these, and encode writes them as they stand here.
#[test]
fn written_as_read() {
    let check = |versions: &[Version], packets: &[&str]| {
        for &packet in packets {
            for &version in versions {
                let decoded = decode(version, packet);
                assert_eq!(encoded(&decoded, version), notation::bytes(packet), "{packet} in {version:?}: {decoded:?}");
            }
        }
    };
    // A CONNECT says itself in which layout it is; what is the same in all versions.
    check(
        &[Version::V3_1, Version::V3_1_1],
        &[
            "20{00 00}",
            "20{00 05}",
            "30{'a'}",
            "31{'a' 6869}",
            "3D{'a/b' FFFF 00}",
            "40{0001}",
            "50{FFFF}",
            "62{0102}",
            "70{0001}",
            "82{0001 'a' 00 '+/#' 02}",
            "90{0001 00 02 80}",
            "A2{0001 'a' 'b'}",
            "B0{0001}",
            "C0{}",
            "D0{}",
            "E0{}",
        ],
    );
    check(&[Version::V3_1], &["10{'MQIsdp' 03 02 003C 'a'}", "10{'MQIsdp' 03 C2 003C 'a' 'u' 'p'}"]);
    check(&[Version::V3_1_1], &["10{'MQTT' 04 00 0000 ''}", "10{'MQTT' 04 F6 FFFF 'a' 'w' 'm' 'u' 'p'}", "20{01 00}"]);
    check(
        &[Version::V5],
        &[
            "10{'MQTT' 05 02 003C {} ''}",
            "10{'MQTT' 05 42 003C {} 'a' 'p'}",
            "10{'MQTT' 05 02 003C {11 FFFFFFFF 21 0001 27 00000001 22 FFFF 19 00 17 01 15 'x' 16 '' 26 'k''v' 26 'k''v'} 'a'}",
            "10{'MQTT' 05 2E 003C {} 'a' {18 0000000A 02 00000001 01 01 03 't' 08 'r' 09 'c' 26 'k''v'} 'w' ''}",
            "20{01 00 {}}",
            "20{00 00 {11 00000000 21 0001 24 01 25 00 27 00000001 12 'id' 22 0000 1F 'r' 28 00 29 01 2A 00 13 0001 1A 'i' 1C 's'}}",
            "20{00 8C {15 'x' 16 'd' 26 'k''v'}}",
            "30{'a' {} 6869}",
            "30{'' {23 0001}}",
            "30{'a' {02 00000000 23 FFFF 0B 01 0B FFFFFF7F 01 00 03 't' 08 'r' 09 'c' 26 'k''v' 26 'a''' 26 'k''w'} 00}",
            "40{0001}",
            "40{0001 10}",
            "50{0001 97 {1F 'r' 26 'k''v'}}",
            "62{0001 92}",
            "70{0001 00 {26 'k''v'}}",
            "82{0001 {0B 8001 26 'k''v'} '$share/g/a' 2E}",
            "90{0001 {1F 'r'} 00 8F A2}",
            "A2{0001 {26 'k''v'} 'a'}",
            "B0{0001 {} 00 11}",
            "C0{}",
            "D0{}",
            "E0{}",
            "E0{8E}",
            "E0{00 {11 00000001}}",
            "E0{9D {1F 'r' 1C 's' 26 'k''v'}}",
            "F0{}",
            "F0{18 {15 'x' 16 'd' 1F 'r' 26 'k''v'}}",
        ],
    );
}

/// Other forms of the same, which a sender may or at least might use.
#[test]
fn written_shorter_than_read() {
    for (version, packet, shorter) in [
        (Version::V5, "40{0001 00}", "40{0001}"),
        (Version::V5, "40{0001 00 {}}", "40{0001}"),
        (Version::V5, "50{0001 10 {}}", "50{0001 10}"),
        (Version::V5, "E0{00}", "E0{}"),
        (Version::V5, "E0{00 {}}", "E0{}"),
        (Version::V5, "E0{8E {}}", "E0{8E}"),
        (Version::V5, "C0 808000", "C0{}"),
        (Version::V5, "30{'a' 8000 00}", "30{'a' {} 00}"),
        (Version::V5, "30{'a' {A300 0001}}", "30{'a' {23 0001}}"),
        (Version::V5, "10{'MQTT' 05 06 003C {} 'a' {18 00000000} 'w' 'm'}", "10{'MQTT' 05 06 003C {} 'a' {} 'w' 'm'}"),
        (Version::V3_1, "6A{0001}", "62{0001}"),
        (Version::V3_1, "8A{0001 'a' 01}", "82{0001 'a' 01}"),
        (Version::V3_1, "20{FF 00}", "20{00 00}"),
    ] {
        assert_eq!(encoded(&decode(version, packet), version), notation::bytes(shorter), "{packet}");
    }
}

#[test]
fn publish_shares_the_memory_it_was_read_into() {
    let bytes = Bytes::from(notation::bytes("3B{'a/b' 0007 {09 'c'} 6869}"));
    let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, bytes.clone()) else { panic!() };
    let properties = PublishProperties { correlation_data: Some(Bytes::from_static(b"c")), ..Default::default() };
    let expected = Publish {
        dup: true,
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: "a/b".into(),
        packet_id: Some(id(7)),
        properties: Some(Box::new(properties)),
        payload: Bytes::from_static(b"hi"),
    };
    assert_eq!(publish, expected);
    assert!(bytes.as_ptr_range().contains(&publish.topic.as_bytes().as_ptr()));
    assert!(bytes.as_ptr_range().contains(&publish.payload.as_ptr()));
}

#[test]
fn strings() {
    // [MQTT-1.5.4-3] U+FEFF is kept; control characters and non-characters are only discouraged (section 1.5.4).
    for topic in ["\u{FEFF}a", "a\u{1}\u{7F}\u{9F}", "\u{FFFF}\u{FDD0}\u{10FFFF}", "A\u{2A6D4}", ""] {
        let mut bytes = vec![0x30, topic.len() as u8 + 2, 0, topic.len() as u8];
        bytes.extend(topic.as_bytes());
        let Ok(Packet::Publish(publish)) = check_any(Version::V3_1_1, &bytes) else { panic!("{topic:?}") };
        assert_eq!(publish.topic, topic);
    }
}

#[test]
fn what_is_not_sent_is_not_there() {
    let Packet::Connect(connect) = decode(Version::V3_1, "10{'MQTT' 05 06 003C {} 'a' {18 00000005} 'w' 'm'}") else { panic!() };
    assert_eq!((connect.version, connect.clean_start, connect.keep_alive_s), (Version::V5, true, 60));
    assert_eq!((&connect.properties, &connect.user_name), (&Default::default(), &None));
    let will = connect.will.unwrap();
    assert_eq!((will.delay_s, will.properties), (5, None));
    let Packet::Publish(publish) = decode(Version::V5, "30{'a' {}}") else { panic!() };
    assert_eq!((publish.properties, publish.packet_id), (None, None));
}

#[test]
fn reasons_in_the_words_of_3_1_1() {
    for (reason, code, back) in [
        (Reason::SUCCESS, 0, Reason::SUCCESS),
        (Reason::UNSUPPORTED_PROTOCOL_VERSION, 1, Reason::UNSUPPORTED_PROTOCOL_VERSION),
        (Reason::CLIENT_IDENTIFIER_NOT_VALID, 2, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Reason::SERVER_UNAVAILABLE, 3, Reason::SERVER_UNAVAILABLE),
        (Reason::SERVER_BUSY, 3, Reason::SERVER_UNAVAILABLE),
        (Reason::QUOTA_EXCEEDED, 3, Reason::SERVER_UNAVAILABLE),
        (Reason::CONNECTION_RATE_EXCEEDED, 3, Reason::SERVER_UNAVAILABLE),
        (Reason::UNSPECIFIED_ERROR, 3, Reason::SERVER_UNAVAILABLE),
        (Reason::BAD_USER_NAME_OR_PASSWORD, 4, Reason::BAD_USER_NAME_OR_PASSWORD),
        (Reason::BAD_AUTHENTICATION_METHOD, 4, Reason::BAD_USER_NAME_OR_PASSWORD),
        (Reason::NOT_AUTHORIZED, 5, Reason::NOT_AUTHORIZED),
        (Reason::BANNED, 5, Reason::NOT_AUTHORIZED),
    ] {
        let bytes = encoded(&Packet::Connack(Box::new(Connack::refusal(reason))), Version::V3_1_1);
        assert_eq!(bytes[..], [0x20, 2, 0, code]);
        assert_eq!(Packet::decode(Version::V3_1_1, bytes), Ok(Packet::Connack(Box::new(Connack::refusal(back)))));
    }
    // [MQTT-3.2.2-6]
    let connack = Connack { session_present: true, ..Connack::refusal(Reason::BANNED) };
    assert_eq!(encoded(&Packet::Connack(Box::new(connack)), Version::V5)[..], [0x20, 3, 0, 0x8A, 0]);
    // 3.1.1 section 3.9.3
    let suback = decode(Version::V5, "90{0001 {1F 'r'} 02 87 A2}");
    assert_eq!(encoded(&suback, Version::V3_1_1), notation::bytes("90{0001 02 80 80}"));
}

#[test]
fn what_a_version_does_not_have_is_not_written() {
    for version in [Version::V3_1, Version::V3_1_1] {
        assert!(encoded(&decode(Version::V5, "F0{18 {15 'x'}}"), version).is_empty());
        assert!(encoded(&Packet::Disconnect(Box::new(Disconnect::new(Reason::SERVER_SHUTTING_DOWN))), version).is_empty());
        assert!(encoded(&decode(Version::V5, "E0{04}"), version).is_empty());
        let properties = Some(Box::new(AcknowledgeProperties { reason_string: Some("r".into()), user_properties: vec![] }));
        let reason = Reason::QUOTA_EXCEEDED;
        let acknowledge = Packet::Acknowledge(Acknowledge { kind: Kind::Puback, packet_id: id(1), reason, properties });
        assert_eq!(encoded(&acknowledge, version)[..], [0x40, 2, 0, 1]);
        assert_eq!(encoded(&decode(Version::V5, "33{'a' 0001 {26 'k''v'} 68}"), version), notation::bytes("33{'a' 0001 68}"));
        assert_eq!(encoded(&decode(Version::V5, "82{0001 {0B 01} 'a' 2E}"), version), notation::bytes("82{0001 'a' 02}"));
    }
}

#[test]
fn own_properties_stand_instead_of_those_of_the_message() {
    let head = publish::Head { version: Version::V5, qos: QoS::ExactlyOnce, packet_id: Some(id(9)), dup: true, retain: false };
    let properties = PublishProperties {
        message_expiry_s: Some(1),
        topic_alias: Some(1),
        subscription_ids: vec![1],
        content_type: Some("t".into()),
        ..Default::default()
    };
    let own = publish::OwnProperties { message_expiry_s: Some(2), topic_alias: None, subscription_ids: &[3, 200] };
    let mut out = BytesMut::new();
    publish::encode_parts(&mut out, head, "a", Some(&properties), &own, b"hi");
    assert_eq!(out, notation::bytes("3C{'a' 0009 {02 00000002 0B 03 0B C801 03 't'} 6869}"));
    let own = publish::OwnProperties::default();
    assert_eq!(publish::encoded_len(head, "a", Some(&properties), &own, b"hi"), notation::bytes("3C{'a' 0009 {03 't'} 6869}").len());
}

#[test]
fn lengths_at_their_borders() {
    for (payload, header) in [(0, 2), (124, 2), (125, 3), (16_380, 3), (16_381, 4), (2_097_148, 4), (2_097_149, 5)] {
        for version in VERSIONS {
            let bytes = vec![0; payload];
            let head = publish::Head { version, qos: QoS::AtMostOnce, packet_id: None, dup: false, retain: false };
            let mut out = BytesMut::new();
            publish::encode_parts(&mut out, head, "a", None, &publish::OwnProperties::default(), &bytes);
            let Ok(Some((header_found, total))) = super::super::frame(&out, u32::MAX) else { panic!("{payload}") };
            assert_eq!(total, out.len());
            if version != Version::V5 {
                assert_eq!(header_found, header, "{payload}");
            }
            let Ok(Packet::Publish(publish)) = Packet::decode(version, out.freeze()) else { panic!("{payload}") };
            assert_eq!(publish.payload.len(), payload);
        }
    }
}

#[test]
fn what_cannot_be_said_is_not_written() {
    let head = publish::Head { version: Version::V5, qos: QoS::AtMostOnce, packet_id: None, dup: false, retain: false };
    let mut out = BytesMut::new();
    publish::encode_parts(&mut out, head, &"a".repeat(65_536), None, &publish::OwnProperties::default(), b"");
    assert!(out.is_empty());
    // A Reason String that is too long is cut between characters.
    let disconnect = Disconnect { reason_string: Some("é".repeat(40_000).into()), ..Disconnect::new(Reason::QUOTA_EXCEEDED) };
    let bytes = encoded(&Packet::Disconnect(Box::new(disconnect)), Version::V5);
    let Ok(Packet::Disconnect(disconnect)) = Packet::decode(Version::V5, bytes) else { panic!() };
    assert_eq!(disconnect.reason_string.unwrap().len(), 65_534);
}

#[test]
fn the_layout_of_the_answer() {
    for (packet, version) in [
        ("10{'MQTT' 05 03 003C {} 'a'}", Version::V5),
        ("10{'MQTT' 06 02 003C}", Version::V5),
        ("10{'MQTT' 04 03 003C 'a'}", Version::V3_1_1),
        ("10{'MQTT' 84 02 003C 'a'}", Version::V3_1_1),
        ("10{'MQIsdp' 83 02 003C 'a'}", Version::V3_1),
        ("10{'MQIsdp' 03 02 003C}", Version::V3_1),
        ("10{'MQTT' 02 02 003C 'a'}", Version::V3_1_1),
        ("10{'HTTP' 05 02}", Version::V5),
        ("10{'MQTT'}", Version::V3_1_1),
        ("10{FFFF}", Version::V3_1_1),
        ("10FFFFFFFFFF", Version::V3_1_1),
        ("10", Version::V3_1_1),
        ("", Version::V3_1_1),
    ] {
        assert_eq!(answer_version(&notation::bytes(packet)), version, "{packet}");
    }
}
