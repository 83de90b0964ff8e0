//! All handlers of a node, and what comes of calling those that an event concerns, one after the other. No I/O, reads no clock: who
//! polls decides how long it may take.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Wakers, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::hook::client::Client;
use crate::hook::event::{
    About, Admission, Connecting, Context, Delivering, Disconnected, Event, Publishing, States, Subscribing, Verdict,
};
use crate::hook::handler::{AnyHandler, Desk, Handler, Panicked};
use crate::hook::pattern::{Pattern, PatternError};
use crate::message::Message;
use crate::packet::reason::Reason;
use crate::topic::name::TopicName;

/// How long user code may take for one packet, unless the program says otherwise.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

type WithPattern<E> = Vec<(Arc<Pattern>, AnyHandler<E>)>;

/// What the embedding program wants to be asked, in the order in which it said so.
pub struct Hooks {
    pub states: States,
    /// How long user code may take for one packet.
    pub deadline: Duration,
    connect: Vec<AnyHandler<Connecting>>,
    pub(super) subscribe: WithPattern<Subscribing>,
    publish: WithPattern<Publishing>,
    deliver: WithPattern<Delivering>,
    disconnect: Vec<AnyHandler<Disconnected>>,
}

/// Why user code did not let something pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A handler said so.
    Answer,
    Panic,
    Deadline,
}

impl Refused {
    pub const PANIC: Refused = Refused { reason: Reason::IMPLEMENTATION_SPECIFIC_ERROR, why: Why::Panic };
    pub const DEADLINE: Refused = Refused { reason: Reason::IMPLEMENTATION_SPECIFIC_ERROR, why: Why::Deadline };

    /// A handler's refusal, with a code that the packet of the answer can carry: a Client may end the connection over any other.
    pub(super) fn answer(reason: Reason, allowed: &[Reason]) -> Refused {
        let reason = if allowed.contains(&reason) { reason } else { Reason::IMPLEMENTATION_SPECIFIC_ERROR };
        Refused { reason, why: Why::Answer }
    }
}

impl From<Panicked> for Refused {
    fn from(_: Panicked) -> Refused {
        Refused::PANIC
    }
}

/// Table 3-4: what PUBACK and PUBREC can say.
const IN_PUBACK: [Reason; 6] = [
    Reason::UNSPECIFIED_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::NOT_AUTHORIZED,
    Reason::TOPIC_NAME_INVALID,
    Reason::QUOTA_EXCEEDED,
    Reason::PAYLOAD_FORMAT_INVALID,
];

/// Table 3-1: what CONNACK can say to a Client that is well formed.
const IN_CONNACK: [Reason; 12] = [
    Reason::UNSPECIFIED_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC_ERROR,
    Reason::CLIENT_IDENTIFIER_NOT_VALID,
    Reason::BAD_USER_NAME_OR_PASSWORD,
    Reason::NOT_AUTHORIZED,
    Reason::SERVER_UNAVAILABLE,
    Reason::SERVER_BUSY,
    Reason::BANNED,
    Reason::QUOTA_EXCEEDED,
    Reason::USE_ANOTHER_SERVER,
    Reason::SERVER_MOVED,
    Reason::CONNECTION_RATE_EXCEEDED,
];

impl Default for Hooks {
    fn default() -> Hooks {
        let (connect, subscribe, publish, deliver, disconnect) = Default::default();
        Hooks { states: States::default(), deadline: DEADLINE_DEFAULT, connect, subscribe, publish, deliver, disconnect }
    }
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").field("states", &self.states).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// An event that is about a message, with the handlers for it.
pub trait Judges: Event<Answer = Verdict> + Sized {
    fn handlers(hooks: &Hooks) -> &[(Arc<Pattern>, AnyHandler<Self>)];
}

impl Judges for Publishing {
    fn handlers(hooks: &Hooks) -> &[(Arc<Pattern>, AnyHandler<Publishing>)] {
        &hooks.publish
    }
}

impl Judges for Delivering {
    fn handlers(hooks: &Hooks) -> &[(Arc<Pattern>, AnyHandler<Delivering>)] {
        &hooks.deliver
    }
}

impl Hooks {
    pub fn on_connect<Arguments: 'static>(&mut self, handler: impl Handler<Connecting, Arguments>) {
        self.connect.push(AnyHandler::new(handler));
    }

