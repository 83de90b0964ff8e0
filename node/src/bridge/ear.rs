//! Hears what clients of Redis publish, while this node is the keeper.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use redis::Msg;
use tokio::time::{Instant, timeout};

use crate::bridge::Incoming;
use crate::bridge::echo::{Echoes, Heard};
use crate::broker::Broker;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::redis::bridge::{Bridge, Kept};
use crate::store::redis::link::apart::Subscriber;

/// How often a node that is not the keeper looks whether it is to be: what is published after the keeper's death is lost for so long.
const LOOK: Duration = Duration::from_millis(500);

/// How often the keeper says that it still is one, where there is nothing to pass on.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// Messages that are heard, asked about and passed on at once.
const MESSAGES_MAX: usize = 256;

/// Why an ear is of no use any more.
#[derive(Debug)]
enum End {
    /// Another node is the keeper, or this one is no member now.
    Lost,
    /// The connection has ended, or says nothing.
    Deaf,
    /// More was published than could be passed on: from some message on it has heard nothing.
    Overrun,
    /// The Store does not answer, or takes nothing.
    Store,
}

pub(super) async fn run(broker: Arc<Broker>, prefix: String, incoming: Incoming) {
    let ear = Ear { broker, prefix, incoming };
    loop {
        if let Some(redis) = ear.broker.store().bridge() {
            match ear.stand(&redis).await {
                Ok(Some(why)) => tracing::info!(?why, "this node passes on no more messages of Redis clients"),
                Ok(None) => {}
                Err(error) => tracing::debug!(?error, "messages of Redis clients are not heard"),
            }
        }
        pause().await;
    }
}

struct Ear {
    broker: Arc<Broker>,
    prefix: String,
    incoming: Incoming,
}

impl Ear {
    /// Becomes the keeper if nobody is, and is it for as long as it can. `None`: another one is.
    async fn stand(&self, redis: &Bridge) -> Result<Option<End>, StoreError> {
        let name = redis.name_ear();
        // Nobody hears all that is published only to learn that another does.
        if redis.keep(&name, true).await? != Kept::Free {
            return Ok(None);
        }
        let subscriber = redis.listen(&name, &self.prefix).await?;
        if redis.keep(&name, true).await? != Kept::Begun {
            return Ok(None);
        }
        tracing::info!("this node passes on what Redis clients publish");
        self.broker.metrics.bridge_keeper.store(1, Relaxed);
        let end = self.hear(redis, &name, subscriber).await;
        self.broker.metrics.bridge_keeper.store(0, Relaxed);
        Ok(Some(end))
    }

    async fn hear(&self, redis: &Bridge, name: &str, mut subscriber: Subscriber) -> End {
        let (own, metrics) = (redis.channel_of(name), &self.broker.metrics);
        let (mut echoes, mut kept, mut is_heard) = (Echoes::default(), Instant::now(), true);
        while self.broker.store().bridge().is_some_and(|now| now.node() == redis.node()) {
            let mut messages = Vec::new();
            match timeout(KEEP_EVERY, subscriber.next()).await {
                Ok(Some(first)) => {
                    is_heard = true;
                    let more = std::iter::from_fn(|| subscriber.next().now_or_never().flatten()).take(MESSAGES_MAX - 1);
                    messages.extend(std::iter::once(first).chain(more).filter_map(|message| self.read(&message, &own, &mut echoes)));
                }
                Ok(None) if subscriber.dropped() > 0 => {
                    Metrics::add(&metrics.bridge_lost, subscriber.dropped());
                    return End::Overrun;
                }
                Ok(None) => return End::Deaf,
                Err(_) if !is_heard => return End::Deaf, // its own word did not come back
                Err(_) => is_heard = false,
            }
            if messages.is_empty() && kept.elapsed() < KEEP_EVERY {
                continue;
            }
            let count = messages.len() as u64;
            let passed_on = match redis.keep(name, false).await {
                Ok(Kept::Still) => {
                    kept = Instant::now();
                    let now = self.broker.clock.now();
                    self.broker.publish_inward(messages, now).await.map_err(|_| End::Store)
                }
                Ok(_) => Err(End::Lost),
                Err(_) => Err(End::Store),
            };
            let counter = if passed_on.is_ok() { &metrics.bridge_taken } else { &metrics.bridge_lost };
            Metrics::add(counter, count);
            if let Err(end) = passed_on {
                return end;
            }
        }
        End::Lost
    }

    /// `None`: it is nobody's, or not for the subscribers here.
    fn read(&self, message: &Msg, own: &str, echoes: &mut Echoes) -> Option<Message> {
        let channel = message.get_channel::<Vec<u8>>().ok()?;
        let heard = if channel == own.as_bytes() { echoes.told(message.get_payload_bytes()) } else { echoes.published() };
        if heard != Heard::Message {
            return None;
        }
        let read = channel.strip_prefix(self.prefix.as_bytes()).and_then(|name| self.incoming.read(name, message.get_payload_bytes()));
        if read.is_none() {
            Metrics::add(&self.broker.metrics.bridge_refused, 1);
        }
        read
    }
}

#[allow(clippy::disallowed_methods, reason = "what is waited for is time: nobody tells when the keeper has gone")]
async fn pause() {
    tokio::time::sleep(LOOK).await;
}
