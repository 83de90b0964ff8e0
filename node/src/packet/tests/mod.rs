//! What the codec must accept, refuse and give back.

mod differential;
mod notation;
mod refused;
mod round_trip;
mod strategy;
mod understood;
mod within;

use bytes::{Bytes, BytesMut};

use super::primitive::DecodeError;
use super::{Packet, Version};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn encoded(packet: &Packet, version: Version) -> Bytes {
    let mut out = BytesMut::new();
    packet.encode(version, &mut out);
    assert_eq!(out.len(), packet.encoded_len(version), "encoded_len of {packet:?}");
    out.freeze()
}

/// What holds for any bytes at all: decode returns, and what it understood is written so that it is understood the same way,
/// in no more bytes than it came in.
fn check_any(version: Version, bytes: &[u8]) -> Result<Packet, DecodeError> {
    let packet = Packet::decode(version, Bytes::copy_from_slice(bytes))?;
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    let again = encoded(&packet, version);
    assert!(again.len() <= bytes.len(), "{packet:?} grew from {bytes:02x?} to {again:02x?}");
    assert_eq!(Packet::decode(version, again), Ok(packet.clone()));
    Ok(packet)
}
