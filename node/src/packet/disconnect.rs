//! DISCONNECT (MQTT 5.0 section 3.14).

use bytestring::ByteString;

use super::Version;
use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::reason::Reason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub reason: Reason,
    pub session_expiry_s: Option<u32>,
    pub reason_string: Option<ByteString>,
    pub server_reference: Option<ByteString>,
    pub user_properties: UserProperties,
}

/// The Reason Codes of section 3.14.2.1, and Bad authentication method, which only the table of section 2.4 names for DISCONNECT.
const REASONS: &[Reason] = &[
    Reason::SUCCESS,
    Reason::DISCONNECT_WITH_WILL,
    Reason::UNSPECIFIED_ERROR,
    Reason::MALFORMED_PACKET,
    Reason::PROTOCOL_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::NOT_AUTHORIZED,
    Reason::SERVER_BUSY,
    Reason::SERVER_SHUTTING_DOWN,
    Reason::BAD_AUTHENTICATION_METHOD,
    Reason::KEEP_ALIVE_TIMEOUT,
    Reason::SESSION_TAKEN_OVER,
    Reason::TOPIC_FILTER_INVALID,
    Reason::TOPIC_NAME_INVALID,
    Reason::RECEIVE_MAXIMUM_EXCEEDED,
    Reason::TOPIC_ALIAS_INVALID,
    Reason::PACKET_TOO_LARGE,
    Reason::MESSAGE_RATE_TOO_HIGH,
    Reason::QUOTA_EXCEEDED,
    Reason::ADMINISTRATIVE_ACTION,
    Reason::PAYLOAD_FORMAT_INVALID,
    Reason::RETAIN_NOT_SUPPORTED,
    Reason::QOS_NOT_SUPPORTED,
    Reason::USE_ANOTHER_SERVER,
    Reason::SERVER_MOVED,
    Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    Reason::CONNECTION_RATE_EXCEEDED,
    Reason::MAXIMUM_CONNECT_TIME,
    Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
];

impl Disconnect {
    /// A DISCONNECT that carries nothing but its Reason Code.
    pub const fn new(reason: Reason) -> Disconnect {
        Disconnect { reason, session_expiry_s: None, reason_string: None, server_reference: None, user_properties: Vec::new() }
    }

    pub(super) fn decode(version: Version, mut reader: Reader<'_>) -> Result<Disconnect, DecodeError> {
        let mut disconnect = Disconnect::new(Reason::SUCCESS);
        // A Remaining Length of 0 stands for Normal disconnection, of 1 for no properties (section 3.14.2). 3.1.1 has only the first.
        if version == Version::V5 && !reader.is_empty() {
            disconnect.reason = reader.reason(REASONS)?;
            if !reader.is_empty() {
                disconnect.decode_properties(&mut reader)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    fn decode_properties(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        property::each(reader, |identifier, value| match identifier {
            id::SESSION_EXPIRY_INTERVAL => property::once(&mut self.session_expiry_s, value.u32()?),
            id::REASON_STRING => property::once(&mut self.reason_string, value.string()?),
            id::SERVER_REFERENCE => property::once(&mut self.server_reference, value.string()?),
            id::USER_PROPERTY => property::user(&mut self.user_properties, value),
            _ => Err(property::not_allowed()),
        })
    }

    pub(super) fn write(&self, version: Version, writer: &mut Writer<'_>) {
        let bare = self.session_expiry_s.is_none()
            && self.reason_string.is_none()
            && self.server_reference.is_none()
            && self.user_properties.is_empty();
        if version != Version::V5 || (self.reason == Reason::SUCCESS && bare) {
            return;
        }
        writer.u8(self.reason.0);
        if bare {
            return;
        }
        writer.properties(|writer| {
            writer.u32_property(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_s);
            writer.string_property(id::REASON_STRING, self.reason_string.as_ref());
            writer.string_property(id::SERVER_REFERENCE, self.server_reference.as_ref());
            writer.user_properties(&self.user_properties);
        });
    }
}
