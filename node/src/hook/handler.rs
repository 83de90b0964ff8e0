//! A handler: an async function of extractors. What it returns becomes an answer. No I/O.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Wakers, Poll};

use bytes::Bytes;

use crate::hook::event::{Answer, Context, Event, Publishing, States, Subscribing, Verdict, Welcome};
use crate::hook::extract::FromEvent;
use crate::message::Message;
use crate::packet::reason::Reason;

/// What the event `E` calls: any `async fn` whose arguments are extractors. `Arguments` is their tuple; it is never written by hand.
#[diagnostic::on_unimplemented(
    message = "this is no handler of the event `{E}`",
    label = "not an async function of extractors for `{E}`",
    note = "a handler is an `async fn`, or a closure that returns a future, with at most eight arguments; its future is `Send`",
    note = "arguments: `Client` and `State<T>`; of `Connecting` also `Password`; of `Subscribing` also `Topic`, `Params` and \
            `SubscriptionOptions`; of `Publishing` and `Delivering` also `Topic`, `Params`, `Message`, `Payload`, `Json<T>` and `Properties`; \
            of `Disconnected` also `Reason`",
    note = "answers: nothing, or a `Result` with a `Reason`; of `Publishing` and `Delivering` also a `Message` to go on in its place, or a \
            `Verdict`; of `Subscribing` also a `Message` or a payload for the new subscriber, or an `Option` of them"
)]
pub trait Handler<E: Event, Arguments>: Send + Sync + 'static {
    /// What it returns when it is called.
    type Promise: Future<Output: IntoAnswer<E>> + Send + 'static;

    /// # Errors
    /// An argument could not be taken: the answer is a refusal.
    fn call(&self, context: &Context<'_>) -> Result<Self::Promise, Reason>;

    fn missing(states: &States) -> Option<String>;
}

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler of the event `{E}` cannot answer with `{Self}`",
    note = "every handler may return `()` or `Result<(), Reason>`; one of `Publishing` or `Delivering` also a `Message` (to go on in its place) or \
            a `Verdict`; one of `Subscribing` also a `Message`, or a payload (`Bytes`, `Vec<u8>`, `String`, `&'static str`), or an `Option` of them"
)]
pub trait IntoAnswer<E: Event> {
    fn into_answer(self) -> E::Answer;
}

impl<E: Event> IntoAnswer<E> for () {
    fn into_answer(self) -> E::Answer {
        E::Answer::default()
    }
}

impl<E: Event, T: IntoAnswer<E>, R: Into<Reason>> IntoAnswer<E> for Result<T, R> {
    fn into_answer(self) -> E::Answer {
        match self {
            Ok(answer) => answer.into_answer(),
            Err(reason) => E::Answer::refused(reason.into()),
        }
    }
}

impl<E: Event<Answer = Verdict>> IntoAnswer<E> for Verdict {
    fn into_answer(self) -> Verdict {
        self
    }
}

impl IntoAnswer<Publishing> for Message {
    fn into_answer(self) -> Verdict {
        Verdict::Rewrite(Box::new(self))
    }
}

impl IntoAnswer<crate::hook::event::Delivering> for Message {
    fn into_answer(self) -> Verdict {
        Verdict::Rewrite(Box::new(self))
    }
}

impl IntoAnswer<Subscribing> for Message {
    fn into_answer(self) -> Welcome {
        Welcome::WithMessage(self)
    }
}

impl<T: IntoAnswer<Subscribing>> IntoAnswer<Subscribing> for Option<T> {
    fn into_answer(self) -> Welcome {
        self.map_or(Welcome::Granted, T::into_answer)
    }
}

macro_rules! payloads {
    ($($payload:ty),*) => {
        $(impl IntoAnswer<Subscribing> for $payload {
            fn into_answer(self) -> Welcome {
                Welcome::WithPayload(Bytes::from(self))
            }
        })*
    };
}

