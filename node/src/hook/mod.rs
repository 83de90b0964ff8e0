//! What the configuration or the embedding program decides: who may come in and what they may do. No I/O.

pub mod client;
pub mod event;
pub mod extract;
pub mod handler;
pub mod hooks;
pub mod pattern;
pub mod request;
pub mod welcoming;

use std::future::Future;
use std::pin::Pin;

use bytestring::ByteString;

use crate::hook::client::{Client, Peer, Proof};
use crate::message::Permit;
use crate::packet::QoS;
use crate::packet::connect::{ClientId, Connect};
use crate::packet::reason::Reason;
use crate::subscription::Selector;
use crate::topic::name::TopicName;

/// An answer that may take its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers the questions of the broker. A refusal is a Reason Code.
///
/// Asked on the path of packets: an answer takes no time worth mentioning, except for [`Guard::connect`], which may wait for a hash or for
/// another server and has until the end of the time for a CONNECT, and for [`Guard::confirm`].
pub trait Guard: std::fmt::Debug + Send + Sync {
    /// Whether this Client may connect with what it said of itself, when it named no authentication method. `client_id` is the one of the
    /// CONNECT, or the one that it was given.
    fn connect<'a>(&'a self, connect: &'a Connect, client_id: &'a ClientId, peer: &'a Peer) -> Answer<'a, Result<Admitted, Reason>>;

    /// Begins an enhanced authentication (section 4.12); `None` for a method that is not offered.
    fn authentication(&self, method: &str, peer: &Peer) -> Option<Box<dyn Exchange>>;

    /// Whether this Client is shut out, whatever it can prove. Asked when it connects, before anything that costs, and again when bans or
    /// users have changed.
    fn shut_out(&self, client: &Client) -> Option<Reason>;

    /// Whether what let this Client in still holds, asked once when it is in and hears of changes: of those before it was not told.
    fn confirm<'a>(&'a self, client: &'a Client) -> Answer<'a, Option<Reason>> {
        Box::pin(std::future::ready(self.shut_out(client)))
    }

    /// What this Client may publish to this Topic Name, or why nothing.
    fn publish(&self, client: &Client, topic: &TopicName) -> Result<Permit, Reason>;

    /// Whether this Client may be given messages of this Topic Name, by whatever filter it subscribed. The answer is remembered with the route.
    fn receive(&self, recipient: Recipient<'_>, topic: &TopicName) -> bool;

    /// The highest QoS that a subscription is granted, or why it is refused.
    fn subscribe(&self, client: &Client, selector: &Selector) -> Result<QoS, Reason>;
}

/// A Client that was believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The User Name that it is known by from now on.
    pub user: Option<ByteString>,
    pub proof: Proof,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    pub client_id: &'a ClientId,
    pub user: KnownUser<'a>,
}

/// What this node knows of a User Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownUser<'a> {
    /// The Session is another node's. That node asks again, so an answer that depends on the name is yes.
    No,
    Yes(Option<&'a str>),
}

impl<'a> Recipient<'a> {
    pub fn of(client: &'a Client) -> Recipient<'a> {
        Recipient { client_id: &client.id, user: KnownUser::Yes(client.user.as_deref()) }
    }
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
    Done(Vec<u8>, Admitted),
}
