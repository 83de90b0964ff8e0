//! What a handler takes as its arguments. What cannot be taken is already an answer: the Reason Code of the refusal. No I/O.

use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::hook::client;
use crate::hook::event::{About, Connecting, Context, Delivering, Disconnected, Event, Publishing, States, Subscribing};
use crate::hook::pattern::Pattern;
use crate::message::Message;
use crate::packet::publish::PublishProperties;
use crate::packet::reason::Reason;
use crate::packet::subscribe::SubscriptionOptions;

/// Taken from an event as an argument of its handlers.
#[diagnostic::on_unimplemented(
    message = "a handler of the event `{E}` cannot take `{Self}` as an argument",
    label = "not an extractor for `{E}`",
    note = "all events have `Client` and `State<T>`; `Subscribing`, `Publishing` and `Delivering` have `Topic` and `Params`; \
            `Publishing` and `Delivering` have `Message`, `Payload`, `Json<T>` and `Properties`; `Connecting` has `Password`, \
            `Subscribing` has `SubscriptionOptions`, `Disconnected` has `Reason`"
)]
pub trait FromEvent<E: Event>: Sized {
    /// # Errors
    /// The answer to the Client in place of the handler's.
    fn from_event(context: &Context<'_>) -> Result<Self, Reason>;

    /// What is missing for it to be taken at all, known before anything happens.
    fn missing(_: &States) -> Option<String> {
        None
    }
}

/// An event about a topic.
#[diagnostic::on_unimplemented(
    message = "the event `{Self}` has no topic",
    note = "`Topic` and `Params` are of a subscription or a message"
)]
pub trait HasTopic: Event {}
impl HasTopic for Subscribing {}
impl HasTopic for Publishing {}
impl HasTopic for Delivering {}

/// An event about a message.
#[diagnostic::on_unimplemented(
    message = "the event `{Self}` has no message",
    note = "`Message`, `Payload`, `Json<T>` and `Properties` are of a message"
)]
pub trait HasMessage: HasTopic {}
impl HasMessage for Publishing {}
impl HasMessage for Delivering {}

/// Who is at the other end: it has the fields of [`client::Client`].
#[derive(Clone, Debug)]
pub struct Client(pub Arc<client::Client>);

/// The Topic Name of a message, or the Topic Filter of a subscription (without its `$share/{ShareName}/`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic(pub ByteString);

/// What the levels in braces of the pattern stand for. Of a subscription with wildcards it may be `+` or `#`.
#[derive(Clone, Debug)]
pub struct Params {
    pattern: Arc<Pattern>,
    topic: ByteString,
}

/// The bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(pub Bytes);

/// The properties of a message (section 3.3.2.3); those of a message without any are all empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties(pub Box<PublishProperties>);

/// What the program gave to `Builder::state`.
#[derive(Clone, Copy, Debug)]
pub struct State<T>(pub T);

/// The Password of CONNECT. The Client has been let in by the configuration already; this is for a second look.
#[derive(Clone)]
pub struct Password(pub Option<Bytes>);

impl Client {
    pub fn id(&self) -> &str {
        self.0.id.as_str()
    }

    pub fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }
}

impl Params {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pattern.level(name, &self.topic)
    }

    /// The level as another type.
    ///
    /// # Errors
    /// Topic Name invalid, where it is none.
    pub fn parse<T: FromStr>(&self, name: &str) -> Result<T, Reason> {
        self.get(name).and_then(|level| level.parse().ok()).ok_or(Reason::TOPIC_NAME_INVALID)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pattern.levels(&self.topic)
    }
}

impl std::ops::Index<&str> for Params {
    type Output = str;

    /// # Panics
    /// The pattern has no such name: a fault in the program, which ends this packet only.
    fn index(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("the pattern {:?} has no {{{name}}}", self.pattern.as_str()))
    }
}

impl Payload {
    /// # Errors
    /// Payload format invalid, when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Reason> {
        std::str::from_utf8(&self.0).map_err(|_| Reason::PAYLOAD_FORMAT_INVALID)
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(not shown)")
    }
}