payloads!(Bytes, Vec<u8>, String, &'static str);

/// The handler panicked. What it panicked with was said by the panic hook of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// A place at which one handler works on one event after the other. The memory for its future is taken once: a handler that has its answer at
/// once allocates nothing. It ends with its answer, or with a panic that goes no further; after a panic the place is not used again.
pub struct Desk<E: Event>(Box<dyn Work<E>>);

/// What it does before its first `await` is done by the call.
impl<E: Event> Desk<E> {
    /// Calls the handler. An argument that cannot be taken is a refusal.
    pub fn call(&mut self, context: &Context<'_>, wakers: &mut Wakers<'_>) -> Poll<Result<E::Answer, Panicked>> {
        unless_panic(|| self.0.call(context, wakers))
    }

    /// Goes on with what is pending.
    pub fn poll(&mut self, wakers: &mut Wakers<'_>) -> Poll<Result<E::Answer, Panicked>> {
        unless_panic(|| self.0.poll(wakers))
    }
}

fn unless_panic<A>(work: impl FnOnce() -> Poll<A>) -> Poll<Result<A, Panicked>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}

/// A handler whose type is forgotten, at work.
trait Work<E: Event>: Send {
    fn call(&mut self, context: &Context<'_>, wakers: &mut Wakers<'_>) -> Poll<E::Answer>;

    fn poll(&mut self, wakers: &mut Wakers<'_>) -> Poll<E::Answer>;
}

struct Working<E: Event, Arguments, H: Handler<E, Arguments>> {
    handler: Arc<H>,
    promise: Pin<Box<Option<H::Promise>>>,
}

impl<E: Event, Arguments, H: Handler<E, Arguments>> Work<E> for Working<E, Arguments, H> {
    fn call(&mut self, context: &Context<'_>, wakers: &mut Wakers<'_>) -> Poll<E::Answer> {
        match self.handler.call(context) {
            Ok(promise) => self.promise.as_mut().set(Some(promise)),
            Err(reason) => return Poll::Ready(E::Answer::refused(reason)),
        }
        self.poll(wakers)
    }

    fn poll(&mut self, wakers: &mut Wakers<'_>) -> Poll<E::Answer> {
        let Some(promise) = self.promise.as_mut().as_pin_mut() else { return Poll::Pending };
        let Poll::Ready(returned) = promise.poll(wakers) else { return Poll::Pending };
        self.promise.as_mut().set(None);
        Poll::Ready(returned.into_answer())
    }
}

macro_rules! handlers {
    ($($Argument:ident)*) => {
        #[allow(unused_variables, reason = "a handler without arguments takes nothing from them")]
        impl<E, Function, Promise, $($Argument),*> Handler<E, ($($Argument,)*)> for Function
        where
            E: Event,
            Function: Fn($($Argument),*) -> Promise + Send + Sync + 'static,
            Promise: Future<Output: IntoAnswer<E>> + Send + 'static,
            $($Argument: FromEvent<E>,)*
        {
            type Promise = Promise;

            fn call(&self, context: &Context<'_>) -> Result<Promise, Reason> {
                Ok(self($(<$Argument as FromEvent<E>>::from_event(context)?),*))
            }

            fn missing(states: &States) -> Option<String> {
                None$(.or_else(|| <$Argument as FromEvent<E>>::missing(states)))*
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D F);
handlers!(A B C D F G);
handlers!(A B C D F G H);
handlers!(A B C D F G H I);

/// A handler whose type is forgotten, so that many stand in one list.
pub struct AnyHandler<E: Event> {
    desk: Box<dyn Fn() -> Desk<E> + Send + Sync>,
    missing: fn(&States) -> Option<String>,
}

impl<E: Event> AnyHandler<E> {
    pub fn new<Arguments: 'static, H: Handler<E, Arguments>>(handler: H) -> AnyHandler<E> {
        let handler = Arc::new(handler);
        let desk = move || Desk(Box::new(Working { handler: handler.clone(), promise: Box::pin(None) }));
        AnyHandler { desk: Box::new(desk), missing: H::missing }
    }

    /// A place for it to work at.
    pub fn desk(&self) -> Desk<E> {
        (self.desk)()
    }

    /// What it takes and nobody gave.
    pub fn missing(&self, states: &States) -> Option<String> {
        (self.missing)(states)
    }
}
