//! What of a Session outlives its Network Connection (MQTT 5.0 section 4.1), as plain values.

use crate::message::Message;
use crate::packet::PacketId;
use crate::subscription::Subscription;
use crate::time::Span;

/// A place in the queue of one Session: grows by one with each message that is stored for it and is never used twice, not even
/// across a clean start. The Packet Identifier of a stored message follows from it.
pub type Sequence = u64;

/// Counts the owners of a Session; a step of an earlier owner that could hurt is refused by it.
pub type Epoch = u64;

/// The Packet Identifier of a stored message: the same on whatever node the Session is resumed `[MQTT-4.4.0-1]`.
pub const fn packet_id(sequence: Sequence) -> PacketId {
    match PacketId::new((sequence.wrapping_sub(1) % 65_535) as u16 + 1) {
        Some(id) => id,
        None => PacketId::MIN,
    }
}

/// The next base at or above `sequence` whose first message has Packet Identifier 1, as people who read a trace expect of a new Session.
pub const fn first_packet_id_is_one(sequence: Sequence) -> Sequence {
    sequence.next_multiple_of(65_535)
}

/// A Will Message, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Its expiry is not running yet.
    pub message: Message,
    /// Message Expiry Interval in seconds, counted from the moment of publication.
    pub expiry_s: Option<u32>,
    pub delay: Span,
}

/// The state that a resumed Session starts from. The queue itself is read page by page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub subscriptions: Vec<Subscription>,
    /// Packet Identifiers of QoS 2 messages that were received and not yet released by the Client.
    pub received: Vec<PacketId>,
    /// QoS 2 messages for which PUBREC came and PUBCOMP did not, in the order of their PUBREC.
    pub released: Vec<Sequence>,
    /// The last sequence that may have been sent: everything up to it is sent again with DUP=1.
    pub sent: Sequence,
}
