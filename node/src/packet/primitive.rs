//! The data types of the wire (MQTT 5.0 section 1.5).

use super::reason::Reason;

/// Why bytes are no Control Packet. The session turns it into a CONNACK or DISCONNECT with this Reason Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub reason: Reason,
    /// What is wrong, for the log and for the Reason String.
    pub text: &'static str,
}
