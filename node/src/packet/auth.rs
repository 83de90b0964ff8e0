//! AUTH (MQTT 5.0 section 3.15).

use bytes::Bytes;
use bytestring::ByteString;

use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::reason::Reason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub reason: Reason,
    pub method: Option<ByteString>,
    pub data: Option<Bytes>,
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
}

/// The Reason Codes of section 3.15.2.1.
const REASONS: &[Reason] = &[Reason::SUCCESS, Reason::CONTINUE_AUTHENTICATION, Reason::RE_AUTHENTICATE];

impl Auth {
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Auth, DecodeError> {
        let mut auth = Auth { reason: Reason::SUCCESS, method: None, data: None, reason_string: None, user_properties: Vec::new() };
        // A Remaining Length of 0 stands for Success without properties (section 3.15.2.1).
        if reader.is_empty() {
            return Ok(auth);
        }
        auth.reason = reader.reason(REASONS)?;
        property::each(&mut reader, |identifier, value| match identifier {
            id::AUTHENTICATION_METHOD => property::once(&mut auth.method, value.string()?),
            id::AUTHENTICATION_DATA => property::once(&mut auth.data, value.binary()?),
            id::REASON_STRING => property::once(&mut auth.reason_string, value.string()?),
            id::USER_PROPERTY => property::user(&mut auth.user_properties, value),
            _ => Err(property::not_allowed()),
        })?;
        // Section 3.15.2.2.2: to omit the method is a Protocol Error.
        if auth.method.is_none() {
            return Err(DecodeError::protocol("AUTH without an Authentication Method"));
        }
        reader.finish()?;
        Ok(auth)
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        let bare = self.method.is_none() && self.data.is_none() && self.reason_string.is_none() && self.user_properties.is_empty();
        if self.reason == Reason::SUCCESS && bare {
            return;
        }
        writer.u8(self.reason.0);
        writer.properties(|writer| {
            writer.string_property(id::AUTHENTICATION_METHOD, self.method.as_ref());
            writer.binary_property(id::AUTHENTICATION_DATA, self.data.as_ref());
            writer.string_property(id::REASON_STRING, self.reason_string.as_ref());
            writer.user_properties(&self.user_properties);
        });
    }
}
