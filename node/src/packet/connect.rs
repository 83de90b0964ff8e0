//! CONNECT (MQTT 5.0 section 3.1).

use bytes::Bytes;
use bytestring::ByteString;

use super::primitive::{DecodeError, Reader, Writer};
use super::property::{self, UserProperties, id};
use super::publish::{self, PublishProperties};
use super::reason::Reason;
use super::{QoS, Version};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    /// Clean Start in 5.0, Clean Session in 3.1.1.
    pub clean_start: bool,
    pub keep_alive_s: u16,
    /// May be empty: then the Server assigns one.
    pub client_id: ByteString,
    pub will: Option<Will>,
    pub user_name: Option<ByteString>,
    pub password: Option<Bytes>,
    pub properties: ConnectProperties,
}

/// The Will Message with its properties (section 3.1.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub qos: QoS,
    pub retain: bool,
    pub topic: ByteString,
    pub payload: Bytes,
    /// Will Delay Interval in seconds; 0 when absent.
    pub delay_s: u32,
    /// Everything that is forwarded with the message.
    pub properties: Option<Box<PublishProperties>>,
}

/// Properties of CONNECT (section 3.1.2.11); the defaults are what the standard says absence means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    pub session_expiry_s: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub maximum_packet_size: Option<u32>,
    pub topic_alias_maximum: Option<u16>,
    pub request_response_information: Option<bool>,
    pub request_problem_information: Option<bool>,
    pub authentication_method: Option<ByteString>,
    pub authentication_data: Option<Bytes>,
    pub user_properties: UserProperties,
}

/// The Client Identifier of a Session (section 3.1.3.1), after the Server has assigned one where it was empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(std::sync::Arc<str>);

impl ClientId {
    pub fn new(text: &str) -> ClientId {
        ClientId(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ClientId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Bits of the Connect Flags (section 3.1.2.3).
const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

impl Connect {
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Connect, DecodeError> {
        let version = decode_version(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(version, flags)?;
        let keep_alive_s = reader.u16()?;
        let mut properties = ConnectProperties::default();
        if version == Version::V5 {
            properties.decode(&mut reader)?;
        }
        let client_id = reader.string()?;
        let will = if flags & WILL != 0 { Some(Will::decode(version, flags, &mut reader)?) } else { None };
        let user_name = if flags & USER_NAME != 0 { Some(reader.string()?) } else { None };
        let password = if flags & PASSWORD != 0 { Some(reader.binary()?) } else { None };
        reader.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Connect { version, clean_start, keep_alive_s, client_id, will, user_name, password, properties })
    }

    /// Written in the layout of its own version.
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.string(if self.version == Version::V3_1 { "MQIsdp" } else { "MQTT" });
        writer.u8(self.version as u8);
        writer.u8(self.flags());
        writer.u16(self.keep_alive_s);
        if self.version == Version::V5 {
            writer.properties(|writer| self.properties.write(writer));
        }
        writer.string(&self.client_id);
        if let Some(will) = &self.will {
            will.write(self.version, writer);
        }
        if let Some(user_name) = &self.user_name {
            writer.string(user_name);
        }
        if let Some(password) = &self.password {
            writer.binary(password);
        }
    }

    fn flags(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let will = self.will.as_ref().map_or(0, |will| WILL | (will.qos as u8) << 3 | flag(will.retain, WILL_RETAIN));
        flag(self.clean_start, CLEAN_START) | will | flag(self.password.is_some(), PASSWORD) | flag(self.user_name.is_some(), USER_NAME)
    }
}

/// Protocol Name and Protocol Level (sections 3.1.2.1 and 3.1.2.2).
fn decode_version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    // Compared as bytes: a name that is no UTF-8 is simply another protocol's.
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (&name[..], level) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 4) => Ok(Version::V3_1_1),
        (b"MQIsdp", 3) => Ok(Version::V3_1),
        // [MQTT-3.1.2-1], [MQTT-3.1.2-2]
        (b"MQTT" | b"MQIsdp", _) => Err(unsupported("the Protocol Level is not supported")),
        _ => Err(unsupported("the Protocol Name is not that of MQTT")),
    }
}

