//! PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5.0 sections 3.4 to 3.7): one shape, four types.

use bytestring::ByteString;

use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::reason::Reason;
use super::{PacketId, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    pub kind: Kind,
    pub packet_id: PacketId,
    pub reason: Reason,
    pub properties: Option<Box<AcknowledgeProperties>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcknowledgeProperties {
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
}

impl Kind {
    #[inline]
    pub(super) const fn from_type(packet_type: u8) -> Option<Kind> {
        match packet_type {
            4 => Some(Kind::Puback),
            5 => Some(Kind::Pubrec),
            6 => Some(Kind::Pubrel),
            7 => Some(Kind::Pubcomp),
            _ => None,
        }
    }

    /// The Reason Codes of sections 3.4.2.1, 3.5.2.1, 3.6.2.1 and 3.7.2.1.
    const fn reasons(self) -> &'static [Reason] {
        match self {
            Kind::Puback | Kind::Pubrec => &[
                Reason::SUCCESS,
                Reason::NO_MATCHING_SUBSCRIBERS,
                Reason::UNSPECIFIED_ERROR,
                Reason::IMPLEMENTATION_SPECIFIC_ERROR,
                Reason::NOT_AUTHORIZED,
                Reason::TOPIC_NAME_INVALID,
                Reason::PACKET_IDENTIFIER_IN_USE,
                Reason::QUOTA_EXCEEDED,
                Reason::PAYLOAD_FORMAT_INVALID,
            ],
            Kind::Pubrel | Kind::Pubcomp => &[Reason::SUCCESS, Reason::PACKET_IDENTIFIER_NOT_FOUND],
        }
    }
}

impl Acknowledge {
    #[inline]
    pub(super) fn decode(version: Version, kind: Kind, mut reader: Reader<'_>) -> Result<Acknowledge, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut acknowledge = Acknowledge { kind, packet_id, reason: Reason::SUCCESS, properties: None };
        // A Remaining Length of 2 stands for Success, one below 4 for no properties (section 3.4.2.1). 3.1.1 has no other form.
        if version == Version::V5 && !reader.is_empty() {
            acknowledge.reason = reader.reason(kind.reasons())?;
            if !reader.is_empty() {
                acknowledge.properties = AcknowledgeProperties::decode(&mut reader)?;
            }
        }
        reader.finish()?;
        Ok(acknowledge)
    }

    /// The whole packet where it has no properties, and how many of its bytes count: by far the most common of the Server's.
    #[inline]
    pub(super) fn short(&self, version: Version) -> Option<([u8; 5], usize)> {
        if self.properties.is_some() {
            return None;
        }
        let with_reason = version == Version::V5 && self.reason != Reason::SUCCESS;
        let [high, low] = self.packet_id.get().to_be_bytes();
        let first = (self.kind as u8) << 4 | super::reserved_flags(self.kind as u8);
        Some(([first, 2 + u8::from(with_reason), high, low, self.reason.0], 4 + usize::from(with_reason)))
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        writer.u16(self.packet_id.get());
        let properties = self.properties.as_deref().filter(|properties| !properties.is_empty());
        if version != Version::V5 || (self.reason == Reason::SUCCESS && properties.is_none()) {
            return;
        }
        writer.u8(self.reason.0);
        if let Some(properties) = properties {
            AcknowledgeProperties::write(Some(properties), writer);
        }
    }
}

impl AcknowledgeProperties {
    pub fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }

    /// The two properties of every answer, `None` when neither stands there.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Option<Box<AcknowledgeProperties>>, DecodeError> {
        let mut properties = AcknowledgeProperties::default();
        property::each(reader, |identifier, value| match identifier {
            id::REASON_STRING => property::once(&mut properties.reason_string, value.string()?),
            id::USER_PROPERTY => property::user(&mut properties.user_properties, value),
            _ => Err(property::not_allowed()),
        })?;
        Ok(if properties.is_empty() { None } else { Some(Box::new(properties)) })
    }

    /// Writes the Property Length in any case.
    pub(super) fn write(properties: Option<&AcknowledgeProperties>, writer: &mut Writer<'_>) {
        writer.properties(|writer| {
            if let Some(properties) = properties {
                writer.string_property(id::REASON_STRING, properties.reason_string.as_ref());
                writer.user_properties(&properties.user_properties);
            }
        });
    }
}
