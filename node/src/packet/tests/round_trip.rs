//! What is written is read back the same, and no bytes whatever bring decode to a panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::{Packet, Version, answer_version, frame};
use super::{VERSIONS, check_any, encoded, strategy};

fn check(version: Version, packet: &Packet) {
    let bytes = encoded(packet, version);
    assert_eq!(frame(&bytes, bytes.len() as u32).unwrap().map(|(_, total)| total), Some(bytes.len()));
    assert_eq!(frame(&bytes[..bytes.len() - 1], u32::MAX), Ok(None), "one byte is missing");
    assert_eq!(Packet::decode(version, bytes).as_ref(), Ok(packet));
}

/// Overwrites, cuts or repeats bytes of a good packet; often with a byte that means something.
pub(super) fn mutated(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let telling = prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 2, 0x7F, 0x80, 0xFF])];
    (strategy::packet(version), vec((any::<Index>(), telling, 0..4_u8), 1..4)).prop_map(move |(packet, changes)| {
        let mut bytes = encoded(&packet, version).to_vec();
        for (index, byte, what) in changes {
            let index = index.index(bytes.len());
            match what {
                0 if bytes.len() > 1 => drop(bytes.remove(index)),
                1 => bytes.insert(index, byte),
                _ => bytes[index] = byte,
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn v3_1(packet in strategy::packet(Version::V3_1)) {
        check(Version::V3_1, &packet);
    }

    #[test]
    fn v3_1_1(packet in strategy::packet(Version::V3_1_1)) {
        check(Version::V3_1_1, &packet);
    }

    #[test]
    fn v5(packet in strategy::packet(Version::V5)) {
        check(Version::V5, &packet);
    }

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..64)) {
        for version in VERSIONS {
            let _ = check_any(version, &bytes);
        }
        let _ = (frame(&bytes, 1 << 20), answer_version(&bytes));
    }

    /// Random bytes that at least reach the packet's own decode.
    #[test]
    fn random_bodies(first in any::<u8>(), body in vec(any::<u8>(), 0..64)) {
        let bytes = [vec![first, body.len() as u8], body].concat();
        for version in VERSIONS {
            let _ = check_any(version, &bytes);
        }
    }

    #[test]
    fn mutated_packets(mut bytes in mutated(Version::V5), older in mutated(Version::V3_1_1)) {
        let _ = check_any(Version::V3_1_1, &older);
        let _ = (check_any(Version::V5, &bytes), answer_version(&bytes));
        // The same with a length that is right again, so that more of it is looked at.
        if bytes.len() < 128 && bytes.len() > 2 {
            bytes[1] = bytes.len() as u8 - 2;
            let _ = check_any(Version::V5, &bytes);
        }
    }

    /// The middle of a packet is no packet, and says so.
    #[test]
    fn cut_packets(packet in strategy::packet(Version::V5), at in any::<Index>()) {
        let bytes = encoded(&packet, Version::V5);
        prop_assert!(Packet::decode(Version::V5, bytes.slice(..at.index(bytes.len()))).is_err());
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        prop_assert!(Packet::decode(Version::V5, longer).is_err());
    }
}
