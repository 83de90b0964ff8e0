//! What the verbs and the tasks of a node share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::bells::Ask;
use super::keys::Keys;
use super::peers::Peers;
use super::posts::Outgoing;
use super::settings::Settings;
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId, RouteVersion};
use crate::store::redis::link::Link;
use crate::store::redis::link::error::LinkError;

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
