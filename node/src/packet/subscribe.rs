//! SUBSCRIBE and SUBACK (MQTT 5.0 sections 3.8 and 3.9).

use bytestring::ByteString;

use super::acknowledge::AcknowledgeProperties;
use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::reason::Reason;
use super::{PacketId, QoS, Version};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: PacketId,
    pub subscription_id: Option<u32>,
    pub user_properties: UserProperties,
    /// Never empty. The filter's form is the session's matter: a bad filter is one SUBACK code, not a broken stream.
    pub filters: Vec<(ByteString, SubscriptionOptions)>,
}

/// Subscription Options (section 3.8.3.1); 3.1.1 has only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send = 0,
    SendIfNew = 1,
    DoNotSend = 2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    pub packet_id: PacketId,
    pub properties: Option<Box<AcknowledgeProperties>>,
    pub reasons: Vec<Reason>,
}

/// The Reason Codes of section 3.9.3.
const REASONS: &[Reason] = &[
    Reason::SUCCESS,
    Reason::GRANTED_QOS_1,
    Reason::GRANTED_QOS_2,
    Reason::UNSPECIFIED_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_FILTER_INVALID,
    Reason::PACKET_IDENTIFIER_IN_USE,
    Reason::QUOTA_EXCEEDED,
    Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
];

/// The codes of 3.1.1 section 3.9.3. 3.1 has no failure at all; what it would make of 0x80 is its own matter, silence is worse.
const REASONS_V3: &[Reason] = &[Reason::SUCCESS, Reason::GRANTED_QOS_1, Reason::GRANTED_QOS_2, Reason::UNSPECIFIED_ERROR];

impl Subscribe {
    pub(super) fn decode(version: Version, mut reader: Reader<'_>) -> Result<Subscribe, DecodeError> {
        let packet_id = reader.packet_id()?;
        let (mut subscription_id, mut user_properties) = (None, UserProperties::new());
        if version == Version::V5 {
            property::each(&mut reader, |identifier, value| match identifier {
                id::SUBSCRIPTION_IDENTIFIER => property::once(&mut subscription_id, value.subscription_id()?),
                id::USER_PROPERTY => property::user(&mut user_properties, value),
                _ => Err(property::not_allowed()),
            })?;
        }
        // [MQTT-3.8.3-2]
        if reader.is_empty() {
            return Err(DecodeError::protocol("SUBSCRIBE without a Topic Filter"));
        }
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push((reader.string()?, SubscriptionOptions::from_bits(version, reader.u8()?)?));
        }
        Ok(Subscribe { packet_id, subscription_id, user_properties, filters })
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        writer.u16(self.packet_id.get());
        if version == Version::V5 {
            writer.properties(|writer| {
                if let Some(subscription_id) = self.subscription_id {
                    writer.subscription_id_property(subscription_id);
                }
                writer.user_properties(&self.user_properties);
            });
        }
        for (filter, options) in &self.filters {
            writer.string(filter);
            writer.u8(if version == Version::V5 { options.bits() } else { options.qos as u8 });
        }
    }
}

impl SubscriptionOptions {
    /// Takes the options byte apart (section 3.8.3.1).
    pub fn from_bits(version: Version, bits: u8) -> Result<SubscriptionOptions, DecodeError> {
        // 5.0 [MQTT-3.8.3-5], 3.1.1 [v3:MQTT-3.8.3-4]
        let reserved = if version == Version::V5 { 0xC0 } else { 0xFC };
        if bits & reserved != 0 {
            return Err(DecodeError::malformed("reserved Subscription Options are set"));
        }
        // Section 3.8.3.1 calls it a Protocol Error; 3.1.1 counts it among the reserved bits.
        let qos = QoS::from_bits(bits & 0x03).ok_or(DecodeError::protocol("the Maximum QoS is 3"))?;
        let retain_handling = match bits >> 4 & 0x03 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::protocol("the Retain Handling is 3")),
        };
        Ok(SubscriptionOptions { qos, no_local: bits & 0x04 != 0, retain_as_published: bits & 0x08 != 0, retain_handling })
    }

    /// The options byte of 5.0.
    pub fn bits(self) -> u8 {
        self.qos as u8 | u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3 | (self.retain_handling as u8) << 4
    }
}

impl Suback {
    pub(super) fn decode(version: Version, mut reader: Reader<'_>) -> Result<Suback, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties = if version == Version::V5 { AcknowledgeProperties::decode(&mut reader)? } else { None };
        let allowed = if version == Version::V5 { REASONS } else { REASONS_V3 };
        let reasons = decode_reasons(&mut reader, allowed)?;
        Ok(Suback { packet_id, properties, reasons })
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        writer.u16(self.packet_id.get());
        if version == Version::V5 {
            AcknowledgeProperties::write(self.properties.as_deref(), writer);
        }
        for &reason in &self.reasons {
            let only_failure = version != Version::V5 && reason.is_error();
            writer.u8(if only_failure { Reason::UNSPECIFIED_ERROR.0 } else { reason.0 });
        }
    }
}

/// The payload of SUBACK and UNSUBACK: one code for each filter, and there is no request without a filter.
pub(super) fn decode_reasons(reader: &mut Reader<'_>, allowed: &[Reason]) -> Result<Vec<Reason>, DecodeError> {
    if reader.is_empty() {
        return Err(DecodeError::protocol("an answer without Reason Codes"));
    }
    let mut reasons = Vec::with_capacity(reader.len());
    while !reader.is_empty() {
        reasons.push(reader.reason(allowed)?);
    }
    Ok(reasons)
}
