//! A handler: an async function of extractors. What it returns becomes an answer. No I/O.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
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
    note = "a handler is an `async fn` (or a closure that returns a future) with at most eight arguments, each an extractor of the event: \
            `Client`, `State<T>`, and, depending on the event, `Topic`, `Params`, `Message`, `Payload`, `Json<T>`, `Properties`",
    note = "it returns nothing, or what the event takes as an answer, or a `Result` of that with a `Reason`; its future is `Send`"
)]
pub trait Handler<E: Event, Arguments>: Send + Sync + 'static {
    /// # Errors
    /// An argument could not be taken: the answer is a refusal.
    fn call(&self, context: &Context<'_>) -> Result<Running<E::Answer>, Reason>;

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
        Verdict::Rewrite(self)
    }
}

impl IntoAnswer<crate::hook::event::Delivering> for Message {
    fn into_answer(self) -> Verdict {
        Verdict::Rewrite(self)
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

type Answering<A> = Pin<Box<dyn Future<Output = A> + Send>>;

/// A handler that was called. It ends with its answer, or with a panic that goes no further.
pub struct Running<A>(Answering<A>);

/// The handler panicked. What it panicked with was said by the panic hook of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

impl<A> Running<A> {
    pub fn poll(&mut self, wakers: &mut Wakers<'_>) -> Poll<Result<A, Panicked>> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(wakers))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

macro_rules! handlers {
    ($($Argument:ident)*) => {
        #[allow(unused_variables, reason = "a handler without arguments takes nothing from them")]
        impl<E, Function, Promise, Returned, $($Argument),*> Handler<E, ($($Argument,)*)> for Function
        where
            E: Event,
            Function: Fn($($Argument),*) -> Promise + Send + Sync + 'static,
            Promise: Future<Output = Returned> + Send + 'static,
            Returned: IntoAnswer<E>,
            $($Argument: FromEvent<E>,)*
        {
            fn call(&self, context: &Context<'_>) -> Result<Running<E::Answer>, Reason> {
                let answering = self($(<$Argument as FromEvent<E>>::from_event(context)?),*);
                Ok(Running(Box::pin(async move { answering.await.into_answer() })))
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

/// Calls a handler.
type Call<E> = dyn Fn(&Context<'_>) -> Result<Running<<E as Event>::Answer>, Reason> + Send + Sync;

/// A handler whose arguments are forgotten, so that many stand in one list.
pub struct AnyHandler<E: Event> {
    call: Box<Call<E>>,
    missing: fn(&States) -> Option<String>,
}

impl<E: Event> AnyHandler<E> {
    pub fn new<Arguments>(handler: impl Handler<E, Arguments>) -> AnyHandler<E> {
        fn missing_of<E: Event, Arguments, H: Handler<E, Arguments>>(_: &H) -> fn(&States) -> Option<String> {
            H::missing
        }
        let missing = missing_of(&handler);
        AnyHandler { call: Box::new(move |context| handler.call(context)), missing }
    }

    /// Calls it; what it does before its first `await` is done by the first [`Running::poll`], unless it is no `async fn`.
    pub fn call(&self, context: &Context<'_>) -> Result<Result<Running<E::Answer>, Reason>, Panicked> {
        catch_unwind(AssertUnwindSafe(|| (self.call)(context))).map_err(|_| Panicked)
    }

    /// What it takes and nobody gave.
    pub fn missing(&self, states: &States) -> Option<String> {
        (self.missing)(states)
    }
}
