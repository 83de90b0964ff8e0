//! The codec beside another one, `mqtt-protocol-core`: it must understand what we write, and write what we understand.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::{Qos, v3_1_1, v5_0};
use proptest::prelude::*;

use super::super::publish::Publish;
use super::super::{Packet, Version, frame};
use super::{encoded, round_trip, strategy};

/// What the other codec reads from a packet of ours, written again by it; `Err` with its reason.
macro_rules! other {
    ($layout:ident, $bytes:expr, [$($number:literal => $name:ident),*]) => {{
        let (header, total) = frame($bytes, u32::MAX).unwrap().unwrap();
        let body = &$bytes[header..total];
        match $bytes[0] >> 4 {
            3 => $layout::Publish::parse($bytes[0] & 0x0F, body.into()).map(|(packet, _)| packet.to_continuous_buffer()),
            $($number => $layout::$name::parse(body).map(|(packet, _)| packet.to_continuous_buffer()),)*
            _ => unreachable!(),
        }
        .map_err(|error| format!("{error:?}"))
    }};
}

fn other(version: Version, bytes: &[u8]) -> Result<Vec<u8>, String> {
    if version == Version::V5 {
        return other!(v5_0, bytes, [
            1 => Connect, 2 => Connack, 4 => Puback, 5 => Pubrec, 6 => Pubrel, 7 => Pubcomp, 8 => Subscribe, 9 => Suback,
            10 => Unsubscribe, 11 => Unsuback, 12 => Pingreq, 13 => Pingresp, 14 => Disconnect, 15 => Auth
        ]);
    }
    other!(v3_1_1, bytes, [
        1 => Connect, 2 => Connack, 4 => Puback, 5 => Pubrec, 6 => Pubrel, 7 => Pubcomp, 8 => Subscribe, 9 => Suback,
        10 => Unsubscribe, 11 => Unsuback, 12 => Pingreq, 13 => Pingresp, 14 => Disconnect
    ])
}

/// Where the standard is with us: 5.0 section 3.1.2.9 allows a Password without a User Name, the other codec does not.
fn differs(packet: &Packet) -> bool {
    matches!(packet, Packet::Connect(connect) if connect.user_name.is_none() && connect.password.is_some())
}

fn check(version: Version, packet: &Packet) {
    if differs(packet) {
        return;
    }
    let bytes = encoded(packet, version);
    let theirs = other(version, &bytes).unwrap_or_else(|error| panic!("{error} for {packet:?}: {bytes:02x?}"));
    assert_eq!(Packet::decode(version, Bytes::from(theirs)).as_ref(), Ok(packet), "read and written again by the other codec");
}

fn check_publish(version: Version, publish: &Publish) {
    let bytes = encoded(&Packet::Publish(publish.clone()), version);
    let (header, _) = frame(&bytes, u32::MAX).unwrap().unwrap();
    macro_rules! check {
        ($layout:ident) => {{
            let (theirs, _) = $layout::Publish::parse(bytes[0] & 0x0F, bytes[header..].into()).unwrap();
            assert_eq!(theirs.topic_name(), &publish.topic[..]);
            assert_eq!(theirs.payload().as_slice(), &publish.payload[..]);
            assert_eq!(theirs.packet_id(), publish.packet_id.map(|id| id.get()));
            assert_eq!((theirs.dup(), theirs.retain()), (publish.dup, publish.retain));
            assert_eq!(theirs.qos(), [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][publish.qos as usize]);
        }};
    }
    if version == Version::V5 { check!(v5_0) } else { check!(v3_1_1) }
}

proptest! {
    #[test]
    fn packets_v3_1_1(packet in strategy::packet(Version::V3_1_1)) {
        check(Version::V3_1_1, &packet);
    }

    #[test]
    fn packets_v5(packet in strategy::packet(Version::V5)) {
        check(Version::V5, &packet);
    }

    #[test]
    fn fields_of_publish(older in strategy::publish(Version::V3_1_1), publish in strategy::publish(Version::V5)) {
        check_publish(Version::V3_1_1, &older);
        check_publish(Version::V5, &publish);
    }

    /// What we understand of a broken packet is no invention of ours. The other way round does not hold: the other codec lets pass
    /// U+0000, bytes behind the end, reserved flags of CONNECT and CONNACK.
    #[test]
    fn mutated_packets(bytes in round_trip::mutated(Version::V5)) {
        if let Ok(packet) = Packet::decode(Version::V5, bytes.clone().into()) {
            let layout = if let Packet::Connect(connect) = &packet { connect.version } else { Version::V5 };
            let theirs = if layout == Version::V3_1 { Ok(vec![]) } else { other(layout, &bytes) };
            prop_assert!(differs(&packet) || theirs.is_ok(), "{theirs:?} for {packet:?}");
        }
    }
}
