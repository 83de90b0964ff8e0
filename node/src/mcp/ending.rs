//! How a request ends without an answer, and what is told and forgotten then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hook::request::{Asked, Refusal};
use crate::mcp::context::{Context, Trouble};
use crate::mcp::waiting::{Cancel, Entry};
use crate::mcp::{CLAIM, Mcp};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::redis::requests::{Claim, Requests};
use crate::time::Time;

/// Tells a node that a request of its own has ended, and that it may still be in the stream.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) ended: String,
}

impl Mcp {
    /// Ends a request without an answer of a worker, if nobody else does. What cannot be told now is told by whoever finds the request due.
    pub(super) async fn end(&self, redis: &Requests, id: &str, trouble: Trouble, now: Time) -> Result<(), StoreError> {
        let (context, again) = match redis.claim(id, 0, now, now + CLAIM).await? {
            Claim::Yours { context, again } => (context, again),
            Claim::Gone => return redis.finish(id).await,
            Claim::Taken | Claim::TooEarly => return Ok(()),
        };
        let Some(context) = Context::decode(&context) else {
            tracing::warn!(id, "a request that another version of this program has kept cannot be answered");
            return redis.finish(id).await;
        };
        let trouble = match trouble {
            Trouble::Timeout if now.0 < context.deadline_ms => Trouble::Unavailable, // whoever claimed it has not finished
            trouble => trouble,
        };
        // Those who subscribe to the topic answer in the way of MQTT.
        let is_theirs = context.matched && trouble == Trouble::NoWorker;
        if !is_theirs {
            self.tell(&context, trouble).await?;
            if again {
                self.count(|metrics| Metrics::add(&metrics.mcp_responses_repeated, 1));
            }
        }
        redis.finish(id).await?;
        self.ended(redis, id, &context, false).await;
        Ok(())
    }

    /// A request of this node is over; of another node: tells it. `is_done`: a worker has done with it in the stream too.
    pub(super) async fn ended(&self, redis: &Requests, id: &str, context: &Context, is_done: bool) {
        if self.over(id, is_done).await || context.node == redis.node() {
            return;
        }
        let word = match is_done {
            true => id.to_owned(),
            false => serde_json::to_string(&Ended { ended: id.to_owned() }).unwrap_or_default(),
        };
        // When it is lost, the other node looks which of its requests have ended.
        let _ = redis.publish(vec![(redis.node_channel(&context.node), word)]).await;
    }

    /// Forgets a request of this node. False: it has none of this name.
    pub(super) async fn over(&self, id: &str, is_done: bool) -> bool {
        let Some(entry) = self.waiting.remove(id) else { return false };
        if !is_done {
            self.take_from_stream(vec![entry]).await;
        }
        true
    }

    /// Nobody shall begin to work on these requests any more.
    pub(super) async fn take_from_stream(&self, ended: Vec<Entry>) {
        let entries: Vec<_> = ended.into_iter().filter_map(|entry| entry.in_stream).collect();
        if let Some(redis) = self.redis() {
            let _ = redis.remove_entries(&entries).await; // they are trimmed
        }
    }

    /// Sends an error reply.
    pub(super) async fn tell(&self, context: &Context, trouble: Trouble) -> Result<(), StoreError> {
        if let Some(message) = context.trouble(trouble, None, None) {
            self.forward(message).await?;
        }
        self.count_trouble(trouble);
        Ok(())
    }

    pub(super) fn count_trouble(&self, trouble: Trouble) {
        self.count(|metrics| {
            let counter = match trouble {
                Trouble::Unavailable => &metrics.mcp_errors_unavailable,
                Trouble::Timeout => &metrics.mcp_errors_timeout,
                Trouble::NoWorker => &metrics.mcp_errors_no_worker,
                Trouble::WorkerFailed => &metrics.mcp_errors_worker_failed,
                Trouble::TooLarge => &metrics.mcp_errors_too_large,
            };
            Metrics::add(counter, 1);
        });
    }

    /// # Errors
    /// The Store does not take it; `Full`: surely.
    pub(super) async fn forward(&self, message: Message) -> Result<(), StoreError> {
        let Some(broker) = self.broker.upgrade() else { return Err(StoreError::Unavailable) };
        let now = broker.clock.now();
        Box::pin(broker.publish_held(message, now)).await
    }

    /// The requester takes a request back: nobody is told, but the worker.
    pub(super) async fn cancel(self: &Arc<Self>, asked: &Asked, takes_back: Option<Value>, now: Time) -> Result<(), Refusal> {
        let data = asked.message.properties.as_deref().and_then(|properties| properties.correlation_data.as_deref());
        let cancel = Cancel {
            client_id: asked.client.id.as_str().to_owned(),
            correlation_data_b64: data.map(mcp_worker_sdk::wire::encode),
            rpc: takes_back.map(|id| (asked.message.topic.as_str().to_owned(), id)),
        };
        if self.cancel_here(&cancel, now).await.map_err(|_| Refusal::Unavailable)? {
            return Ok(());
        }
        // It may have been sent by way of another node.
        if !self.shared {
            return Ok(());
        }
        let redis = self.redis().ok_or(Refusal::Unavailable)?;
        let text = serde_json::to_string(&cancel).unwrap_or_default();
        redis.publish(vec![(redis.nodes_channel(), text)]).await.map_err(|_| Refusal::Unavailable)
    }

    /// Whether this node has the request.
    pub(super) async fn cancel_here(&self, cancel: &Cancel, now: Time) -> Result<bool, StoreError> {
        let Some(id) = self.waiting.find(cancel) else { return Ok(false) };
        let is_here = self.routes.matches(&self.waiting.topic(&id).unwrap_or_default());
        if self.shared && !is_here {
            let redis = self.redis().ok_or(StoreError::Unavailable)?;
            if let Claim::Yours { .. } = redis.claim(&id, 0, now, now + CLAIM).await? {
                redis.finish(&id).await?;
                let told = serde_json::json!({ "correlation_id": &*id }).to_string();
                redis.publish(vec![(redis.names().cancelled(), told)]).await?;
            }
        }
        if let Some(mut entry) = self.waiting.remove(&id) {
            self.count(|metrics| Metrics::add(&metrics.mcp_cancelled, 1));
            entry.cancel.take().map(|cancel| cancel.send(true));
            self.take_from_stream(vec![entry]).await;
        }
        Ok(true)
    }
}
