//! The channel lane, and the channel on which nodes say what nobody wants answered any more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Value, cmd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::wire::RequestMessage;
use crate::worker::line::{Backoff, REPLY, is_passing};
use crate::worker::{Core, Delivery, job};

/// Requests that wait for a hand of this worker; more are left to others.
const WAITING_MAX: usize = 1024;

/// How long nothing is heard before it is asked whether anything can be.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a claim holds when the request has no deadline.
const CLAIM_MS: u64 = 300_000;

pub(crate) async fn subscribe(core: &Core) -> Result<PubSub, Error> {
    let mut last = Err(Kind::NoPrimary.into());
    for attempt in 0..core.settings.address.servers() {
        last = subscribe_at(core, attempt).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn subscribe_at(core: &Core, attempt: usize) -> Result<PubSub, Error> {
    let mut subscriber = core.settings.address.subscriber(attempt).await?;
    let mut channels = vec![core.settings.names.cancelled()];
    if core.settings.delivery == Delivery::Channel {
        channels.push(core.settings.names.requests());
    }
    timeout(REPLY, subscriber.subscribe(&channels)).await.map_err(|_| Kind::Timeout)??;
    Ok(subscriber)
}

/// Reads the socket always: Redis closes on those that do not.
pub(crate) async fn hear(core: Arc<Core>, mut subscriber: PubSub) {
    let cancelled = core.settings.names.cancelled();
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    loop {
        let (mut redis, mut messages) = subscriber.split();
        loop {
            match timeout(SILENCE, messages.next()).await {
                Ok(Some(message)) if message.get_channel_name() == cancelled => call_off(&core, message.get_payload_bytes()),
                Ok(Some(message)) => consider(&core, &waiting, message.get_payload_bytes()),
                Ok(None) => break,
                // A server that has vanished without a word says nothing either.
                Err(_) if timeout(REPLY, redis.ping::<Value>()).await.is_ok_and(|pong| pong.is_ok()) => {}
                Err(_) => break,
            }
        }
        tracing::warn!("the channel is lost; connecting again");
        let mut backoff = Backoff::default();
        subscriber = loop {
            match subscribe(&core).await {
                Ok(subscriber) => break subscriber,
                Err(_) => backoff.pause().await,
            }
        };
    }
}

#[derive(serde::Deserialize)]
struct Cancelled {
    correlation_id: String,
}

fn call_off(core: &Core, json: &[u8]) {
    if let Ok(Cancelled { correlation_id }) = serde_json::from_slice(json) {
        core.running.call_off(&correlation_id);
    }
}

/// A permit first, then the claim: a busy worker leaves it to an idle one. When all are busy it waits, as nobody says it twice.
fn consider(core: &Arc<Core>, waiting: &Arc<Semaphore>, json: &[u8]) {
    if *core.stopping.borrow() {
        return;
    }
    let Ok(wire) = serde_json::from_slice::<RequestMessage>(json) else { return };
    if !core.settings.routes.matches(&wire.topic) {
        return;
    }
    match waiting.clone().try_acquire_owned() {
        Ok(place) => drop(tokio::spawn(wait(core.clone(), wire, place))),
        Err(_) => drop(core.counts.shed.fetch_add(1, Relaxed)),
    }
}

async fn wait(core: Arc<Core>, wire: RequestMessage, place: OwnedSemaphorePermit) {
    let Ok(permit) = core.permits.clone().acquire_owned().await else { return };
    drop(place);
    let is_stopping = *core.stopping.borrow();
    if !is_stopping {
        claim(core, wire, permit).await;
    }
}

async fn claim(core: Arc<Core>, wire: RequestMessage, permit: OwnedSemaphorePermit) {
    let now = core.clock.now_ms();
    let left = wire.deadline_ms.map_or(CLAIM_MS, |deadline| deadline.saturating_sub(now));
    if left == 0 {
        core.counts.expired.fetch_add(1, Relaxed);
        return;
    }
    let mut claim = cmd("SET");
    claim.arg(core.settings.names.claim(&wire.correlation_id)).arg(&core.settings.name).arg("NX").arg("PX").arg(left);
    let mut backoff = Backoff::default();
    let mut is_again = false;
    // The connection may be lost and nobody has noticed: what was heard once is not heard again.
    while core.clock.now_ms() < now + left {
        match core.line.ask::<Value>(claim.clone()).await {
            Ok(Value::Okay) => return job::start(&core, wire, None, permit),
            Ok(_) => {
                // Another worker was faster, or this one when the reply was lost.
                let holder = cmd("GET").arg(core.settings.names.claim(&wire.correlation_id)).take();
                if is_again
                    && core.line.ask::<Option<String>>(holder).await.is_ok_and(|holder| holder.as_ref() == Some(&core.settings.name))
                {
                    job::start(&core, wire, None, permit);
                }
                return;
            }
            Err(error) if error.refusal().is_none_or(is_passing) => {
                is_again = true;
                backoff.pause().await;
            }
            Err(error) => return tracing::warn!(%error, "a request could not be claimed"),
        }
    }
}
