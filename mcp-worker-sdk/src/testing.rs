//! A broker for tests of handlers: no MQTT, no Redis.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::handler::Handler;
use crate::reply::{Failure, Reply};
use crate::request::Request;
use crate::routes::Routes;

/// How long an answer may take before a test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Parts that nobody has looked at yet.
const PARTS_MAX: usize = 1024;

/// Routes requests to handlers and gives back what they answer.
///
/// ```
/// use mcp_worker_sdk::{Request, testing::FakeBroker};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let broker = FakeBroker::new().route("devices/+/echo", |r: Request| async move { r.payload });
/// assert_eq!(broker.request("devices/7/echo", "hi").await.unwrap().payload, "hi");
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FakeBroker {
    routes: Routes,
}

/// All that a requester gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What came before the result.
    pub parts: Vec<Reply>,
    /// The answer, or what the requester would be told in its place.
    pub result: Result<Reply, Failure>,
}

/// A request on its way.
#[derive(Debug)]
pub struct Pending {
    parts: mpsc::Receiver<Reply>,
    cancel: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Option<Result<Reply, Failure>>>,
}

impl FakeBroker {
    /// One that answers nothing yet.
    pub fn new() -> FakeBroker {
        FakeBroker::default()
    }

    /// As [`WorkerBuilder::route`](crate::WorkerBuilder::route).
    ///
    /// # Panics
    /// The filter is no Topic Filter.
    pub fn route(mut self, filter: &str, handler: impl Handler) -> FakeBroker {
        assert!(self.routes.add(filter, handler), "{filter:?} is no Topic Filter");
        self
    }

    /// Asks, and waits for the answer; its parts are thrown away.
    ///
    /// # Errors
    /// The failure that the requester would be told.
    pub async fn request(&self, topic: &str, payload: impl Into<bytes::Bytes>) -> Result<Reply, Failure> {
        self.send(Request::new(topic, payload)).answer().await.result
    }

    /// Asks, and does not wait.
    pub fn send(&self, request: Request) -> Pending {
        let (sender, parts) = mpsc::channel(PARTS_MAX);
        let (cancel, cancelled) = watch::channel(false);
        let routes = self.routes.clone();
        let task = tokio::spawn(async move { routes.answer(request.attended(sender, cancelled)).await });
        Pending { parts, cancel, task }
    }
}

impl Pending {
    /// The requester takes it back.
    pub fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    /// The next part; `None`: the result is there, and no part is left.
    pub async fn part(&mut self) -> Option<Reply> {
        self.parts.recv().await
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// The handler takes longer than 10 s.
    pub async fn answer(mut self) -> Answer {
        let answered = timeout(PATIENCE, &mut self.task).await.expect("an answer within 10 s");
        let mut parts = Vec::new();
        while let Ok(part) = self.parts.try_recv() {
            parts.push(part);
        }
        let no_worker = || Err(Failure::new("no route matches"));
        let result = answered.map_or_else(|_| Err(Failure::new("the handler panicked")), |answered| answered.unwrap_or_else(no_worker));
        Answer { parts, result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_come_before_the_result_and_a_cancel_is_noticed() {
        let broker = FakeBroker::new()
            .route("count", |r: Request| async move {
                for n in 1..=3 {
                    r.part(n.to_string()).await?;
                }
                Ok::<_, Failure>("done")
            })
            .route("wait", |r: Request| async move {
                r.cancelled().await;
                "cancelled"
            });
        let answer = broker.send(Request::new("count", "")).answer().await;
        assert_eq!(answer.parts.iter().map(|part| &part.payload[..]).collect::<Vec<_>>(), [b"1", b"2", b"3"]);
        assert_eq!(answer.result.unwrap().payload, "done");
        let pending = broker.send(Request::new("wait", ""));
        pending.cancel();
        assert_eq!(pending.answer().await.result.unwrap().payload, "cancelled");
        assert!(broker.request("nowhere", "").await.is_err());
    }
}
