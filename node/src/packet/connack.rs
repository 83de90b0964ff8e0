//! CONNACK (MQTT 5.0 section 3.2).

use bytes::Bytes;
use bytestring::ByteString;

use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::reason::Reason;
use super::{QoS, Version};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    pub session_present: bool,
    /// Encoded as the nearest 3.1.1 return code for older clients.
    pub reason: Reason,
    pub properties: ConnackProperties,
}

/// Properties of CONNACK (section 3.2.2.3). `None` is "not sent".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnackProperties {
    pub session_expiry_s: Option<u32>,
    pub receive_maximum: Option<u16>,
    /// Only 0 or 1 may be sent; absence means 2.
    pub maximum_qos: Option<QoS>,
    pub retain_available: Option<bool>,
    pub maximum_packet_size: Option<u32>,
    pub assigned_client_id: Option<ByteString>,
    pub topic_alias_maximum: Option<u16>,
    pub reason_string: Option<ByteString>,
    pub wildcard_subscription_available: Option<bool>,
    pub subscription_ids_available: Option<bool>,
    pub shared_subscription_available: Option<bool>,
    pub server_keep_alive_s: Option<u16>,
    pub response_information: Option<ByteString>,
    pub server_reference: Option<ByteString>,
    pub authentication_method: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
    pub user_properties: UserProperties,
}

/// The Reason Codes of section 3.2.2.2.
const REASONS: &[Reason] = &[
    Reason::SUCCESS,
    Reason::UNSPECIFIED_ERROR,
    Reason::MALFORMED_PACKET,
    Reason::PROTOCOL_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::UNSUPPORTED_PROTOCOL_VERSION,
    Reason::CLIENT_IDENTIFIER_NOT_VALID,
    Reason::BAD_USER_NAME_OR_PASSWORD,
    Reason::NOT_AUTHORIZED,
    Reason::SERVER_UNAVAILABLE,
    Reason::SERVER_BUSY,
    Reason::BANNED,
    Reason::BAD_AUTHENTICATION_METHOD,
    Reason::TOPIC_NAME_INVALID,
    Reason::PACKET_TOO_LARGE,
    Reason::QUOTA_EXCEEDED,
    Reason::PAYLOAD_FORMAT_INVALID,
    Reason::RETAIN_NOT_SUPPORTED,
    Reason::QOS_NOT_SUPPORTED,
    Reason::USE_ANOTHER_SERVER,
    Reason::SERVER_MOVED,
    Reason::CONNECTION_RATE_EXCEEDED,
];

impl Connack {
    /// A CONNACK that refuses the connection and says no more than why.
    pub fn refusal(reason: Reason) -> Connack {
        Connack { session_present: false, reason, properties: ConnackProperties::default() }
    }

    pub(super) fn decode(version: Version, mut reader: Reader<'_>) -> Result<Connack, DecodeError> {
        // [MQTT-3.2.2-1] bits 7-1 of the Connect Acknowledge Flags are reserved; in 3.1 the whole byte says nothing.
        let session_present = match reader.u8()? {
            _ if version == Version::V3_1 => false,
            0 => false,
            1 => true,
            _ => return Err(DecodeError::malformed("reserved Connect Acknowledge Flags are set")),
        };
        let mut properties = ConnackProperties::default();
        let reason = if version == Version::V5 {
            let reason = reader.reason(REASONS)?;
            properties.decode(&mut reader)?;
            reason
        } else {
            Reason::from_v3_return_code(reader.u8()?).ok_or(DecodeError::protocol("a reserved Connect Return code"))?
        };
        // [MQTT-3.2.2-6] no Session Present beside a failure.
        if session_present && reason != Reason::SUCCESS {
            return Err(DecodeError::protocol("Session Present in a refusal"));
        }
        reader.finish()?;
        Ok(Connack { session_present, reason, properties })
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        // [MQTT-3.2.2-6] no Session Present beside a failure; in 3.1 the byte is reserved.
        let session_present = self.session_present && self.reason == Reason::SUCCESS && version != Version::V3_1;
        writer.u8(u8::from(session_present));
        if version == Version::V5 {
            writer.u8(self.reason.0);
            writer.properties(|writer| self.properties.write(writer));
        } else {
            writer.u8(self.reason.v3_return_code());
        }
    }
}

