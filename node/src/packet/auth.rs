//! AUTH (MQTT 5.0 section 3.15).

use bytes::Bytes;
use bytestring::ByteString;

use super::property::UserProperties;
use super::reason::Reason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub reason: Reason,
    pub method: Option<ByteString>,
    pub data: Option<Bytes>,
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
}
