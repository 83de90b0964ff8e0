//! Connections for what would hold up all others: commands that block, and Pub/Sub. Whoever asked for one makes it again when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Cmd, Msg, ToRedisArgs, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::address::Host;
use super::error::{LinkError, is_redirect};
use super::find;
use super::health::Health;
use super::nodes::Nodes;
use super::wire::{Wire, connect, login};

/// Messages that wait for the reader of a [`Subscriber`].
const MESSAGES_MAX: usize = 8192;

/// A connection for commands that block, one after the other.
#[derive(Debug)]
pub struct Blocking {
    wire: Wire,
    deadline: Duration,
    nodes: Arc<Nodes>,
}

impl Blocking {
    pub(super) async fn open(nodes: &Arc<Nodes>, key: &str) -> Result<Blocking, LinkError> {
        let target = nodes.primary_of(key).ok_or(LinkError::Unavailable)?.target.clone();
        let wire = target.dial().await.map_err(|error| {
            tracing::debug!(%error, "no connection for commands that block");
            nodes.doubt();
            LinkError::Unavailable
        })?;
        Ok(Blocking { wire, deadline: target.settings().deadline, nodes: nodes.clone() })
    }

    /// The reply to a command that blocks for `block` at most: later than that by the link's deadline, it is [`LinkError::Unknown`],
    /// and so it is when this future is dropped before its end. The connection is of no use then: ask the link for a new one.
    pub async fn query(&mut self, cmd: &Cmd, block: Duration) -> Result<Value, LinkError> {
        let reply = match timeout(block + self.deadline, self.wire.query(cmd)).await {
            Ok(reply) => reply,
            Err(_) => return Err(LinkError::Unknown),
        };
        if reply.as_ref().is_err_and(is_redirect) {
            self.nodes.doubt();
        }
        reply.map_err(LinkError::from)
    }
}

/// What becomes of messages that the reader of a [`Subscriber`] has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// Some are missing between others.
    Skips,
    /// None is missing before the last: those that have a place are the end.
    Ends,
}

/// A connection for Pub/Sub.
#[derive(Debug)]
pub struct Subscriber {
    redis: PubSubSink,
    /// `None` is the end.
    messages: mpsc::Receiver<Option<Msg>>,
    has_ended: bool,
    dropped: Arc<AtomicU64>,
    deadline: Duration,
}

impl Subscriber {
    /// `key`: in a Cluster at the primary that has it.
    pub(super) async fn open(health: &Health, nodes: &Nodes, key: Option<&str>, overrun: Overrun) -> Result<Subscriber, LinkError> {
        let address = health.address();
        let owner = key.and_then(|key| nodes.primary_of(key)).and_then(|primary| primary.target.host.clone());
        let opened = timeout(health.settings.connect_deadline, async {
            // In a Cluster every node hears what is published at any.
            let mut hosts: Vec<Host> = match owner {
                Some(owner) => vec![owner],
                None => nodes.map().hosts().cloned().collect(),
            };
            if hosts.is_empty() {
                hosts = find::primaries(address, health.settings.connect_deadline / 2).await.ok()?;
            }
            for host in hosts {
                if let Ok(socket) = connect(&host, address.tls.as_ref()).await
                    && let Ok(opened) = PubSub::new(&login(address), socket).await
                {
                    return Some(opened);
                }
            }
            None
        });
        let (redis, stream) = opened.await.ok().flatten().ok_or(LinkError::Unavailable)?.split();
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(drain(stream, sender, overrun, dropped.clone()));
        Ok(Subscriber { redis, messages, has_ended: false, dropped, deadline: health.settings.deadline })
    }

    pub async fn subscribe(&mut self, channels: impl ToRedisArgs) -> Result<(), LinkError> {
        let subscribed = timeout(self.deadline, self.redis.subscribe(channels)).await;
        subscribed.map_err(|_| LinkError::Unknown)?.map_err(LinkError::from)
    }

    /// Every channel that this pattern matches.
    pub async fn subscribe_pattern(&mut self, pattern: &str) -> Result<(), LinkError> {
        let subscribed = timeout(self.deadline, self.redis.psubscribe(pattern)).await;
        subscribed.map_err(|_| LinkError::Unknown)?.map_err(LinkError::from)
    }

    pub async fn unsubscribe(&mut self, channels: impl ToRedisArgs) -> Result<(), LinkError> {
        let unsubscribed = timeout(self.deadline, self.redis.unsubscribe(channels)).await;
        unsubscribed.map_err(|_| LinkError::Unknown)?.map_err(LinkError::from)
    }

    /// The next message; `None` when there is none any more, however often it is asked. What was published before a new one has subscribed is lost.
    pub async fn next(&mut self) -> Option<Msg> {
        if self.has_ended {
            return None;
        }
        let next = self.messages.recv().await.flatten();
        self.has_ended = next.is_none();
        next
    }

    /// Messages that found no place, since the beginning: the reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The client's own channel has no bound (REDIS.md 3.3), so somebody has to empty it who never waits.
async fn drain(mut stream: PubSubStream, messages: mpsc::Sender<Option<Msg>>, overrun: Overrun, dropped: Arc<AtomicU64>) {
    let mut has_ended = false;
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = messages.closed() => return,
        };
        let Some(message) = message else { return };
        // The last place is for the word that it is the last.
        let ends = overrun == Overrun::Ends && messages.capacity() == 1;
        if has_ended || messages.try_send(if ends { None } else { Some(message) }).is_err() || ends {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        has_ended |= ends;
    }
}