macro_rules! deref {
    ($($outer:ty => $inner:ty;)*) => {
        $(impl Deref for $outer {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.0
            }
        })*
    };
}

deref! {
    Client => client::Client;
    Topic => ByteString;
    Payload => Bytes;
    Properties => PublishProperties;
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Said where an event has not what its marker promises, which the types rule out.
const ABSENT: Reason = Reason::IMPLEMENTATION_SPECIFIC_ERROR;

fn message<'a>(context: &Context<'a>) -> Result<&'a Message, Reason> {
    match context.about {
        About::Message { message, .. } => Ok(message),
        _ => Err(ABSENT),
    }
}

fn topic<'a>(context: &Context<'a>) -> Result<(&'a Arc<Pattern>, ByteString), Reason> {
    match context.about {
        About::Message { pattern, message } => Ok((pattern, message.topic.text().clone())),
        About::Subscribe { pattern, selector, .. } => Ok((pattern, selector.filter.as_str().into())),
        _ => Err(ABSENT),
    }
}

impl<E: Event> FromEvent<E> for Client {
    fn from_event(context: &Context<'_>) -> Result<Client, Reason> {
        Ok(Client(context.client.clone()))
    }
}

impl<E: Event, T: Clone + Send + Sync + 'static> FromEvent<E> for State<T> {
    fn from_event(context: &Context<'_>) -> Result<State<T>, Reason> {
        context.states.get::<T>().cloned().map(State).ok_or(ABSENT)
    }

    fn missing(states: &States) -> Option<String> {
        let name = std::any::type_name::<T>();
        states.get::<T>().is_none().then(|| format!("it takes State<{name}>, and no .state(…) gave a {name}"))
    }
}

impl<E: HasTopic> FromEvent<E> for Topic {
    fn from_event(context: &Context<'_>) -> Result<Topic, Reason> {
        topic(context).map(|(_, topic)| Topic(topic))
    }
}

impl<E: HasTopic> FromEvent<E> for Params {
    fn from_event(context: &Context<'_>) -> Result<Params, Reason> {
        topic(context).map(|(pattern, topic)| Params { pattern: pattern.clone(), topic })
    }
}

impl<E: HasMessage> FromEvent<E> for Message {
    fn from_event(context: &Context<'_>) -> Result<Message, Reason> {
        message(context).cloned()
    }
}

impl<E: HasMessage> FromEvent<E> for Payload {
    fn from_event(context: &Context<'_>) -> Result<Payload, Reason> {
        message(context).map(|message| Payload(message.payload.clone()))
    }
}

impl<E: HasMessage> FromEvent<E> for Properties {
    fn from_event(context: &Context<'_>) -> Result<Properties, Reason> {
        message(context).map(|message| Properties(message.properties.clone().unwrap_or_default()))
    }
}

impl FromEvent<Subscribing> for SubscriptionOptions {
    fn from_event(context: &Context<'_>) -> Result<SubscriptionOptions, Reason> {
        match context.about {
            About::Subscribe { options, .. } => Ok(options),
            _ => Err(ABSENT),
        }
    }
}

impl FromEvent<Connecting> for Password {
    fn from_event(context: &Context<'_>) -> Result<Password, Reason> {
        match context.about {
            About::Connect { password } => Ok(Password(password.cloned())),
            _ => Err(ABSENT),
        }
    }
}

impl FromEvent<Disconnected> for Reason {
    fn from_event(context: &Context<'_>) -> Result<Reason, Reason> {
        match context.about {
            About::Disconnect { reason } => Ok(reason),
            _ => Err(ABSENT),
        }
    }
}

/// The payload as JSON of this type. What it is not is refused: Payload format invalid (0x99).
#[cfg(feature = "server")]
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

#[cfg(feature = "server")]
impl<E: HasMessage, T: serde::de::DeserializeOwned> FromEvent<E> for Json<T> {
    fn from_event(context: &Context<'_>) -> Result<Json<T>, Reason> {
        Ok(Json(message(context)?.json()?))
    }
}

#[cfg(feature = "server")]
impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
