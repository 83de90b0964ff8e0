//! What is published here and also goes out of the cluster, and what comes in from there. Where that is, the broker does not know.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::broker::Broker;
use crate::broker::batch::Batch;
use crate::broker::routes::RouteCache;
use crate::message::{Message, Run};
use crate::metrics::Metrics;
use crate::session::Outcome;
use crate::store::StoreError;
use crate::time::Time;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Runs that wait to be sent, and their bytes; more are dropped and counted, for nobody who publishes waits for this.
const RUNS_MAX: usize = 16_384;
const BYTES_MAX: usize = 32 << 20;

/// Messages and bytes that are sent at once; one run more may be.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 64 << 10;

/// The way out: what waits there, and what it is for.
#[derive(Debug)]
pub struct Outward {
    filters: Vec<TopicFilter>,
    waiting: Mutex<Waiting>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    runs: VecDeque<Arc<Run>>,
    bytes: usize,
}

impl Outward {
    /// For messages to these topics.
    pub fn new(filters: Vec<TopicFilter>) -> Outward {
        Outward { filters, waiting: Mutex::default(), came: Notify::new() }
    }

    /// Topic Names that begin with `$` are never for others.
    fn wants(&self, topic: &TopicName) -> bool {
        !topic.is_reserved() && self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// False: there is no room.
    fn offer(&self, run: Arc<Run>) -> bool {
        let mut waiting = self.lock();
        // One that is too large by itself has its turn too.
        if waiting.runs.len() >= RUNS_MAX || waiting.bytes > 0 && waiting.bytes + run.bytes() > BYTES_MAX {
            return false;
        }
        waiting.bytes += run.bytes();
        waiting.runs.push_back(run);
        drop(waiting);
        self.came.notify_one();
        true
    }

    /// Waits until there is something to send.
    pub async fn take(&self) -> Vec<Arc<Run>> {
        loop {
            let came = self.came.notified();
            let taken = self.lock().take();
            if !taken.is_empty() {
                return taken;
            }
            came.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Vec<Arc<Run>> {
        let (mut taken, mut messages, mut bytes) = (Vec::new(), 0, 0);
        while messages < BATCH_MESSAGES
            && bytes < BATCH_BYTES
            && let Some(run) = self.runs.pop_front()
        {
            messages += run.messages().len();
            bytes += run.bytes();
            taken.push(run);
        }
        self.bytes -= bytes;
        taken
    }
}

impl Broker {
    /// Remembers a run that is published here for the first time: it goes out when it is stored.
    pub(super) fn note_outward(&self, run: &Arc<Run>, origin: usize, batch: &mut Batch) {
        if self.outward.get().is_some_and(|outward| outward.wants(run.topic())) {
            batch.outward.push((origin, run.clone()));
        }
    }

    /// What was refused does not go out.
    pub(super) fn send_outward(&self, batch: &mut Batch, outcomes: &[Outcome]) {
        let Some(outward) = self.outward.get() else { return };
        for (origin, run) in batch.outward.drain(..) {
            let refused = matches!(outcomes.get(origin), Some(Outcome::Refused(_)));
            let messages = run.messages().len() as u64;
            if !refused && !outward.offer(run) {
                Metrics::add(&self.metrics.bridge_unsent, messages);
            }
        }
    }

    /// Hands messages from outside to those who subscribe to their topics, and to nobody else. A subscriber that cannot keep up holds them
    /// back for a moment.
    pub async fn publish_inward(&self, messages: Vec<Message>, now: Time) -> Result<(), StoreError> {
        self.promise().await?;
        let (mut batch, mut cache) = (Batch::default(), RouteCache::default());
        for run in runs(messages) {
            self.route(&mut cache, None, &Arc::new(run), &[], &mut batch).await?;
        }
        self.flush(&mut batch, &mut [], now).await?;
        batch.hold().await;
        Ok(())
    }
}

/// Messages in a row to one topic are a run.
fn runs(messages: Vec<Message>) -> Vec<Run> {
    let mut rows: Vec<Vec<Message>> = Vec::new();
    for message in messages {
        match rows.last_mut().filter(|row| row[0].topic == message.topic) {
            Some(row) => row.push(message),
            None => rows.push(vec![message]),
        }
    }
    rows.into_iter().map(Run::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::QoS;

    fn message(topic: &str, bytes: usize) -> Message {
        let (topic, payload) = (TopicName::new(topic.into()).unwrap(), vec![b'x'; bytes].into());
        Message { topic, payload, qos: QoS::AtMostOnce, retain: false, properties: None, expires_at: None }
    }

    fn outward(filters: &[&str]) -> Outward {
        Outward::new(filters.iter().map(|filter| TopicFilter::new(filter).unwrap()).collect())
    }

    #[test]
    fn what_goes_out_is_what_the_filters_want() {
        let rows: &[(&[&str], &str, bool)] = &[
            (&["#"], "a/b", true),
            (&["#"], "$SYS/broker/uptime", false),
            (&["$SYS/#", "$other"], "$SYS/broker/uptime", false),
            (&["$other"], "$other", false),
            (&["a/+", "c"], "a/b", true),
            (&["a/+", "c"], "c", true),
            (&["a/+", "c"], "a/b/c", false),
            (&[], "a", false),
        ];
        for (filters, topic, wanted) in rows {
            assert_eq!(outward(filters).wants(&TopicName::new((*topic).into()).unwrap()), *wanted, "{filters:?} {topic}");
        }
    }

    #[test]
    fn what_waits_is_bounded_and_comes_in_order() {
        let outward = outward(&["#"]);
        let run = |bytes: usize| Arc::new(Run::from(message("t", bytes)));
        let huge = BYTES_MAX + 1;
        assert!(outward.offer(run(huge)), "nothing waits");
        assert!(!outward.offer(run(1)), "it has all the room");
        assert_eq!(outward.lock().take().len(), 1);
        for _ in 0..RUNS_MAX {
            assert!(outward.offer(run(1)));
        }
        assert!(!outward.offer(run(1)));
        let taken: usize = std::iter::from_fn(|| Some(outward.lock().take().len()).filter(|taken| *taken > 0))
            .inspect(|taken| assert!(*taken <= BATCH_MESSAGES))
            .sum();
        assert_eq!((taken, outward.lock().bytes), (RUNS_MAX, 0));
    }

    #[test]
    fn messages_in_a_row_are_a_run() {
        let messages = ["a", "a", "b", "a"].map(|topic| message(topic, 1)).to_vec();
        let runs = runs(messages);
        let shape: Vec<_> = runs.iter().map(|run| (run.topic().as_str(), run.messages().len())).collect();
        assert_eq!(shape, [("a", 2), ("b", 1), ("a", 1)]);
    }
}
