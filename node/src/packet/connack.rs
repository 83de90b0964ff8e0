//! CONNACK (MQTT 5.0 section 3.2).

use bytes::Bytes;
use bytestring::ByteString;

use super::QoS;
use super::property::UserProperties;
use super::reason::Reason;

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
