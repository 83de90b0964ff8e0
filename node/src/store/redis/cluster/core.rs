//! What the verbs and the tasks of a node share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::bells::Ask;
use super::deaf::Deaf;
use super::keys::Keys;
use super::peers::Peers;
use super::posts::Outgoing;
use super::settings::Settings;
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId, RouteVersion};
use crate::store::redis::link::Link;
use crate::store::redis::link::error::LinkError;

/// From here on new messages are refused, in promille of `maxmemory`: what is left is for what must go on, and for what is on its way.
pub(super) const MEMORY_FULL: u64 = 920;

/// After something went wrong, before it is tried again.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Core {
    pub(super) link: Link,
    pub(super) keys: Keys,
    pub(super) node: NodeId,
    pub(super) settings: Settings,
    pub(super) news: mpsc::Sender<News>,
    pub(super) peers: watch::Sender<Peers>,
    /// What this node has applied; zero: nothing yet.
    pub(super) applied: watch::Sender<RouteVersion>,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) outbox: mpsc::Sender<Outgoing>,
    /// Posts at QoS 0.
    pub(super) dropped: AtomicU64,
    pub(super) promise: Promise,
    /// Of its own will.
    pub(super) has_left: AtomicBool,
    pub(super) pulse: Pulse,
    /// When the truth began of which this node is a member, as Redis has it.
    pub(super) born: OnceLock<u64>,
    /// What follows the clock of Redis.
    pub(super) clock: OnceLock<Arc<Clock>>,
    pub(super) deaf: Deaf,
    /// A bell is owed to somebody, or will be.
    pub(super) owes_bells: Notify,
}

impl Core {
    /// Hands commands for one `what` to a lane: they are done in the order of the calls. Fails when one of them failed.
    pub(super) async fn write(&self, what: &str, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let replies = self.link.write(shard(what), commands).await?;
        Ok(replies.into_iter().collect::<Result<Vec<_>, _>>().map_err(LinkError::from)?)
    }

    pub(super) fn drop_posts(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
    }
}

/// What the beat has learned of Redis.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// How full its memory is, in promille of what it may have; zero: there is no bound, or nobody knows yet.
    pub(super) memory: AtomicU64,
    /// Why the last beat was not heard; `None`: it was.
    pub(super) trouble: Mutex<Option<LinkError>>,
}

impl Pulse {
    /// Notes how the last beat went; said when it is another way than the one before.
    pub(super) fn note(&self, trouble: Option<LinkError>) {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*last, &trouble) {
            (known, now) if known == now => {}
            (_, Some(error)) => tracing::warn!(%error, "the beat of this node is not heard"),
            (_, None) => tracing::info!("the beat of this node is heard again"),
        }
        *last = trouble;
    }

    /// Notes how full Redis is; said when it becomes so, and when it is not any more.
    pub(super) fn note_memory(&self, promille: u64) {
        let before = self.memory.swap(promille, Relaxed);
        match (before >= MEMORY_FULL, promille >= MEMORY_FULL) {
            (false, true) => tracing::error!(promille, "Redis is nearly full: new messages are refused (0x97) until some are taken"),
            (true, false) => tracing::info!(promille, "Redis has room again: new messages are taken"),
            _ => {}
        }
    }
}

/// Until when this node may promise anything.
#[derive(Debug)]
pub(super) struct Promise {
    started: Instant,
    /// In ms since then.
    until: AtomicU64,
}

impl Promise {
    pub(super) fn new() -> Promise {
        Promise { started: Instant::now(), until: AtomicU64::new(0) }
    }

    pub(super) fn set_until(&self, until: Instant) {
        self.until.store(until.duration_since(self.started).as_millis() as u64, Relaxed);
    }

    pub(super) fn end(&self) {
        self.until.store(0, Relaxed);
    }

    /// Given up for good.
    pub(super) fn is_over(&self) -> bool {
        self.until.load(Relaxed) == 0
    }

    /// For how long it has not held, as far as that is known.
    pub(super) fn over_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.until.load(Relaxed)))
    }

    pub(super) fn holds(&self) -> bool {
        (self.started.elapsed().as_millis() as u64) < self.until.load(Relaxed)
    }
}

/// Spreads what has an order of its own over the lanes.
fn shard(what: &str) -> u16 {
    what.bytes().fold(0, |sum: u16, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

pub(super) async fn pause() {
    #[allow(clippy::disallowed_methods, reason = "nothing tells when Redis is worth another attempt")]
    tokio::time::sleep(PAUSE).await;
}
