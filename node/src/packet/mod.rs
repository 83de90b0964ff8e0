//! MQTT Control Packets as values, for 3.1, 3.1.1 and 5.0. No I/O, reads no clock.
//!
//! One packet model for all versions: 3.1.1 is 5.0 without properties and with fewer codes, so [`Version`] is an argument of
//! encode and decode, never a type. Each packet has a file with its decode and encode side by side.

pub mod acknowledge;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod disconnect;
pub mod outgoing;
pub mod primitive;
pub mod property;
pub mod publish;
pub mod reason;
pub mod subscribe;
pub mod unsubscribe;

use std::num::NonZeroU16;

use acknowledge::Acknowledge;
use auth::Auth;
use connack::Connack;
use connect::Connect;
use disconnect::Disconnect;
use publish::Publish;
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
