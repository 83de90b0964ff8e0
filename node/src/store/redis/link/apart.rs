//! Connections for what would hold up all others: commands that block, and Pub/Sub. Whoever asked for one makes it again when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Cmd, Msg, ToRedisArgs, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::LinkError;
use super::find;
use super::health::Health;
use super::wire::{Wire, connect, login};

/// Messages that wait for the reader of a [`Subscriber`].
const MESSAGES_MAX: usize = 8192;

/// A connection for commands that block, one after the other.
#[derive(Debug)]
pub struct Blocking {
    wire: Wire,
    deadline: Duration,
}

impl Blocking {
    pub(super) async fn open(health: &Health) -> Result<Blocking, LinkError> {
        let wire = health.dial().await.map_err(|error| {
            tracing::debug!(%error, "no connection for commands that block");
            LinkError::Unavailable
        })?;
        Ok(Blocking { wire, deadline: health.settings.deadline })
    }

    /// The reply to a command that blocks for `block` at most: later than that by the link's deadline, it is [`LinkError::Unknown`],
    /// and so it is when this future is dropped before its end. The connection is of no use then: ask the link for a new one.
    pub async fn query(&mut self, cmd: &Cmd, block: Duration) -> Result<Value, LinkError> {
        match timeout(block + self.deadline, self.wire.query(cmd)).await {
            Ok(reply) => reply.map_err(LinkError::from),
            Err(_) => Err(LinkError::Unknown),
        }
    }
}

/// A connection for Pub/Sub.
#[derive(Debug)]
pub struct Subscriber {
    redis: PubSubSink,
    messages: mpsc::Receiver<Msg>,
    dropped: Arc<AtomicU64>,
    deadline: Duration,
}

impl Subscriber {
    pub(super) async fn open(health: &Health) -> Result<Subscriber, LinkError> {
        let address = health.address();
        let opened = timeout(health.settings.connect_deadline, async {
            let host = find::primaries(address, health.settings.connect_deadline / 2).await.ok()?.into_iter().next()?;
            PubSub::new(&login(address), connect(&host).await.ok()?).await.ok()
        });
        let (redis, stream) = opened.await.ok().flatten().ok_or(LinkError::Unavailable)?.split();
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        tokio::spawn(drain(stream, sender, dropped.clone()));
        Ok(Subscriber { redis, messages, dropped, deadline: health.settings.deadline })
    }

    pub async fn subscribe(&mut self, channels: impl ToRedisArgs) -> Result<(), LinkError> {
        let subscribed = timeout(self.deadline, self.redis.subscribe(channels)).await;
        subscribed.map_err(|_| LinkError::Unknown)?.map_err(LinkError::from)
    }

    pub async fn unsubscribe(&mut self, channels: impl ToRedisArgs) -> Result<(), LinkError> {
        let unsubscribed = timeout(self.deadline, self.redis.unsubscribe(channels)).await;
        unsubscribed.map_err(|_| LinkError::Unknown)?.map_err(LinkError::from)
    }

    /// The next message; `None` when the connection has ended. What was published before a new one has subscribed is lost.
    pub async fn next(&mut self) -> Option<Msg> {
        self.messages.recv().await
    }

    /// Messages that found no place, since the beginning: the reader was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The client's own channel has no bound (REDIS.md 3.3), so somebody has to empty it who never waits.
async fn drain(mut stream: PubSubStream, messages: mpsc::Sender<Msg>, dropped: Arc<AtomicU64>) {
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            () = messages.closed() => return,
        };
        let Some(message) = message else { return };
        if messages.try_send(message).is_err() {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
