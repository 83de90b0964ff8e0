//! What may be asked of user code: one marker for each event, and what is known when it is asked. No I/O.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::hook::client::Client;
use crate::hook::pattern::Pattern;
use crate::message::Message;
use crate::packet::reason::Reason;
use crate::packet::subscribe::SubscriptionOptions;
use crate::subscription::Selector;

/// An event, by what a handler answers to it.
pub trait Event: Send + Sync + 'static {
    type Answer: Answer;
}

/// What comes of a handler that answers nothing, and of one that refuses.
pub trait Answer: Default + Send + 'static {
    fn refused(reason: Reason) -> Self;
}

/// A Client wants to come in; who it says it is was believed.
#[derive(Debug)]
pub struct Connecting;
/// A Client asks for one Topic Filter.
#[derive(Debug)]
pub struct Subscribing;
/// A Client publishes a message, which has gone nowhere yet.
#[derive(Debug)]
pub struct Publishing;
/// A message is about to go to a Client that subscribed to it.
#[derive(Debug)]
pub struct Delivering;
/// The Network Connection of a Client has ended.
#[derive(Debug)]
pub struct Disconnected;

impl Event for Connecting {
    type Answer = Admission;
}
impl Event for Subscribing {
    type Answer = Welcome;
}
impl Event for Publishing {
    type Answer = Verdict;
}
impl Event for Delivering {
    type Answer = Verdict;
}
impl Event for Disconnected {
    type Answer = Noted;
}

/// Whether a Client comes in.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Admission {
    #[default]
    Admitted,
    Refused(Reason),
}

/// What becomes of one Topic Filter of a SUBSCRIBE.
#[derive(Debug, Default, PartialEq)]
pub enum Welcome {
    #[default]
    Granted,
    /// Granted, and this message goes to the subscriber after its SUBACK.
    WithMessage(Message),
    /// As before, on the topic of the subscription.
    WithPayload(Bytes),
    Refused(Reason),
}

/// What becomes of a message.
#[derive(Debug, Default, PartialEq)]
pub enum Verdict {
    /// It goes on as it is.
    #[default]
    Accept,
    /// This one goes on in its place.
    Rewrite(Box<Message>),
    /// It goes no further. A publisher of MQTT 5.0 is told this Reason Code; a subscriber is not told that there was something.
    Refuse(Reason),
}

/// Nobody waits for an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noted;

impl Answer for Admission {
    fn refused(reason: Reason) -> Admission {
        Admission::Refused(reason)
    }
}
impl Answer for Welcome {
    fn refused(reason: Reason) -> Welcome {
        Welcome::Refused(reason)
    }
}
impl Answer for Verdict {
    fn refused(reason: Reason) -> Verdict {
        Verdict::Refuse(reason)
    }
}
impl Answer for Noted {
    fn refused(_: Reason) -> Noted {
        Noted
    }
}

/// What is known when a handler is called; extractors take from it what they stand for.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub client: &'a Arc<Client>,
    pub states: &'a States,
    pub about: About<'a>,
}

/// What belongs to one event.
#[derive(Clone, Copy)]
pub enum About<'a> {
    Connect { password: Option<&'a Bytes> },
    Subscribe { pattern: &'a Arc<Pattern>, selector: &'a Selector, options: SubscriptionOptions },
    Message { pattern: &'a Arc<Pattern>, message: &'a Message },
    Disconnect { reason: Reason },
}

/// What the embedding program gave to its handlers, one value of a type.
#[derive(Default)]
pub struct States(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl States {
    pub fn insert<T: Send + Sync + 'static>(&mut self, state: T) {
        self.0.insert(TypeId::of::<T>(), Box::new(state));
    }

    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "States of {} types", self.0.len())
    }
}
