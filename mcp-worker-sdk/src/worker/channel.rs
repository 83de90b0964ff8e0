//! The channel lane, and the channel on which nodes say what nobody wants answered any more.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::wire::RequestMessage;
use crate::worker::address::Subscriber;
use crate::worker::line::{Backoff, REPLY, is_passing};
use crate::worker::{Core, Delivery, job};

/// Requests that wait for a hand of this worker; more are left to others.
const WAITING_MAX: usize = 1024;

/// How long nothing is heard before it is asked whether anything can be.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a claim holds when the request has no deadline.
const CLAIM_MS: u64 = 300_000;

/// How long a claim holds after the answer: for those who have heard the request and have not got to it yet.
const ANSWERED_MS: u64 = 10_000;

pub(crate) async fn subscribe(core: &Core) -> Result<Subscriber, Error> {
    let mut last = Err(Kind::NoPrimary.into());
    for attempt in 0..core.settings.address.servers() {
        last = subscribe_at(core, attempt).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn subscribe_at(core: &Core, attempt: usize) -> Result<Subscriber, Error> {
    let mut subscriber = core.settings.address.subscriber(attempt).await?;
    let mut channels = vec![core.settings.names.cancelled()];
    if core.settings.delivery == Delivery::Channel {
        channels.push(core.settings.names.requests());
    }
    timeout(REPLY, subscriber.subscribe(&channels)).await.map_err(|_| Kind::Timeout)??;
    Ok(subscriber)
}

pub(crate) async fn hear(core: Arc<Core>, mut subscriber: Subscriber) {
    let cancelled = core.settings.names.cancelled();
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    loop {
        loop {
            let next = timeout(SILENCE, subscriber.next()).await;
            core.counts.shed.fetch_add(subscriber.take_dropped(), Relaxed);
            match next {
                Ok(Some((channel, message))) if channel == cancelled.as_bytes() => call_off(&core, &message),
                Ok(Some((_, message))) => consider(&core, &waiting, &message),
                Ok(None) => break,
                // A server that has vanished without a word says nothing either.
                Err(_) if timeout(REPLY, subscriber.ping()).await.is_ok_and(|pong| pong.is_ok()) => {}
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

/// Who had to wait looks whether somebody still wants the answer: the claim of the one who gave it may be over.
async fn wait(core: Arc<Core>, wire: RequestMessage, place: OwnedSemaphorePermit) {
    let (permit, has_waited) = match core.permits.clone().try_acquire_owned() {
        Ok(permit) => (permit, false),
        Err(_) => match core.permits.clone().acquire_owned().await {
            Ok(permit) => (permit, true),
            Err(_) => return,
        },
    };
    drop(place);
    let is_stopping = *core.stopping.borrow();
    if is_stopping || (has_waited && is_over(&core, &wire.correlation_id).await) {
        return;
    }
    claim(core, wire, permit).await;
}

/// Nobody waits for an answer any more.
async fn is_over(core: &Core, correlation_id: &str) -> bool {
    let exists = cmd("EXISTS").arg(core.settings.names.request(correlation_id)).take();
    core.line.ask::<u64>(exists).await.is_ok_and(|exists| exists == 0)
}

/// The answer is given, so the claim need not hold until the deadline.
pub(crate) async fn let_go(core: &Core, correlation_id: &str) {
    let expire = cmd("PEXPIRE").arg(core.settings.names.claim(correlation_id)).arg(ANSWERED_MS).arg("LT").take();
    let _ = core.line.ask::<Value>(expire).await; // it ends by itself
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
