//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.10 and 3.11).

use bytestring::ByteString;

use super::acknowledge::AcknowledgeProperties;
use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::reason::Reason;
use super::subscribe::decode_reasons;
use super::{PacketId, Version};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    pub packet_id: PacketId,
    pub user_properties: UserProperties,
    /// Never empty.
    pub filters: Vec<ByteString>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback {
    pub packet_id: PacketId,
    pub properties: Option<Box<AcknowledgeProperties>>,
    /// One for each filter; not encoded for 3.1.1.
    pub reasons: Vec<Reason>,
}

/// The Reason Codes of section 3.11.3.
const REASONS: &[Reason] = &[
    Reason::SUCCESS,
    Reason::NO_SUBSCRIPTION_EXISTED,
    Reason::UNSPECIFIED_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_FILTER_INVALID,
    Reason::PACKET_IDENTIFIER_IN_USE,
];

impl Unsubscribe {
    pub(super) fn decode(version: Version, mut reader: Reader<'_>) -> Result<Unsubscribe, DecodeError> {
        let packet_id = reader.packet_id()?;
        let mut user_properties = UserProperties::new();
        if version == Version::V5 {
            property::each(&mut reader, |identifier, value| match identifier {
                id::USER_PROPERTY => property::user(&mut user_properties, value),
                _ => Err(property::not_allowed()),
            })?;
        }
        // [MQTT-3.10.3-2]
        if reader.is_empty() {
            return Err(DecodeError::protocol("UNSUBSCRIBE without a Topic Filter"));
        }
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push(reader.string()?);
        }
        Ok(Unsubscribe { packet_id, user_properties, filters })
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        writer.u16(self.packet_id.get());
        if version == Version::V5 {
            writer.properties(|writer| writer.user_properties(&self.user_properties));
        }
        for filter in &self.filters {
            writer.string(filter);
        }
    }
}

impl Unsuback {
    /// `reasons` stays empty for 3.1 and 3.1.1, which have no payload here.
    pub(super) fn decode(version: Version, mut reader: Reader<'_>) -> Result<Unsuback, DecodeError> {
        let packet_id = reader.packet_id()?;
        let (mut properties, mut reasons) = (None, Vec::new());
        if version == Version::V5 {
            properties = AcknowledgeProperties::decode(&mut reader)?;
            reasons = decode_reasons(&mut reader, REASONS)?;
        }
        reader.finish()?;
        Ok(Unsuback { packet_id, properties, reasons })
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        writer.u16(self.packet_id.get());
        if version == Version::V5 {
            AcknowledgeProperties::write(self.properties.as_deref(), writer);
            for reason in &self.reasons {
                writer.u8(reason.0);
            }
        }
    }
}