impl ConnackProperties {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        use property::once;
        property::each(reader, |identifier, value| match identifier {
            id::SESSION_EXPIRY_INTERVAL => once(&mut self.session_expiry_s, value.u32()?),
            id::RECEIVE_MAXIMUM => once(&mut self.receive_maximum, value.receive_maximum()?),
            id::MAXIMUM_QOS => once(&mut self.maximum_qos, if value.flag()? { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            id::RETAIN_AVAILABLE => once(&mut self.retain_available, value.flag()?),
            id::MAXIMUM_PACKET_SIZE => once(&mut self.maximum_packet_size, value.maximum_packet_size()?),
            id::ASSIGNED_CLIENT_IDENTIFIER => once(&mut self.assigned_client_id, value.string()?),
            id::TOPIC_ALIAS_MAXIMUM => once(&mut self.topic_alias_maximum, value.u16()?),
            id::REASON_STRING => once(&mut self.reason_string, value.string()?),
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => once(&mut self.wildcard_subscription_available, value.flag()?),
            id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE => once(&mut self.subscription_ids_available, value.flag()?),
            id::SHARED_SUBSCRIPTION_AVAILABLE => once(&mut self.shared_subscription_available, value.flag()?),
            id::SERVER_KEEP_ALIVE => once(&mut self.server_keep_alive_s, value.u16()?),
            id::RESPONSE_INFORMATION => once(&mut self.response_information, value.string()?),
            id::SERVER_REFERENCE => once(&mut self.server_reference, value.string()?),
            id::AUTHENTICATION_METHOD => once(&mut self.authentication_method, value.string()?),
            id::AUTHENTICATION_DATA => once(&mut self.authentication_data, value.binary()?),
            id::USER_PROPERTY => property::user(&mut self.user_properties, value),
            _ => Err(property::not_allowed()),
        })?;
        property::check_authentication(self.authentication_method.as_ref(), self.authentication_data.as_ref())
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_s);
        writer.u16_property(id::RECEIVE_MAXIMUM, self.receive_maximum);
        // Absence says 2, and 2 itself may not be sent (section 3.2.2.3.4).
        let maximum_qos = self.maximum_qos.filter(|&qos| qos != QoS::ExactlyOnce);
        writer.flag_property(id::MAXIMUM_QOS, maximum_qos.map(|qos| qos == QoS::AtLeastOnce));
        writer.flag_property(id::RETAIN_AVAILABLE, self.retain_available);
        writer.u32_property(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        writer.string_property(id::ASSIGNED_CLIENT_IDENTIFIER, self.assigned_client_id.as_ref());
        writer.u16_property(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        writer.string_property(id::REASON_STRING, self.reason_string.as_ref());
        writer.flag_property(id::WILDCARD_SUBSCRIPTION_AVAILABLE, self.wildcard_subscription_available);
        writer.flag_property(id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE, self.subscription_ids_available);
        writer.flag_property(id::SHARED_SUBSCRIPTION_AVAILABLE, self.shared_subscription_available);
        writer.u16_property(id::SERVER_KEEP_ALIVE, self.server_keep_alive_s);
        writer.string_property(id::RESPONSE_INFORMATION, self.response_information.as_ref());
        writer.string_property(id::SERVER_REFERENCE, self.server_reference.as_ref());
        writer.string_property(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        writer.binary_property(id::AUTHENTICATION_DATA, self.authentication_data.as_ref());
        writer.user_properties(&self.user_properties);
    }
}
