//! PUBACK, PUBREC, PUBREL, PUBCOMP (MQTT 5.0 sections 3.4 to 3.7): one shape, four types.

use bytestring::ByteString;

use super::PacketId;
use super::property::UserProperties;
use super::reason::Reason;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    pub kind: Kind,
    pub packet_id: PacketId,
    pub reason: Reason,
    pub properties: Option<Box<AcknowledgeProperties>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcknowledgeProperties {
    pub reason_string: Option<ByteString>,
    pub user_properties: UserProperties,
}
