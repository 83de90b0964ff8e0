//! Control Packets: decode returns in every version, and what it understood is written so that it is understood the same way.

use bytes::{Bytes, BytesMut};
use mqttd::packet::{Packet, Version, answer_version, frame};

pub fn hold(input: &[u8]) {
    let _ = answer_version(input);
    // A stream: packets one behind the other.
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut rest = Bytes::copy_from_slice(input);
        while let Ok(Some((_, total))) = frame(&rest, 1 << 20) {
            check(version, rest.split_to(total));
        }
    }
}

fn check(version: Version, bytes: Bytes) {
    let length = bytes.len();
    let Ok(packet) = Packet::decode(version, bytes) else { return };
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let mut out = BytesMut::new();
    packet.encode(version, &mut out);
    assert!(out.len() == packet.encoded_len(version) && out.len() <= length);
    assert_eq!(Packet::decode(version, out.freeze()), Ok(packet));
}
