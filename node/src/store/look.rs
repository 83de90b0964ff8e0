//! A Session as somebody sees it who has no connection of it: an operator.

use crate::message::Message;
use crate::packet::connect::ClientId;
use crate::session::state::{Epoch, Sequence};
use crate::subscription::{Grant, Subscription};
use crate::time::Time;

/// A Session, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub client_id: ClientId,
    pub epoch: Epoch,
    /// The node that it is connected to; of a store of one process that node has no name here.
    pub owner: Option<String>,
    /// It has a queue and subscriptions of its own in the store; else it ends with its connection.
    pub durable: bool,
    /// How long it outlives its connection, in ms; `None`: for ever.
    pub expiry_ms: Option<u64>,
    /// When it ends; `None` while it is connected, or when it never does.
    pub ends: Option<Time>,
    pub has_will: bool,
    pub queued: u64,
    /// PUBRELs that are owed.
    pub released: u64,
    /// QoS 2 messages of the Client that it has not released.
    pub received: u64,
    pub subscriptions: u64,
    /// Up to here the queue may have been sent.
    pub handed: Sequence,
}

/// A message in a queue, for somebody who only looks.
pub type Queued = (Sequence, Grant, Message);

/// A Session, with the beginning of what is in it.
#[derive(Clone, Debug)]
pub struct Session {
    pub row: Row,
    pub subscriptions: Vec<Subscription>,
    /// The first of the queue.
    pub queue: Vec<Queued>,
    pub released: Vec<Sequence>,
    /// Packet Identifiers, and whether the message is still to be handed to somebody.
    pub received: Vec<(u16, bool)>,
    /// Epochs of connections whose will is to be published.
    pub wills_owed: Vec<Epoch>,
}

/// Some Sessions, and where to go on; `None` at the end.
pub type Rows = (Vec<Row>, Option<String>);
