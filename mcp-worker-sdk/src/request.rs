//! A request as its handler sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::reply::{Failure, Reply};

/// A message that asks for an answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The Topic Name that it was published to.
    pub topic: String,
    /// What the wildcards of the route stand for: one for each `+`, and one for `#` with all the levels it took.
    pub params: Vec<String>,
    /// What is asked.
    pub payload: Bytes,
    /// The Content Type of the payload, if the requester said one.
    pub content_type: Option<String>,
    /// In the order in which they were sent; a name may stand more than once.
    pub user_properties: Vec<(String, String)>,
    /// Who asks. Empty when the node did not say.
    pub client_id: String,
    /// What the node calls this request; unique, and no business of the requester.
    pub correlation_id: String,
    /// Where the answer will be published; for information only.
    pub response_topic: String,
    /// The QoS that the request was published with.
    pub qos: u8,
    /// 1 for the first worker that gets it; more after the death of a worker, or after [`Failure::retry`].
    pub attempt: u32,
    /// When the requester is told that nobody answered in time.
    pub deadline: Option<Instant>,
    /// The trace that the requester is in, as W3C Trace Context has it.
    pub traceparent: Option<String>,
    pub(crate) control: Control,
}

/// What a handler can do besides answering.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) cancelled: watch::Receiver<bool>,
    pub(crate) courier: Arc<dyn Courier>,
}

pub(crate) type Sending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Carries what a handler says before its end.
pub(crate) trait Courier: Send + Sync {
    fn part(&self, part: Reply) -> Sending<'_, ()>;
    fn extend(&self, by: Duration) -> Sending<'_, ()>;
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Request {
    /// A request without a broker, for tests and for programs that embed one.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Request {
        let (_, cancelled) = watch::channel(false);
        Request {
            topic: topic.into(),
            params: Vec::new(),
            payload: payload.into(),
            content_type: None,
            user_properties: Vec::new(),
            client_id: String::new(),
            correlation_id: String::new(),
            response_topic: String::new(),
            qos: 0,
            attempt: 1,
            deadline: None,
            traceparent: None,
            control: Control { cancelled, courier: Arc::new(Nowhere) },
        }
    }

    /// The same request, with somebody who takes its parts and may cancel it (by setting the flag to true).
    pub fn attended(mut self, parts: tokio::sync::mpsc::Sender<Reply>, cancelled: watch::Receiver<bool>) -> Request {
        self.control = Control { cancelled, courier: Arc::new(Parts(parts)) };
        self
    }

    /// The payload, read as JSON.
    ///
    /// # Errors
    /// It is not the JSON of a `T`; returned from a handler this is an error reply.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| Failure::new(format!("the payload is not the JSON that is expected: {error}")))
    }

    /// The first User Property of this name.
    pub fn user_property(&self, name: &str) -> Option<&str> {
        self.user_properties.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What is left until the deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether nobody wants the answer any more.
    pub fn is_cancelled(&self) -> bool {
        *self.control.cancelled.borrow()
    }

    /// Comes back when nobody wants the answer any more: the requester took the request back, or the worker ends and waits no longer.
    pub async fn cancelled(&self) {
        let mut cancelled = self.control.cancelled.clone();
        if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends a part of the answer: progress, or a piece of a stream. It goes to the requester at once, in the order of the calls; the
    /// handler's own result comes last.
    ///
    /// # Errors
    /// It could not be handed to Redis.
    pub async fn part(&self, part: impl Into<Reply>) -> Result<(), Failure> {
        self.control.courier.part(part.into()).await
    }

    /// This handler needs longer than [`request_timeout`](crate::WorkerBuilder::request_timeout): so much more from now on. The deadline
    /// of the requester stays what it is.
    ///
    /// # Errors
    /// It could not be handed to Redis.
    pub async fn extend(&self, by: Duration) -> Result<(), Failure> {
        self.control.courier.extend(by).await
    }
}

/// For a request that nobody attends to.
struct Nowhere;

impl Courier for Nowhere {
    fn part(&self, _part: Reply) -> Sending<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn extend(&self, _by: Duration) -> Sending<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

struct Parts(tokio::sync::mpsc::Sender<Reply>);

impl Courier for Parts {
    fn part(&self, part: Reply) -> Sending<'_, ()> {
        Box::pin(async { self.0.send(part).await.map_err(|_| Failure::new("nobody takes the parts of this request any more")) })
    }

    fn extend(&self, _by: Duration) -> Sending<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
