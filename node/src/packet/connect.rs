//! CONNECT (MQTT 5.0 section 3.1).

use bytes::Bytes;
use bytestring::ByteString;

use super::property::UserProperties;
use super::publish::PublishProperties;
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
