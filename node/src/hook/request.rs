//! Messages that ask for an answer (MQTT 5.0 section 4.10), and who takes them besides the subscribers. No I/O.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::hook::client::Client;
use crate::message::Message;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::time::Time;

/// The name of the User Property with which a PUBLISH takes back the request that has the same Correlation Data.
pub const CANCEL: &str = "mqttd-cancel";

/// What is waited for.
pub type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes requests, and sees to it that each gets its answer.
///
/// The broker asks about a message that has a Response Topic or the User Property [`CANCEL`], and about no other. Where the answer goes,
/// and when, is no matter of the broker.
pub trait Requests: Debug + Send + Sync {
    /// What is to become of the message; takes no time worth mentioning.
    fn admit(&self, client: &Arc<Client>, message: &Message, now: Time) -> Admission;

    /// Takes what was admitted. When this says `Ok` for a request, its publisher may be told that it was received.
    fn take<'a>(&'a self, asked: Vec<Asked>, now: Time) -> Wait<'a, Vec<Result<(), Refusal>>>;

    /// Those that this node took, that wait for their answer and that are wanted: how many, and the first `reach` of them, the next to be late
    /// first. For the administration.
    fn waiting(&self, wanted: &dyn Fn(&Waiting) -> bool, reach: usize) -> (usize, Vec<Waiting>);

    /// Who answers beside this process, as far as was heard of them last.
    fn workers(&self) -> Vec<Worker>;
}

/// A request that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub id: Arc<str>,
    pub client_id: ClientId,
    pub topic: String,
    /// When the requester is told that nobody answered.
    pub deadline: Time,
    /// A handler within this process is at it.
    pub is_here: bool,
}

/// A program that answers requests, by its own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Worker {
    pub name: String,
    pub group: String,
    /// The Topic Filters that it answers; none: all.
    pub filters: Vec<String>,
    /// The way by which requests come to it.
    pub lane: String,
    /// Requests that it works on at a time, at most and now.
    pub concurrency: usize,
    pub running: usize,
    pub answered: u64,
    pub failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is a message as any other.
    Pass,
    /// It is taken; whether it also goes to those who subscribe to its Topic Name.
    Take {
        route: bool,
    },
    Refuse(Reason),
}

/// A message that was admitted.
#[derive(Clone, Debug)]
pub struct Asked {
    pub client: Arc<Client>,
    pub message: Message,
    /// Somebody subscribes to its Topic Name and was given it too.
    pub matched: bool,
}

/// Why a request was not taken after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Because(Reason),
    /// Nobody knows whether it was: the publisher is told nothing, and asks again.
    Unavailable,
}

/// Whether [`Requests`] are asked about this message.
pub fn concerns(message: &Message) -> bool {
    let is_one = |properties: &crate::packet::publish::PublishProperties| {
        properties.response_topic.is_some() || properties.user_properties.iter().any(|(name, _)| name == CANCEL)
    };
    message.properties.as_deref().is_some_and(is_one)
}
