//! What this Server grants to every Session: plain values, set once by the node.

use bytestring::ByteString;

use crate::packet::QoS;
use crate::time::Span;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Receive Maximum of the Server: QoS 1 and 2 messages that a 5.0 Client may have unacknowledged towards us.
    pub receive_maximum: u16,
    /// The same towards the Client; a 5.0 Client may ask for less.
    pub in_flight_max: u16,
    /// Maximum Packet Size of the Server in bytes.
    pub packet_bytes_max: u32,
    pub topic_alias_maximum: u16,
    /// Topic Aliases that the Server uses towards a Client that allows them.
    pub topic_alias_outbound_max: u16,
    pub topic_levels_max: usize,
    /// Of a Topic Name or Topic Filter.
    pub topic_bytes_max: usize,
    pub client_id_bytes_max: usize,
    pub maximum_qos: QoS,
    pub retain_available: bool,
    pub wildcard_available: bool,
    pub shared_available: bool,
    pub subscription_ids_available: bool,
    /// Above this (or zero) the Server sets its own Keep Alive; 0: any is accepted.
    pub keep_alive_max_s: u16,
    /// The Keep Alive that every 5.0 Client is told to use.
    pub server_keep_alive_s: Option<u16>,
    /// The longest Session Expiry Interval; `u32::MAX` allows for ever.
    pub expiry_max_s: u32,
    /// How long a Session of 3.1 and 3.1.1 with Clean Session 0 is kept.
    pub v3_expiry_s: u32,
    pub response_information: Option<ByteString>,
    pub server_reference: Option<ByteString>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            receive_maximum: 1024,
            in_flight_max: 1024,
            packet_bytes_max: 1 << 20,
            topic_alias_maximum: 64,
            topic_alias_outbound_max: 16,
            topic_levels_max: usize::MAX,
            topic_bytes_max: 65_535,
            client_id_bytes_max: 65_535,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            subscription_ids_available: true,
            keep_alive_max_s: 0,
            server_keep_alive_s: None,
            expiry_max_s: u32::MAX,
            v3_expiry_s: 7 * 24 * 3600,
            response_information: None,
            server_reference: None,
        }
    }
}

impl Settings {
    /// What a Session Expiry Interval means here: `None` is for ever (0xFFFFFFFF, section 3.1.2.11.2).
    pub fn session_expiry(&self, asked_s: u32) -> Option<Span> {
        match asked_s.min(self.expiry_max_s) {
            u32::MAX => None,
            seconds => Some(Span::seconds(seconds)),
        }
    }
}
