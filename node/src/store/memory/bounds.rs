//! How much the store may hold, how much it holds, and messages that are counted for as long as somebody holds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::message::{Message, Run};
use crate::packet::QoS;
use crate::store::Stats;
use crate::time::Time;

/// What a stored message costs beside its text and data: its place in a queue and its share of a run.
const MESSAGE_OVERHEAD: usize = 128;

/// The bounds of the embedded store. What happens at each is stated here and counted in [`Stats`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions, connected or not; beyond it a new one is refused with [`StoreError::Full`](crate::store::StoreError::Full).
    pub sessions_max: u64,
    /// Messages in the queue of one Session; new ones that do not fit are dropped.
    pub queue_messages_max: u64,
    /// Bytes in the queue of one Session, counted as though it had its own copy of each message, with 128 bytes for each beside its
    /// topic, payload and properties.
    pub queue_bytes_max: u64,
    /// Messages in all queues together; beyond it an `Append` stores nothing and says so.
    pub messages_max: u64,
    /// Bytes of all queued and retained messages; a run in many queues counts once, and until the last of its messages is gone.
    pub bytes_max: u64,
    /// Retained messages; beyond it a new Topic Name is refused, a known one can still be replaced.
    pub retained_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions_max: 1_000_000,
            queue_messages_max: 100_000,
            queue_bytes_max: 256 << 20,
            messages_max: 20_000_000,
            bytes_max: 2 << 30,
            retained_max: 1_000_000,
        }
    }
}

/// The limits with their counters.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) limits: Limits,
    pub(super) sessions: AtomicU64,
    pub(super) queued_messages: AtomicU64,
    pub(super) queued_bytes: AtomicU64,
    pub(super) retained: AtomicU64,
    held_bytes: AtomicU64,
    pub(super) dropped_full: AtomicU64,
    pub(super) expired: AtomicU64,
}

impl Bounds {
    pub(super) fn new(limits: Limits) -> Bounds {
        Bounds {
            limits,
            sessions: AtomicU64::default(),
            queued_messages: AtomicU64::default(),
            queued_bytes: AtomicU64::default(),
            retained: AtomicU64::default(),
            held_bytes: AtomicU64::default(),
            dropped_full: AtomicU64::default(),
            expired: AtomicU64::default(),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.load(Relaxed),
            queued_messages: self.queued_messages.load(Relaxed),
            queued_bytes: self.queued_bytes.load(Relaxed),
            retained: self.retained.load(Relaxed),
            held_bytes: self.held_bytes.load(Relaxed),
            dropped_full: self.dropped_full.load(Relaxed),
            expired: self.expired.load(Relaxed),
        }
    }

    pub(super) fn admit_session(&self) -> bool {
        raise(&self.sessions, 1, self.limits.sessions_max)
    }

    /// Makes room for so many messages in a queue, or says that the store is full.
    pub(super) fn admit_messages(&self, messages: u64, bytes: u64) -> bool {
        let admitted = raise(&self.queued_messages, messages, self.limits.messages_max);
        if admitted {
            self.queued_bytes.fetch_add(bytes, Relaxed);
        }
        admitted
    }

    /// Messages have left a queue.
    pub(super) fn release_messages(&self, messages: u64, bytes: u64) {
        self.queued_messages.fetch_sub(messages, Relaxed);
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }

    pub(super) fn admit_retained(&self) -> bool {
        raise(&self.retained, 1, self.limits.retained_max)
    }
}

/// Raises a counter by `by` unless it would pass `max`. Never passes it for a moment either, or two that raise at once would refuse a third.
fn raise(counter: &AtomicU64, by: u64, max: u64) -> bool {
    counter.fetch_update(Relaxed, Relaxed, |held| held.checked_add(by).filter(|sum| *sum <= max)).is_ok()
}

/// The bytes of a message as the limits of a queue count them.
pub(super) fn weight(message: &Message) -> u64 {
    let properties = message.properties.as_deref().map_or(0, |properties| properties.size());
    (MESSAGE_OVERHEAD + message.topic.as_str().len() + message.payload.len() + properties) as u64
}

/// A run in memory of its own, counted until the last queue lets go of it, and what all those queues would otherwise each have to work out.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) run: Arc<Run>,
    /// The sum of the weights of its messages.
    pub(super) weight: u64,
    /// The smallest QoS in it.
    pub(super) lowest: QoS,
    /// When the first of its messages expires.
    pub(super) next_expiry: Option<Time>,
    bounds: Arc<Bounds>,
}

impl Kept {
    /// `None` when the store has no room for it.
    pub(super) fn new(run: &Run, bounds: &Arc<Bounds>) -> Option<Kept> {
        let messages = run.messages();
        let weight = messages.iter().map(weight).sum();
        // Admitted before it is copied, so that a full store is not also a slow one.
        raise(&bounds.held_bytes, weight, bounds.limits.bytes_max).then(|| Kept {
            run: Arc::new(run.compact()),
            weight,
            lowest: messages.iter().map(|message| message.qos).min().unwrap_or_default(),
            next_expiry: messages.iter().filter_map(|message| message.expires_at).min(),
            bounds: bounds.clone(),
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.bounds.held_bytes.fetch_sub(self.weight, Relaxed);
    }
}
