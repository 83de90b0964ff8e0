//! PUBLISH (MQTT 5.0 section 3.3).

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::primitive::{DecodeError, Reader, Writer, variable_byte_integer};
use super::property::{self, UserProperties, id};
use super::{PacketId, QoS, REMAINING_LENGTH_MAX, Version};

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

impl PublishProperties {
    /// The same properties in memory of their own, not as slices of the buffer that they were read into.
    pub fn compact(&self) -> PublishProperties {
        let text = |text: &ByteString| ByteString::from(text.to_string());
        PublishProperties {
            response_topic: self.response_topic.as_ref().map(text),
            correlation_data: self.correlation_data.as_deref().map(Bytes::copy_from_slice),
            subscription_ids: self.subscription_ids.clone(),
            content_type: self.content_type.as_ref().map(text),
            user_properties: self.user_properties.iter().map(|(name, value)| (text(name), text(value))).collect(),
            ..*self
        }
    }

    /// Bytes of text and data in them.
    pub fn size(&self) -> usize {
        let text = |text: &Option<ByteString>| text.as_ref().map_or(0, |text| text.len());
        let user: usize = self.user_properties.iter().map(|(name, value)| name.len() + value.len()).sum();
        user + text(&self.response_topic) + text(&self.content_type) + self.correlation_data.as_ref().map_or(0, Bytes::len)
    }
}

/// The fixed part of a PUBLISH as it goes to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub version: Version,
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
/// From `properties` everything but Message Expiry, alias and identifiers is written; those come from `own`. For 3.1 and 3.1.1 no
/// properties are written. A packet that MQTT cannot express (a Topic Name above 65,535 bytes, a Remaining Length above the
/// standard's maximum) is not written at all.
#[inline]
pub fn encode_parts(
    out: &mut BytesMut,
    head: Head,
    topic: &str,
    properties: Option<&PublishProperties>,
    own: &OwnProperties<'_>,
    payload: &[u8],
) {
    debug_assert_eq!(head.packet_id.is_some(), head.qos != QoS::AtMostOnce, "a Packet Identifier goes with QoS 1 and 2 [MQTT-2.2.1-2]");
    let length = Length::of(head, topic, properties, own, payload);
    if !length.is_possible(topic) {
        return;
    }
    out.reserve(1 + 4 + length.remaining);

    // Small fields are gathered, so that a packet without properties is four copies.
    let mut start = [0; 7];
    start[0] = head.first_byte();
    let (bytes, size) = variable_byte_integer(length.remaining);
    start[1..5].copy_from_slice(&bytes);
    start[1 + size..3 + size].copy_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(&start[..3 + size]);
    out.extend_from_slice(topic.as_bytes());
    if let Some(packet_id) = head.packet_id {
        out.extend_from_slice(&packet_id.get().to_be_bytes());
    }
    if let Some(properties_length) = length.properties {
        let (bytes, size) = variable_byte_integer(properties_length);
        out.extend_from_slice(&bytes[..size]);
        if properties_length > 0 {
            write_properties(properties, own, &mut Writer::new(out));
        }
    }
    out.extend_from_slice(payload);
}

/// The size of the packet that [`encode_parts`] writes with the same arguments, to hold against a Maximum Packet Size.
#[inline]
pub fn encoded_len(head: Head, topic: &str, properties: Option<&PublishProperties>, own: &OwnProperties<'_>, payload: &[u8]) -> usize {
    let length = Length::of(head, topic, properties, own, payload);
    if length.is_possible(topic) { 1 + variable_byte_integer(length.remaining).1 + length.remaining } else { 0 }
}

struct Length {
    remaining: usize,
    /// The Property Length; `None` where the version has none.
    properties: Option<usize>,
}

impl Length {
    #[inline]
    fn of(head: Head, topic: &str, properties: Option<&PublishProperties>, own: &OwnProperties<'_>, payload: &[u8]) -> Length {
        let mut remaining = 2 + topic.len() + if head.packet_id.is_some() { 2 } else { 0 } + payload.len();
        if head.version != Version::V5 {
            return Length { remaining, properties: None };
        }
        let properties = if properties.is_none() && own.is_empty() { 0 } else { properties_length(properties, own) };
        if properties > REMAINING_LENGTH_MAX as usize {
            return Length { remaining: properties, properties: Some(properties) };
        }
        remaining += variable_byte_integer(properties).1 + properties;
        Length { remaining, properties: Some(properties) }
    }

    #[inline]
    fn is_possible(&self, topic: &str) -> bool {
        topic.len() <= usize::from(u16::MAX) && self.remaining <= REMAINING_LENGTH_MAX as usize
    }
}

fn properties_length(properties: Option<&PublishProperties>, own: &OwnProperties<'_>) -> usize {
    Writer::measure(|writer| write_properties(properties, own, writer))
}

/// The properties without their Property Length; what belongs to the destination comes from `own`.
pub(super) fn write_properties(properties: Option<&PublishProperties>, own: &OwnProperties<'_>, writer: &mut Writer<'_>) {
    writer.u32_property(id::MESSAGE_EXPIRY_INTERVAL, own.message_expiry_s);
    writer.u16_property(id::TOPIC_ALIAS, own.topic_alias);
    for &subscription_id in own.subscription_ids {
        writer.subscription_id_property(subscription_id);
    }
    let Some(properties) = properties else { return };
    writer.flag_property(id::PAYLOAD_FORMAT_INDICATOR, properties.payload_is_utf8);
    writer.string_property(id::CONTENT_TYPE, properties.content_type.as_ref());
    writer.string_property(id::RESPONSE_TOPIC, properties.response_topic.as_ref());
    writer.binary_property(id::CORRELATION_DATA, properties.correlation_data.as_ref());
    writer.user_properties(&properties.user_properties);
}

