//! Hears the channel of answers, and what nodes tell each other.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::mcp::answers::{self, Answer, Handed};
use crate::mcp::ending::Ended;
use crate::mcp::waiting::Cancel;
use crate::mcp::{Mcp, pause};
use crate::metrics::Metrics;
use crate::store::redis::link::apart::Subscriber;
use crate::store::redis::requests::Requests;

/// Messages that are worked on at once.
const MESSAGES_MAX: usize = 256;

/// How long nothing is heard before it is asked whether anything can be.
const LOOK: Duration = Duration::from_secs(2);

/// All nodes hear an answer. The node that took the request forwards it; the others wait so long, and then see to it that somebody did. Parts
/// without numbers that it has not forwarded by then are lost, so it is long against what a busy node takes.
const OTHERS_WAIT: Duration = Duration::from_secs(1);

/// Answers to requests of other nodes that wait; more are left to those nodes, and to the deadline.
const OTHERS_MAX: usize = 16_384;

pub(super) async fn run(mcp: Arc<Mcp>) {
    let (others, waiting) = mpsc::channel(OTHERS_MAX);
    let late = tokio::spawn(for_others(mcp.clone(), waiting));
    let _late = AbortOnDrop(late);
    loop {
        if let Some(redis) = mcp.redis() {
            match redis.subscriber().await {
                Ok(subscriber) => {
                    // What was said before was not heard.
                    mcp.has_missed.store(true, Relaxed);
                    hear(&mcp, &redis, subscriber, &others).await;
                }
                Err(error) => tracing::debug!(?error, "answers are not heard"),
            }
        }
        pause().await;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn hear(mcp: &Arc<Mcp>, redis: &Requests, mut subscriber: Subscriber, others: &mpsc::Sender<(Instant, Answer)>) {
    let (responses, mut dropped) = (redis.names().responses(), 0);
    while !mcp.is_over(redis) {
        let first = match timeout(LOOK, subscriber.next()).await {
            Ok(Some(first)) => first,
            Ok(None) => return,
            // A server that has vanished without a word says nothing either: what is subscribed to already is confirmed all the same.
            Err(_) if subscriber.subscribe(&responses).await.is_ok() => continue,
            Err(_) => return,
        };
        let mut messages = vec![first];
        while messages.len() < MESSAGES_MAX
            && let Some(Some(message)) = subscriber.next().now_or_never()
        {
            messages.push(message);
        }
        let mut own = Vec::new();
        for message in messages {
            if message.get_channel_name() != responses {
                own.extend(told(mcp, message.get_payload_bytes()).await);
                continue;
            }
            let Some(response) = answers::read(mcp, message.get_payload_bytes()) else { continue };
            let answer = Answer { response, entry: None, again: false };
            // A part is forwarded by the node that took the request only.
            if mcp.waiting.contains(&answer.response.correlation_id) {
                own.push(answer);
            } else if mcp.waiting.has_ended(&answer.response.correlation_id) {
                mcp.count(|metrics| Metrics::add(&metrics.mcp_responses_unknown, 1));
            } else if answer.response.is_final {
                let _ = others.try_send((Instant::now() + OTHERS_WAIT, answer));
            }
        }
        answers::forward(mcp, redis, own).await;
        let missed = subscriber.dropped() - dropped;
        if missed > 0 {
            dropped += missed;
            mcp.count(|metrics| Metrics::add(&metrics.mcp_messages_dropped, missed));
            mcp.has_missed.store(true, Relaxed);
        }
    }
}

/// Another node: a request of this one has ended (its id alone, when a worker has done with it in the stream too), one is taken back, or it has
/// read an answer that this one is to forward.
async fn told(mcp: &Arc<Mcp>, text: &[u8]) -> Option<Answer> {
    if let Ok(Handed { entry, response }) = serde_json::from_slice(text) {
        return Some(Answer { response, entry: Some(entry), again: false });
    }
    if let Ok(Ended { ended }) = serde_json::from_slice(text) {
        mcp.over(&ended, false).await;
        return None;
    }
    match serde_json::from_slice::<Cancel>(text) {
        Ok(cancel) => {
            if let Err(error) = mcp.cancel_here(&cancel, mcp.now()).await {
                tracing::warn!(?error, "a request was not taken back");
            }
        }
        Err(_) => drop(std::str::from_utf8(text).ok().and_then(|id| mcp.waiting.remove(id))), // workers have removed its entry
    }
    None
}

async fn for_others(mcp: Arc<Mcp>, mut answers: mpsc::Receiver<(Instant, Answer)>) {
    let mut first = answers.recv().await;
    while let Some((at, answer)) = first {
        tokio::time::sleep_until(at).await;
        let (mut batch, now) = (vec![answer], Instant::now());
        let mut next = answers.try_recv().ok();
        while let Some((_, answer)) = next.take_if(|(at, _)| *at <= now && batch.len() < MESSAGES_MAX) {
            batch.push(answer);
            next = answers.try_recv().ok();
        }
        if let Some(redis) = mcp.redis() {
            answers::forward(&mcp, &redis, batch).await;
        }
        first = match next {
            Some(early) => Some(early),
            None => answers.recv().await,
        };
    }
}
