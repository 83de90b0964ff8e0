//! Where one Control Packet ends in a stream of bytes (MQTT 5.0 section 2.1), and how to answer one that is of no known version.

use super::Version;
use super::primitive::{DecodeError, peek_variable_byte_integer};
use super::reason::Reason;

/// Looks whether a complete packet stands at the front of `buffer`: the sizes of its Fixed Header and of the whole packet, or
/// `None` when more bytes are needed. A packet above `maximum` bytes is refused as soon as its length is known.
#[inline]
pub fn frame(buffer: &[u8], maximum: u32) -> Result<Option<(usize, usize)>, DecodeError> {
    let Some((remaining, size)) = peek_variable_byte_integer(buffer.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let header = 1 + size;
    let total = header + remaining as usize;
    if total > maximum as usize {
        return Err(DecodeError { reason: Reason::PACKET_TOO_LARGE, text: "the packet is larger than the Maximum Packet Size" });
    }
    Ok((buffer.len() >= total).then_some((header, total)))
}

/// The layout in which a CONNECT that cannot be decoded is to be answered: that of its Protocol Level if it can be found, of 5.0 for
/// levels to come, and of 3.1.1 for all that is older or makes no sense.
pub fn answer_version(frame: &[u8]) -> Version {
    // The upper bit is no part of the level: mosquitto sets it in the CONNECT of a bridge, and tries again without when it gets
    // the answer of its level.
    match protocol(frame).map(|(name, level)| (name, level & 0x7F)) {
        Some((b"MQIsdp", _) | (_, 3)) => Version::V3_1,
        Some((_, 5..)) => Version::V5,
        _ => Version::V3_1_1,
    }
}

/// The Protocol Name and the byte behind it.
fn protocol(frame: &[u8]) -> Option<(&[u8], u8)> {
    let (_, size) = peek_variable_byte_integer(frame.get(1..)?).ok()??;
    let body = frame.get(1 + size..)?;
    let name_length = u16::from_be_bytes([*body.first()?, *body.get(1)?]);
    let name = body.get(2..2 + usize::from(name_length))?;
    Some((name, *body.get(2 + name.len())?))
}