const fn unsupported(text: &'static str) -> DecodeError {
    DecodeError { reason: Reason::UNSUPPORTED_PROTOCOL_VERSION, text }
}

fn check_flags(version: Version, flags: u8) -> Result<(), DecodeError> {
    // [MQTT-3.1.2-3]
    if flags & RESERVED != 0 {
        return Err(DecodeError::malformed("the reserved Connect Flag is set"));
    }
    // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(DecodeError::malformed("Will QoS or Will Retain without a Will"));
    }
    // [MQTT-3.1.2-12]
    if flags & WILL_QOS == WILL_QOS {
        return Err(DecodeError::malformed("the Will QoS is 3"));
    }
    // 3.1.1 [MQTT-3.1.2-22]; 5.0 allows a Password alone.
    if version != Version::V5 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(DecodeError::malformed("a Password without a User Name"));
    }
    Ok(())
}

impl Will {
    fn decode(version: Version, flags: u8, reader: &mut Reader<'_>) -> Result<Will, DecodeError> {
        let qos = QoS::from_bits((flags & WILL_QOS) >> 3).ok_or(DecodeError::malformed("the Will QoS is 3"))?;
        let mut will_delay_s = None;
        let mut properties = PublishProperties::default();
        if version == Version::V5 {
            property::each(reader, |identifier, value| match identifier {
                id::WILL_DELAY_INTERVAL => property::once(&mut will_delay_s, value.u32()?),
                // A Will has neither alias nor identifiers (section 3.1.3.2).
                id::TOPIC_ALIAS | id::SUBSCRIPTION_IDENTIFIER => Err(property::not_allowed()),
                _ => properties.decode_one(identifier, value),
            })?;
        }
        let topic = reader.string()?;
        let payload = reader.binary()?;
        let properties = if properties.is_empty() { None } else { Some(Box::new(properties)) };
        let delay_s = will_delay_s.unwrap_or(0);
        Ok(Will { qos, retain: flags & WILL_RETAIN != 0, topic, payload, delay_s, properties })
    }

    fn write(&self, version: Version, writer: &mut Writer<'_>) {
        if version == Version::V5 {
            writer.properties(|writer| {
                writer.u32_property(id::WILL_DELAY_INTERVAL, (self.delay_s != 0).then_some(self.delay_s));
                if let Some(properties) = &self.properties {
                    let message_expiry_s = properties.message_expiry_s;
                    let own = publish::OwnProperties { message_expiry_s, ..Default::default() };
                    publish::write_properties(Some(properties), &own, writer);
                }
            });
        }
        writer.string(&self.topic);
        writer.binary(&self.payload);
    }
}

impl ConnectProperties {
    fn decode(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        use property::once;
        property::each(reader, |identifier, value| match identifier {
            id::SESSION_EXPIRY_INTERVAL => once(&mut self.session_expiry_s, value.u32()?),
            id::RECEIVE_MAXIMUM => once(&mut self.receive_maximum, value.receive_maximum()?),
            id::MAXIMUM_PACKET_SIZE => once(&mut self.maximum_packet_size, value.maximum_packet_size()?),
            id::TOPIC_ALIAS_MAXIMUM => once(&mut self.topic_alias_maximum, value.u16()?),
            id::REQUEST_RESPONSE_INFORMATION => once(&mut self.request_response_information, value.flag()?),
            id::REQUEST_PROBLEM_INFORMATION => once(&mut self.request_problem_information, value.flag()?),
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
        writer.u32_property(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        writer.u16_property(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        writer.flag_property(id::REQUEST_RESPONSE_INFORMATION, self.request_response_information);
        writer.flag_property(id::REQUEST_PROBLEM_INFORMATION, self.request_problem_information);
        writer.string_property(id::AUTHENTICATION_METHOD, self.authentication_method.as_ref());
        writer.binary_property(id::AUTHENTICATION_DATA, self.authentication_data.as_ref());
        writer.user_properties(&self.user_properties);
    }
}
