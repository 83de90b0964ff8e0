//! What user code does wrong: it is counted always, and told in the log now and then, for a Client must not be able to fill it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::broker::Broker;
use crate::hook::client::Client;
use crate::hook::hooks::Why;
use crate::metrics::Metrics;
use crate::time::{Span, Time};

/// Between two lines of one kind.
const PAUSE: Span = Span::seconds(1);

/// Lets a line into the log once in a while.
#[derive(Debug, Default)]
struct Seldom {
    next: AtomicU64,
    unsaid: AtomicU64,
}

impl Seldom {
    /// How many lines were not said since the last one; `None`: nor is this one.
    fn says(&self, now: Time) -> Option<u64> {
        let next = self.next.load(Relaxed);
        let is_time = next <= now.0 && self.next.compare_exchange(next, (now + PAUSE).0, Relaxed, Relaxed).is_ok();
        if is_time {
            return Some(self.unsaid.swap(0, Relaxed));
        }
        self.unsaid.fetch_add(1, Relaxed);
        None
    }
}

/// When it was last told.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    failures: Seldom,
    blocks: Seldom,
    payloads: Seldom,
}

impl Broker {
    /// Counts and tells what user code failed at.
    pub(crate) fn count_failure(&self, client: &Client, event: &'static str, why: Why) {
        let (counter, what) = match why {
            Why::Answer => return,
            Why::Panic => (&self.metrics.hook_panics, "panicked"),
            Why::Deadline => (&self.metrics.hook_timeouts, "took too long"),
        };
        Metrics::add(counter, 1);
        if let Some(unsaid) = self.conduct.failures.says(self.clock.now()) {
            tracing::error!(client_id = %client.id, event, unsaid, "a handler {what}");
        }
    }

    /// Nobody can interrupt user code that does not await; but it is told when it was over, if that was later than it may.
    pub(crate) fn note_block(&self, client: &Client, event: &'static str, begun: Time) {
        let now = self.clock.now();
        let took = now.since(begun);
        if u128::from(took.0) <= self.hooks.deadline.as_millis() {
            return;
        }
        Metrics::add(&self.metrics.hook_blocks, 1);
        if let Some(unsaid) = self.conduct.blocks.says(now) {
            tracing::error!(client_id = %client.id, event, took_ms = took.0, unsaid, "a handler blocked its thread: spawn_blocking is for that");
        }
    }

    /// User code as it is awaited.
    pub(crate) async fn watched<T>(&self, client: &Client, event: &'static str, code: impl Future<Output = T>) -> T {
        let mut code = pin!(code);
        poll_fn(|context| {
            let begun = self.clock.now();
            let polled = code.as_mut().poll(context);
            self.note_block(client, event, begun);
            polled
        })
        .await
    }

    /// `on_subscribe` returned so many payloads that have no topic.
    pub(crate) fn count_without_topic(&self, client: &Client, count: u64) {
        Metrics::add(&self.metrics.hook_payloads_without_topic, count);
        if let Some(unsaid) = self.conduct.payloads.says(self.clock.now()) {
            let text = "on_subscribe returned a payload for a subscription with wildcards: return a Message, with its topic";
            tracing::warn!(client_id = %client.id, unsaid, "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_a_second() {
        let seldom = Seldom::default();
        let said: Vec<_> = [5000, 5001, 5999, 6000, 6001, 9000].map(|ms| seldom.says(Time(ms))).to_vec();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
