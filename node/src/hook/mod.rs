//! What the configuration or the embedding program decides: who may come in and what they may do. No I/O.

pub mod client;
pub mod event;
pub mod extract;
pub mod handler;
pub mod hooks;
pub mod pattern;
pub mod request;
pub mod welcoming;

use crate::hook::client::{Client, Peer};
use crate::packet::connect::{ClientId, Connect};
use crate::packet::reason::Reason;
use crate::subscription::Selector;
use crate::topic::name::TopicName;

/// Answers the questions of the broker. A refusal is a Reason Code.
///
/// Asked on the path of packets: an answer takes no time worth mentioning, except for [`Guard::connect`], which the connection
/// asks on a thread where it may take its time.
pub trait Guard: std::fmt::Debug + Send + Sync {
    /// Whether this Client may connect with what it said of itself, when it named no authentication method.
    fn connect(&self, connect: &Connect, peer: &Peer) -> Result<(), Reason>;

    /// Whether [`Guard::connect`] is expensive for this CONNECT, so that it is asked off the threads that move packets.
    fn connect_takes_time(&self, connect: &Connect) -> bool;

    /// Begins an enhanced authentication (section 4.12); `None` for a method that is not offered.
    fn authentication(&self, method: &str) -> Option<Box<dyn Exchange>>;

    /// Why a publish to this Topic Name is refused.
    fn publish(&self, client: &Client, topic: &TopicName) -> Option<Reason>;

    /// Whether this Client may be given messages of this Topic Name, by whatever filter it subscribed. The answer is remembered with the route.
    fn receive(&self, client_id: &ClientId, topic: &TopicName) -> bool;

    /// Why a subscription is refused.
    fn subscribe(&self, client_id: &ClientId, selector: &Selector) -> Option<Reason>;
}

/// The Server's side of an enhanced authentication.
pub trait Exchange: Send {
    /// Begins again, for a re-authentication of the same Client (section 4.12.1).
    fn restart(&mut self);

    /// Takes Authentication Data of the Client and says how it goes on.
    fn step(&mut self, data: &[u8]) -> Result<Progress, Reason>;
}

#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Continue authentication (0x18) with this Authentication Data.
    Continue(Vec<u8>),
    /// The Client is who it says; the last Authentication Data goes with CONNACK or AUTH 0x00.
    Done(Vec<u8>),
}
