//! Who answers: a function, something typed, a service.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reply::{Failure, IntoReply, Reply};
use crate::request::Request;

/// The answer, when it is there.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// Answers requests. Every `async fn(Request) -> impl IntoReply` does.
///
/// It is called beside itself, as often as the concurrency of the worker allows. A future that is dropped has been cancelled.
pub trait Handler: Send + Sync + 'static {
    /// Begins to answer; the future does the rest.
    fn call(&self, request: Request) -> Answering;
}

impl<F, Answer> Handler for F
where
    F: Fn(Request) -> Answer + Send + Sync + 'static,
    Answer: Future + Send + 'static,
    Answer::Output: IntoReply,
{
    fn call(&self, request: Request) -> Answering {
        let answer = self(request);
        Box::pin(async move { answer.await.into_reply() })
    }
}

/// A handler that takes a `T` from JSON and returns something that becomes JSON.
///
/// ```
/// use mcp_worker_sdk::{Failure, json};
///
/// #[derive(serde::Deserialize)]
/// struct Add { a: i64, b: i64 }
///
/// let handler = json(|Add { a, b }: Add| async move { a.checked_add(b).ok_or(Failure::new("too large")) });
/// # let _: &dyn mcp_worker_sdk::Handler = &handler;
/// ```
pub fn json<F, T, Answer, R, E>(handler: F) -> Json<F, T>
where
    F: Fn(T) -> Answer + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    Answer: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize,
    E: Into<Failure>,
{
    Json { handler, takes: PhantomData }
}

/// See [`json`].
#[derive(Clone, Copy, Debug)]
pub struct Json<F, T> {
    handler: F,
    takes: PhantomData<fn(T)>,
}

impl<F, T, Answer, R, E> Handler for Json<F, T>
where
    F: Fn(T) -> Answer + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    Answer: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize,
    E: Into<Failure>,
{
    fn call(&self, request: Request) -> Answering {
        let answer = request.json().map(&self.handler);
        Box::pin(async move { Reply::json(&answer?.await.map_err(Into::into)?) })
    }
}

/// A handler that is a [`tower::Service`], with all layers that it stands in. It is cloned for every request.
///
/// ```
/// use mcp_worker_sdk::testing::FakeBroker;
/// use mcp_worker_sdk::{Failure, Reply, Request, service};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let echo = tower::service_fn(|r: Request| async move { Ok::<_, Failure>(Reply::new(r.payload)) });
/// let signed = echo.map_response(|reply| reply.with_user_property("by", "tower"));
/// let broker = FakeBroker::new().route("echo", service(signed));
/// assert_eq!(broker.request("echo", "hi").await.unwrap().user_properties, [("by".into(), "tower".into())]);
/// # }
/// ```
#[cfg(feature = "tower")]
pub fn service<S>(service: S) -> Service<S>
where
    S: tower::Service<Request> + Clone + Send + Sync + 'static,
    S::Response: IntoReply,
    S::Error: Into<Failure>,
    S::Future: Send,
{
    Service { service }
}

/// See [`service`].
#[cfg(feature = "tower")]
#[derive(Clone, Debug)]
pub struct Service<S> {
    service: S,
}

#[cfg(feature = "tower")]
impl<S> Handler for Service<S>
where
    S: tower::Service<Request> + Clone + Send + Sync + 'static,
    S::Response: IntoReply,
    S::Error: Into<Failure>,
    S::Future: Send,
{
    fn call(&self, request: Request) -> Answering {
        let service = self.service.clone();
        Box::pin(async move { tower::ServiceExt::oneshot(service, request).await.map_err(Into::into)?.into_reply() })
    }
}
