//! MQTT Control Packets as values, for 3.1, 3.1.1 and 5.0. No I/O, reads no clock.
//!
//! One packet model for all versions: 3.1.1 is 5.0 without properties and with fewer codes, so [`Version`] is an argument of
//! encode and decode, never a type. Each packet has a file with its decode and encode side by side.

pub mod acknowledge;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
mod frame;
pub mod outgoing;
pub mod primitive;
pub mod property;
pub mod publish;
pub mod reason;
pub mod subscribe;
pub mod unsubscribe;

#[cfg(test)]
mod tests;

use std::num::NonZeroU16;

pub use frame::{answer_version, frame};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use acknowledge::Acknowledge;
use auth::Auth;
use connack::Connack;
use connect::Connect;
use disconnect::Disconnect;
use primitive::{DecodeError, Reader, Writer};
use publish::Publish;
use reason::Reason;
use subscribe::{Suback, Subscribe};
use unsubscribe::{Unsuback, Unsubscribe};

/// The protocol version of a Network Connection: the Protocol Level of its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// `MQIsdp`, level 3.
    V3_1 = 3,
    /// `MQTT`, level 4.
    V3_1_1 = 4,
    /// `MQTT`, level 5.
    V5 = 5,
}

/// Quality of Service (MQTT 5.0 section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl QoS {
    pub const fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// A Packet Identifier (section 2.2.1): never zero.
pub type PacketId = NonZeroU16;

/// The largest Remaining Length the standard allows (section 1.5.5): 268,435,455 bytes.
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// A Control Packet of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Box<Connect>),
    Connack(Box<Connack>),
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Acknowledge(Acknowledge),
    Subscribe(Box<Subscribe>),
    Suback(Box<Suback>),
    Unsubscribe(Box<Unsubscribe>),
    Unsuback(Box<Unsuback>),
    Pingreq,
    Pingresp,
    Disconnect(Box<Disconnect>),
    Auth(Box<Auth>),
}

/// The Control Packet types of section 2.1.2; those of [`acknowledge::Kind`] stand there.
const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

impl Packet {
    /// Decodes one complete Control Packet. A CONNECT is decoded by its own Protocol Level, whatever `version` is.
    ///
    /// What is decoded shares the memory of `packet`.
    pub fn decode(version: Version, packet: Bytes) -> Result<Packet, DecodeError> {
        if packet.is_empty() {
            return Err(DecodeError::malformed("an empty packet"));
        }
        let (remaining, size) =
            primitive::peek_variable_byte_integer(&packet[1..])?.ok_or(DecodeError::malformed("the Remaining Length is cut"))?;
        if packet.len() - 1 - size != remaining as usize {
            return Err(DecodeError::malformed("the Remaining Length is not that of the packet"));
        }
        Packet::decode_first(version, &packet, (1 + size, packet.len()), None)
    }

    /// Decodes the Control Packet at the front of `bytes`, of which [`frame()`] found the sizes. `topic` is the Topic Name that a PUBLISH most
    /// likely has: that of the one before.
    ///
    /// What is decoded shares the memory of `bytes`.
    #[inline]
    pub fn decode_first(
        version: Version,
        bytes: &Bytes,
        (header, total): (usize, usize),
        topic: Option<&ByteString>,
    ) -> Result<Packet, DecodeError> {
        let reader = Reader::within(bytes, header, total);
        let (packet_type, flags) = (bytes[0] >> 4, bytes[0] & 0x0F);
        if packet_type == PUBLISH {
            return Publish::decode(version, flags, reader, topic).map(Packet::Publish);
        }
        if let Some(kind) = acknowledge::Kind::from_type(packet_type) {
            check_flags(version, packet_type, flags)?;
            return Acknowledge::decode(version, kind, reader).map(Packet::Acknowledge);
        }
        Packet::decode_other(version, packet_type, flags, reader)
    }

    fn decode_other(version: Version, packet_type: u8, flags: u8, reader: Reader<'_>) -> Result<Packet, DecodeError> {
        check_flags(version, packet_type, flags)?;
        Ok(match packet_type {
            CONNECT => Packet::Connect(Box::new(Connect::decode(reader)?)),
            CONNACK => Packet::Connack(Box::new(Connack::decode(version, reader)?)),
            SUBSCRIBE => Packet::Subscribe(Box::new(Subscribe::decode(version, reader)?)),
            SUBACK => Packet::Suback(Box::new(Suback::decode(version, reader)?)),
            UNSUBSCRIBE => Packet::Unsubscribe(Box::new(Unsubscribe::decode(version, reader)?)),
            UNSUBACK => Packet::Unsuback(Box::new(Unsuback::decode(version, reader)?)),
            PINGREQ => reader.finish().map(|()| Packet::Pingreq)?,
            PINGRESP => reader.finish().map(|()| Packet::Pingresp)?,
            DISCONNECT => Packet::Disconnect(Box::new(Disconnect::decode(version, reader)?)),
            AUTH if version == Version::V5 => Packet::Auth(Box::new(Auth::decode(reader)?)),
            _ => return Err(DecodeError::malformed("a reserved Control Packet type")),
        })
    }