    pub fn on_subscribe<A: 'static>(&mut self, pattern: &str, handler: impl Handler<Subscribing, A>) -> Result<(), PatternError> {
        self.subscribe.push((Arc::new(Pattern::new(pattern)?), AnyHandler::new(handler)));
        Ok(())
    }

    pub fn on_publish<A: 'static>(&mut self, pattern: &str, handler: impl Handler<Publishing, A>) -> Result<(), PatternError> {
        self.publish.push((Arc::new(Pattern::new(pattern)?), AnyHandler::new(handler)));
        Ok(())
    }

    pub fn on_deliver<A: 'static>(&mut self, pattern: &str, handler: impl Handler<Delivering, A>) -> Result<(), PatternError> {
        self.deliver.push((Arc::new(Pattern::new(pattern)?), AnyHandler::new(handler)));
        Ok(())
    }

    pub fn on_disconnect<Arguments: 'static>(&mut self, handler: impl Handler<Disconnected, Arguments>) {
        self.disconnect.push(AnyHandler::new(handler));
    }

    /// What handlers take and nobody gave, a line for each.
    pub fn missing(&self) -> Vec<String> {
        fn of<E: Event>(handlers: &WithPattern<E>, event: &'static str, states: &States) -> Vec<String> {
            let missing = |(pattern, handler): &(Arc<Pattern>, AnyHandler<E>)| Some((pattern.clone(), handler.missing(states)?));
            handlers.iter().filter_map(missing).map(|(pattern, what)| format!("{event}({:?}): {what}", pattern.as_str())).collect()
        }
        let connect = self.connect.iter().filter_map(|handler| handler.missing(&self.states)).map(|what| format!("on_connect: {what}"));
        let disconnect = self.disconnect.iter().filter_map(|handler| handler.missing(&self.states));
        let mut missing: Vec<_> = connect.chain(disconnect.map(|what| format!("on_disconnect: {what}"))).collect();
        missing.extend(of(&self.subscribe, "on_subscribe", &self.states));
        missing.extend(of(&self.publish, "on_publish", &self.states));
        missing.extend(of(&self.deliver, "on_deliver", &self.states));
        missing
    }

    pub fn asks_for_connect(&self) -> bool {
        !self.connect.is_empty()
    }

    pub fn asks_for_subscribe(&self) -> bool {
        !self.subscribe.is_empty()
    }

    pub fn asks_for_publish(&self) -> bool {
        !self.publish.is_empty()
    }

    pub fn asks_for_deliver(&self) -> bool {
        !self.deliver.is_empty()
    }

    pub fn asks_for_disconnect(&self) -> bool {
        !self.disconnect.is_empty()
    }

    /// Whether a Client that was let in by the rules of the house may come in.
    pub async fn admit(&self, client: &Arc<Client>, password: Option<&Bytes>) -> Result<(), Refused> {
        for handler in &self.connect {
            let context = Context { client, states: &self.states, about: About::Connect { password } };
            if let Admission::Refused(reason) = answer(handler, &context).await? {
                return Err(Refused::answer(reason, &IN_CONNACK));
            }
        }
        Ok(())
    }

    /// A connection has ended. All handlers are called, whatever becomes of those before them; says whether one panicked.
    pub async fn disconnected(&self, client: &Arc<Client>, reason: Reason) -> Result<(), Panicked> {
        let mut outcome = Ok(());
        for handler in &self.disconnect {
            let context = Context { client, states: &self.states, about: About::Disconnect { reason } };
            outcome = outcome.and(answer(handler, &context).await.map(drop));
        }
        outcome
    }
}

