//! SUBSCRIBE and SUBACK (MQTT 5.0 sections 3.8 and 3.9).

use bytestring::ByteString;

use super::acknowledge::AcknowledgeProperties;
use super::property::UserProperties;
use super::reason::Reason;
use super::{PacketId, QoS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: PacketId,
    pub subscription_id: Option<u32>,
    pub user_properties: UserProperties,
    /// Never empty. The filter's form is the session's matter: a bad filter is one SUBACK code, not a broken stream.
    pub filters: Vec<(ByteString, SubscriptionOptions)>,
}

/// Subscription Options (section 3.8.3.1); 3.1.1 has only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send = 0,
    SendIfNew = 1,
    DoNotSend = 2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback {
    pub packet_id: PacketId,
    pub properties: Option<Box<AcknowledgeProperties>>,
    pub reasons: Vec<Reason>,
}