impl Head {
    #[inline]
    const fn first_byte(self) -> u8 {
        3 << 4 | (self.dup as u8) << 3 | (self.qos as u8) << 1 | self.retain as u8
    }
}

impl OwnProperties<'_> {
    #[inline]
    const fn is_empty(&self) -> bool {
        self.message_expiry_s.is_none() && self.topic_alias.is_none() && self.subscription_ids.is_empty()
    }
}

impl Publish {
    /// `flags` are the lower four bits of the packet's first byte; `topic` is its Topic Name, as is most likely. One pass; nothing is copied,
    /// and nothing allocated without properties.
    #[inline]
    pub(super) fn decode(version: Version, flags: u8, mut reader: Reader<'_>, topic: Option<&ByteString>) -> Result<Publish, DecodeError> {
        // [MQTT-3.3.1-4]
        let qos = QoS::from_bits(flags >> 1 & 0x03).ok_or(DecodeError::malformed("the QoS is 3"))?;
        let dup = flags & 0x08 != 0;
        // [MQTT-3.3.1-2]
        if dup && qos == QoS::AtMostOnce {
            return Err(DecodeError::malformed("DUP at QoS 0"));
        }
        let topic = reader.string_again(topic)?;
        // [MQTT-2.2.1-2]
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties = if version == Version::V5 { PublishProperties::decode(&mut reader)? } else { None };
        Ok(Publish { dup, qos, retain: flags & 0x01 != 0, topic, packet_id, properties, payload: reader.rest() })
    }

    pub(super) fn encode(&self, version: Version, out: &mut BytesMut) {
        encode_parts(out, self.head(version), &self.topic, self.properties.as_deref(), &self.own(), &self.payload);
    }

    pub(super) fn encoded_len(&self, version: Version) -> usize {
        encoded_len(self.head(version), &self.topic, self.properties.as_deref(), &self.own(), &self.payload)
    }

    fn head(&self, version: Version) -> Head {
        Head { version, qos: self.qos, packet_id: self.packet_id, dup: self.dup, retain: self.retain }
    }

    fn own(&self) -> OwnProperties<'_> {
        self.properties.as_deref().map_or_else(OwnProperties::default, |properties| OwnProperties {
            message_expiry_s: properties.message_expiry_s,
            topic_alias: properties.topic_alias,
            subscription_ids: &properties.subscription_ids,
        })
    }
}

impl PublishProperties {
    pub fn is_empty(&self) -> bool {
        *self == PublishProperties::default()
    }

    /// Appends the properties with their Property Length as a PUBLISH has them, but without those that belong to one destination or moment:
    /// Message Expiry Interval, Topic Alias, Subscription Identifiers. `None` is a length of zero.
    pub fn encode(properties: Option<&PublishProperties>, out: &mut BytesMut) {
        Writer::new(out).properties(|writer| write_properties(properties, &OwnProperties::default(), writer));
    }

    /// Takes properties with their Property Length from the front of `bytes`.
    pub fn take(bytes: &mut Bytes) -> Result<Option<Box<PublishProperties>>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let properties = PublishProperties::decode(&mut reader)?;
        *bytes = reader.rest();
        Ok(properties)
    }

    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Option<Box<PublishProperties>>, DecodeError> {
        if reader.skip_zero() { Ok(None) } else { PublishProperties::decode_all(reader) }
    }

    fn decode_all(reader: &mut Reader<'_>) -> Result<Option<Box<PublishProperties>>, DecodeError> {
        let mut properties = Box::<PublishProperties>::default();
        property::each(reader, |identifier, value| properties.decode_one(identifier, value))?;
        Ok(if properties.is_empty() { None } else { Some(properties) })
    }

    /// Takes one property's value. That only a Server may send a Subscription Identifier [MQTT-3.3.4-6] is the session's matter.
    pub(super) fn decode_one(&mut self, identifier: u32, value: &mut Reader<'_>) -> Result<(), DecodeError> {
        use property::once;
        match identifier {
            id::PAYLOAD_FORMAT_INDICATOR => once(&mut self.payload_is_utf8, value.flag()?),
            id::MESSAGE_EXPIRY_INTERVAL => once(&mut self.message_expiry_s, value.u32()?),
            id::TOPIC_ALIAS => once(&mut self.topic_alias, value.topic_alias()?),
            id::RESPONSE_TOPIC => once(&mut self.response_topic, value.string()?),
            id::CORRELATION_DATA => once(&mut self.correlation_data, value.binary()?),
            id::SUBSCRIPTION_IDENTIFIER => {
                self.subscription_ids.push(value.subscription_id()?);
                Ok(())
            }
            id::CONTENT_TYPE => once(&mut self.content_type, value.string()?),
            id::USER_PROPERTY => property::user(&mut self.user_properties, value),
            _ => Err(property::not_allowed()),
        }
    }
}
