//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.10 and 3.11).

use bytestring::ByteString;

use super::PacketId;
use super::acknowledge::AcknowledgeProperties;
use super::property::UserProperties;
use super::reason::Reason;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    pub packet_id: PacketId,
    pub user_properties: UserProperties,
    /// Never empty.
    pub filters: Vec<ByteString>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback {
    pub packet_id: PacketId,
    pub properties: Option<Box<AcknowledgeProperties>>,
    /// One for each filter; not encoded for 3.1.1.
    pub reasons: Vec<Reason>,
}