    /// Encodes the packet; a CONNECT in the layout of its own version.
    ///
    /// Nothing is written for what the version does not have: an AUTH, or a DISCONNECT that is no Normal disconnection, in 3.1 and
    /// 3.1.1 (their Server just closes the Network Connection). Nor for a packet above [`REMAINING_LENGTH_MAX`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) {
        if let Packet::Publish(publish) = self {
            return publish.encode(version, out);
        }
        if let Packet::Acknowledge(acknowledge) = self
            && let Some((bytes, size)) = acknowledge.short(version)
        {
            return out.extend_from_slice(&bytes[..size]);
        }
        let Some(remaining) = self.remaining_length(version) else { return };
        out.reserve(1 + 4 + remaining);
        let mut writer = Writer::new(out);
        writer.u8(self.first_byte());
        writer.variable_byte_integer(remaining);
        self.write(version, &mut writer);
    }

    /// The size of what [`Packet::encode`] writes.
    pub fn encoded_len(&self, version: Version) -> usize {
        if let Packet::Publish(publish) = self {
            return publish.encoded_len(version);
        }
        self.remaining_length(version).map_or(0, |remaining| 1 + primitive::variable_byte_integer(remaining).1 + remaining)
    }

    /// Encodes the packet if it is not larger than the receiver's Maximum Packet Size. From an answer that would be, Reason String
    /// and User Properties are dropped first [MQTT-3.2.2-19], [MQTT-3.2.2-20] and their like. `false`: nothing is written.
    pub fn encode_within(&self, version: Version, maximum: u32, out: &mut BytesMut) -> bool {
        if self.fits(version, maximum) {
            self.encode(version, out);
            return true;
        }
        let Some(shorter) = self.without_explanation().filter(|packet| packet.fits(version, maximum)) else { return false };
        shorter.encode(version, out);
        true
    }

    fn fits(&self, version: Version, maximum: u32) -> bool {
        let length = self.encoded_len(version);
        self.is_absent(version) || (length > 0 && length <= maximum as usize)
    }

    /// The packet without Reason String and User Properties, where they only explain and may be dropped.
    fn without_explanation(&self) -> Option<Packet> {
        let mut packet = self.clone();
        match &mut packet {
            Packet::Connack(connack) => {
                connack.properties.reason_string = None;
                connack.properties.user_properties.clear();
            }
            Packet::Acknowledge(acknowledge) => acknowledge.properties = None,
            Packet::Suback(suback) => suback.properties = None,
            Packet::Unsuback(unsuback) => unsuback.properties = None,
            Packet::Disconnect(disconnect) => {
                disconnect.reason_string = None;
                disconnect.user_properties.clear();
            }
            Packet::Auth(auth) => {
                auth.reason_string = None;
                auth.user_properties.clear();
            }
            _ => return None,
        }
        Some(packet)
    }

    /// Whether the version does not have this packet: see [`Packet::encode`].
    fn is_absent(&self, version: Version) -> bool {
        match self {
            Packet::Auth(_) => version != Version::V5,
            Packet::Disconnect(disconnect) => version != Version::V5 && disconnect.reason != Reason::SUCCESS,
            _ => false,
        }
    }

    /// `None` when there is nothing to write.
    fn remaining_length(&self, version: Version) -> Option<usize> {
        if self.is_absent(version) {
            return None;
        }
        let remaining = Writer::measure(|writer| self.write(version, writer));
        (remaining <= REMAINING_LENGTH_MAX as usize).then_some(remaining)
    }

    /// Packet type and reserved flags (section 2.1.3). Not for a PUBLISH, whose flags say something.
    fn first_byte(&self) -> u8 {
        let packet_type = match self {
            Packet::Connect(_) => CONNECT,
            Packet::Connack(_) => CONNACK,
            Packet::Publish(_) => PUBLISH,
            Packet::Acknowledge(acknowledge) => acknowledge.kind as u8,
            Packet::Subscribe(_) => SUBSCRIBE,
            Packet::Suback(_) => SUBACK,
            Packet::Unsubscribe(_) => UNSUBSCRIBE,
            Packet::Unsuback(_) => UNSUBACK,
            Packet::Pingreq => PINGREQ,
            Packet::Pingresp => PINGRESP,
            Packet::Disconnect(_) => DISCONNECT,
            Packet::Auth(_) => AUTH,
        };
        packet_type << 4 | reserved_flags(packet_type)
    }

    /// Variable Header and Payload. A PUBLISH goes another way.
    fn write(&self, version: Version, writer: &mut Writer<'_>) {
        match self {
            Packet::Connect(connect) => connect.write(writer),
            Packet::Connack(connack) => connack.write(version, writer),
            Packet::Acknowledge(acknowledge) => acknowledge.write(version, writer),
            Packet::Subscribe(subscribe) => subscribe.write(version, writer),
            Packet::Suback(suback) => suback.write(version, writer),
            Packet::Unsubscribe(unsubscribe) => unsubscribe.write(version, writer),
            Packet::Unsuback(unsuback) => unsuback.write(version, writer),
            Packet::Disconnect(disconnect) => disconnect.write(version, writer),
            Packet::Auth(auth) => auth.write(writer),
            Packet::Publish(_) | Packet::Pingreq | Packet::Pingresp => {}
        }
    }
}

const fn reserved_flags(packet_type: u8) -> u8 {
    const PUBREL: u8 = acknowledge::Kind::Pubrel as u8;
    match packet_type {
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        _ => 0,
    }
}

/// [MQTT-2.1.3-1] reserved flags have the values of the table in section 2.1.3.
fn check_flags(version: Version, packet_type: u8, flags: u8) -> Result<(), DecodeError> {
    let reserved = reserved_flags(packet_type);
    // In 3.1 these three have a real QoS of 1, and DUP when they are sent again (3.1 section 2.1).
    let flags = if version == Version::V3_1 && reserved != 0 { flags & !0b1000 } else { flags };
    if flags == reserved { Ok(()) } else { Err(DecodeError::malformed("wrong flags in the Fixed Header")) }
}
