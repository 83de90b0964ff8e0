//! PUBLISH (MQTT 5.0 section 3.3).

use bytes::Bytes;
use bytestring::ByteString;

use super::property::UserProperties;
use super::{PacketId, QoS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// May be empty when a Topic Alias stands for it. UTF-8 without U+0000 is checked by decode; wildcards are the session's matter.
    pub topic: ByteString,
    /// Present exactly when `qos` is 1 or 2.
    pub packet_id: Option<PacketId>,
    /// `None` when the packet has no properties: the usual case costs one null pointer.
    pub properties: Option<Box<PublishProperties>>,
    pub payload: Bytes,
}

/// The properties of a PUBLISH (section 3.3.2.3) and, but for the alias and the identifiers, of a Will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// Payload Format Indicator: `Some(true)` says that the payload is UTF-8.
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval in seconds.
    pub message_expiry_s: Option<u32>,
    pub topic_alias: Option<u16>,
    pub response_topic: Option<ByteString>,
    pub correlation_data: Option<Bytes>,
    /// Only from Server to Client.
    pub subscription_ids: Vec<u32>,
    pub content_type: Option<ByteString>,
    pub user_properties: UserProperties,
}

/// The fixed part of a PUBLISH as it goes to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub version: super::Version,
    pub qos: QoS,
    pub packet_id: Option<PacketId>,
    pub dup: bool,
    pub retain: bool,
}

/// Properties that belong to one destination or moment, written beside those of the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnProperties<'a> {
    pub message_expiry_s: Option<u32>,
    pub topic_alias: Option<u16>,
    pub subscription_ids: &'a [u32],
}

/// Encodes a PUBLISH from its parts, without building a [`Publish`]: the path of every delivery.
///
/// From `properties` everything but Message Expiry, alias and identifiers is written; those come from `own`. For 3.1 and 3.1.1 no properties are written.
pub fn encode_parts(_out: &mut bytes::BytesMut, _head: Head, _topic: &str, _properties: Option<&PublishProperties>, _own: &OwnProperties<'_>, _payload: &[u8]) {
    todo!()
}
