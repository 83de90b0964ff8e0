//! Properties (MQTT 5.0 section 2.2.2): identifiers, value checks and writers.
//!
//! Which packet may carry which is said by the `match` in that packet's file: what it does not name is [`not_allowed`].

use bytestring::ByteString;

use super::primitive::{DecodeError, Reader, Writer};
use super::reason::Reason;

/// User Properties in the order in which they were sent; a name may stand more than once.
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// The identifiers of section 2.2.2.2, under the standard's names.
pub(super) mod id {
    pub(in crate::packet) const PAYLOAD_FORMAT_INDICATOR: u32 = 0x01;
    pub(in crate::packet) const MESSAGE_EXPIRY_INTERVAL: u32 = 0x02;
    pub(in crate::packet) const CONTENT_TYPE: u32 = 0x03;
    pub(in crate::packet) const RESPONSE_TOPIC: u32 = 0x08;
    pub(in crate::packet) const CORRELATION_DATA: u32 = 0x09;
    pub(in crate::packet) const SUBSCRIPTION_IDENTIFIER: u32 = 0x0B;
    pub(in crate::packet) const SESSION_EXPIRY_INTERVAL: u32 = 0x11;
    pub(in crate::packet) const ASSIGNED_CLIENT_IDENTIFIER: u32 = 0x12;
    pub(in crate::packet) const SERVER_KEEP_ALIVE: u32 = 0x13;
    pub(in crate::packet) const AUTHENTICATION_METHOD: u32 = 0x15;
    pub(in crate::packet) const AUTHENTICATION_DATA: u32 = 0x16;
    pub(in crate::packet) const REQUEST_PROBLEM_INFORMATION: u32 = 0x17;
    pub(in crate::packet) const WILL_DELAY_INTERVAL: u32 = 0x18;
    pub(in crate::packet) const REQUEST_RESPONSE_INFORMATION: u32 = 0x19;
    pub(in crate::packet) const RESPONSE_INFORMATION: u32 = 0x1A;
    pub(in crate::packet) const SERVER_REFERENCE: u32 = 0x1C;
    pub(in crate::packet) const REASON_STRING: u32 = 0x1F;
    pub(in crate::packet) const RECEIVE_MAXIMUM: u32 = 0x21;
    pub(in crate::packet) const TOPIC_ALIAS_MAXIMUM: u32 = 0x22;
    pub(in crate::packet) const TOPIC_ALIAS: u32 = 0x23;
    pub(in crate::packet) const MAXIMUM_QOS: u32 = 0x24;
    pub(in crate::packet) const RETAIN_AVAILABLE: u32 = 0x25;
    pub(in crate::packet) const USER_PROPERTY: u32 = 0x26;
    pub(in crate::packet) const MAXIMUM_PACKET_SIZE: u32 = 0x27;
    pub(in crate::packet) const WILDCARD_SUBSCRIPTION_AVAILABLE: u32 = 0x28;
    pub(in crate::packet) const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u32 = 0x29;
    pub(in crate::packet) const SHARED_SUBSCRIPTION_AVAILABLE: u32 = 0x2A;
}

/// Reads the Property Length and hands each identifier, with the bytes behind it, to `property`, which takes the value.
/// A property that runs over the Property Length is malformed, as is a Property Length beyond the packet.
pub(super) fn each(
    reader: &mut Reader<'_>,
    mut property: impl FnMut(u32, &mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let length = reader.variable_byte_integer()?;
    let mut properties = reader.part(length as usize)?;
    while !properties.is_empty() {
        let identifier = properties.variable_byte_integer()?;
        property(identifier, &mut properties)?;
    }
    Ok(())
}

/// An identifier that is unknown or not valid for its packet makes the packet malformed (section 2.2.2.2).
#[cold]
pub(super) fn not_allowed() -> DecodeError {
    DecodeError::malformed("a property that is unknown or that this packet cannot carry")
}

/// Keeps a value that may stand only once: to repeat it is a Protocol Error.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::protocol("a property stands twice")),
    }
}

/// Adds a User Property: it may stand many times, and the order is kept.
pub(super) fn user(place: &mut UserProperties, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    place.push(reader.pair()?);
    Ok(())
}

impl Reader<'_> {
    /// A byte that is 0 or 1; anything else is a Protocol Error.
    pub(super) fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol("a property is neither 0 nor 1")),
        }
    }

    /// Receive Maximum: zero is a Protocol Error (sections 3.1.2.11.3 and 3.2.2.3.3).
    pub(super) fn receive_maximum(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::protocol("Receive Maximum is zero")),
            value => Ok(value),
        }
    }

    /// Maximum Packet Size: zero is a Protocol Error (sections 3.1.2.11.4 and 3.2.2.3.6).
    pub(super) fn maximum_packet_size(&mut self) -> Result<u32, DecodeError> {
        match self.u32()? {
            0 => Err(DecodeError::protocol("Maximum Packet Size is zero")),
            value => Ok(value),
        }
    }

    /// Topic Alias: zero is not permitted [MQTT-3.3.2-8].
    pub(super) fn topic_alias(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError { reason: Reason::TOPIC_ALIAS_INVALID, text: "Topic Alias is zero" }),
            value => Ok(value),
        }
    }

    /// Subscription Identifier: zero is a Protocol Error (section 3.8.2.1.2).
    pub(super) fn subscription_id(&mut self) -> Result<u32, DecodeError> {
        match self.variable_byte_integer()? {
            0 => Err(DecodeError::protocol("Subscription Identifier is zero")),
            value => Ok(value),
        }
    }
}

/// Authentication Data means nothing without a method (section 3.1.2.11.10).
pub(super) fn check_authentication<M, D>(method: Option<&M>, data: Option<&D>) -> Result<(), DecodeError> {
    if data.is_some() && method.is_none() {
        return Err(DecodeError::protocol("Authentication Data without an Authentication Method"));
    }
    Ok(())
}

/// Writers of single properties: nothing is written for `None`.
impl Writer<'_> {
    /// The Property Length and the properties that `write` writes.
    pub(super) fn properties(&mut self, write: impl Fn(&mut Writer<'_>)) {
        self.variable_byte_integer(Writer::measure(&write));
        write(self);
    }

    pub(super) fn flag_property(&mut self, identifier: u32, value: Option<bool>) {
        if let Some(value) = value {
            self.bytes(&[identifier as u8, u8::from(value)]);
        }
    }

    pub(super) fn u16_property(&mut self, identifier: u32, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(identifier as u8);
            self.u16(value);
        }
    }

    pub(super) fn u32_property(&mut self, identifier: u32, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(identifier as u8);
            self.u32(value);
        }
    }

    pub(super) fn subscription_id_property(&mut self, value: u32) {
        self.u8(id::SUBSCRIPTION_IDENTIFIER as u8);
        self.variable_byte_integer(value as usize);
    }

    pub(super) fn string_property(&mut self, identifier: u32, value: Option<&ByteString>) {
        if let Some(value) = value {
            self.u8(identifier as u8);
            self.string(value);
        }
    }

    pub(super) fn binary_property(&mut self, identifier: u32, value: Option<&bytes::Bytes>) {
        if let Some(value) = value {
            self.u8(identifier as u8);
            self.binary(value);
        }
    }

    pub(super) fn user_properties(&mut self, pairs: &UserProperties) {
        for (name, value) in pairs {
            self.u8(id::USER_PROPERTY as u8);
            self.string(name);
            self.string(value);
        }
    }
}