async fn answer<E: Event>(handler: &AnyHandler<E>, context: &Context<'_>) -> Result<E::Answer, Panicked> {
    let (mut desk, mut called) = (handler.desk(), false);
    poll_fn(|wakers| if std::mem::replace(&mut called, true) { desk.poll(wakers) } else { desk.call(context, wakers) }).await
}

/// Handlers at work on one message after the other. Each sees what those before it made of it; the first refusal is the last word.
pub struct Judging<E: Judges> {
    /// One for each handler.
    places: Vec<Place<E>>,
    /// What was made of the message.
    rewritten: Option<Box<Message>>,
    /// The handler that is asked next, or is at work.
    handler: usize,
    pending: bool,
}

struct Place<E: Judges> {
    /// Whether the handler wants to see messages to the Topic Name they have.
    wants: bool,
    /// From the first message on that it saw.
    desk: Option<Desk<E>>,
}

impl<E: Judges> Default for Judging<E> {
    fn default() -> Judging<E> {
        Judging { places: Vec::new(), rewritten: None, handler: 0, pending: false }
    }
}

impl<E: Judges> Judging<E> {
    /// Messages to this Topic Name come next: whether a handler wants to see them.
    pub fn begin(&mut self, topic: &TopicName, hooks: &Hooks) -> bool {
        let handlers = E::handlers(hooks);
        self.places.resize_with(handlers.len(), || Place { wants: false, desk: None });
        for (place, (pattern, _)) in self.places.iter_mut().zip(handlers) {
            place.wants = pattern.matches(topic);
        }
        self.places.iter().any(|place| place.wants)
    }

    /// Begins with a message, or goes on with it. What goes on in its place, if it is not the same, is then [`Judging::rewritten`]. After a
    /// deadline or a panic comes [`Judging::give_up`].
    pub fn poll(&mut self, message: &Message, hooks: &Hooks, client: &Arc<Client>, wakers: &mut Wakers<'_>) -> Poll<Result<(), Refused>> {
        let handlers = E::handlers(hooks);
        while let (Some(place), Some((pattern, handler))) = (self.places.get_mut(self.handler), handlers.get(self.handler)) {
            let (message, wants) = match &self.rewritten {
                None => (message, place.wants),
                Some(other) => (&**other, pattern.matches(&other.topic)),
            };
            if self.pending || wants {
                let desk = place.desk.get_or_insert_with(|| handler.desk());
                let answer = match self.pending {
                    true => desk.poll(wakers),
                    false => desk.call(&Context { client, states: &hooks.states, about: About::Message { pattern, message } }, wakers),
                };
                self.pending = answer.is_pending();
                match answer {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Verdict::Accept)) => {}
                    Poll::Ready(Ok(Verdict::Rewrite(message))) => self.rewritten = Some(message),
                    Poll::Ready(Ok(Verdict::Refuse(reason))) => return self.refused(Refused::answer(reason, &IN_PUBACK)),
                    Poll::Ready(Err(Panicked)) => return self.refused(Refused::PANIC),
                }
            }
            self.handler += 1;
        }
        self.handler = 0;
        Poll::Ready(Ok(()))
    }

    fn refused(&mut self, refused: Refused) -> Poll<Result<(), Refused>> {
        (self.handler, self.rewritten) = (0, None);
        Poll::Ready(Err(refused))
    }

    #[inline]
    pub fn has_rewritten(&self) -> bool {
        self.rewritten.is_some()
    }

    /// What goes on in place of the message that was let pass, if it is not the same.
    pub fn rewritten(&mut self) -> Option<Box<Message>> {
        self.rewritten.take()
    }

    /// What handlers were at is dropped; the next message finds them fresh.
    pub fn give_up(&mut self) {
        (self.handler, self.rewritten, self.pending) = (0, None, false);
        self.places.iter_mut().for_each(|place| place.desk = None);
    }
}
