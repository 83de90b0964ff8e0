//! The receiver's Maximum Packet Size [MQTT-3.1.2-24], and what is left out to keep it.

use bytes::BytesMut;

use super::super::{Packet, Version};
use super::notation;

/// `packet` written under a maximum: `Some` of what stands there, or `None` when it cannot be sent.
fn within(packet: &str, maximum: usize) -> Option<BytesMut> {
    let packet = Packet::decode(Version::V5, notation::bytes(packet).into()).unwrap();
    let mut out = BytesMut::from("x");
    let fits = packet.encode_within(Version::V5, maximum as u32, &mut out);
    assert_eq!(&out[..1], b"x");
    assert!(fits || out.len() == 1, "nothing is written of what does not fit");
    fits.then(|| out.split_off(1))
}

#[test]
fn explanations_are_dropped_first() {
    for (packet, shorter) in [
        ("20{00 8C {1F 'reason' 15 'x' 26 'k''v'}}", "20{00 8C {15 'x'}}"), // [MQTT-3.2.2-19], [MQTT-3.2.2-20]
        ("40{0001 97 {1F 'reason'}}", "40{0001 97}"),                       // [MQTT-3.4.2-2], [MQTT-3.4.2-3]
        ("50{0001 00 {26 'k''v'}}", "50{0001}"),                            // [MQTT-3.5.2-2], [MQTT-3.5.2-3]
        ("62{0001 92 {26 'k''v'}}", "62{0001 92}"),                         // [MQTT-3.6.2-2], [MQTT-3.6.2-3]
        ("70{0001 92 {1F 'reason'}}", "70{0001 92}"),                       // [MQTT-3.7.2-2], [MQTT-3.7.2-3]
        ("90{0001 {1F 'reason'} 00 87}", "90{0001 {} 00 87}"),              // [MQTT-3.9.2-1], [MQTT-3.9.2-2]
        ("B0{0001 {26 'k''v'} 00}", "B0{0001 {} 00}"),                      // [MQTT-3.11.2-1], [MQTT-3.11.2-2]
        ("E0{9D {1F 'reason' 1C 's'}}", "E0{9D {1C 's'}}"),                 // [MQTT-3.14.2-3], [MQTT-3.14.2-4]
        ("F0{18 {15 'x' 1F 'reason'}}", "F0{18 {15 'x'}}"),                 // [MQTT-3.15.2-2], [MQTT-3.15.2-3]
    ] {
        let (long, short) = (notation::bytes(packet).len(), notation::bytes(shorter));
        assert_eq!(within(packet, long).unwrap().len(), long, "{packet}");
        assert_eq!(within(packet, long - 1).unwrap(), short, "{packet}");
        assert_eq!(within(packet, short.len()).unwrap(), short, "{packet}");
        assert_eq!(within(packet, short.len() - 1), None, "{packet}");
    }
}

/// [MQTT-3.3.2-17] the User Properties of a PUBLISH belong to the message.
#[test]
fn a_message_is_sent_whole_or_not_at_all() {
    let packet = "30{'a' {26 'k''v'} 00}";
    let length = notation::bytes(packet).len();
    assert_eq!(within(packet, length).unwrap(), notation::bytes(packet));
    assert_eq!(within(packet, length - 1), None);
}

#[test]
fn what_a_version_does_not_have_always_fits() {
    let disconnect = Packet::decode(Version::V5, notation::bytes("E0{8E}").into()).unwrap();
    let mut out = BytesMut::new();
    assert!(disconnect.encode_within(Version::V3_1_1, 0, &mut out));
    assert!(out.is_empty());
}
