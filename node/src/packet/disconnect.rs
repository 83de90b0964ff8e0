//! DISCONNECT (MQTT 5.0 section 3.14).

use bytestring::ByteString;

use super::property::UserProperties;
use super::reason::Reason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub reason: Reason,
    pub session_expiry_s: Option<u32>,
    pub reason_string: Option<ByteString>,
    pub server_reference: Option<ByteString>,
    pub user_properties: UserProperties,
}
