//! What workers answered goes to those who asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mcp_worker_sdk::wire::ResponseMessage;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::fault;
use crate::mcp::context::{Context, Trouble, is_sayable};
use crate::mcp::{CLAIM, Mcp};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::redis::requests::{Claim, Requests};

/// How long the parts before a part, or before an answer, may take: longer than those of a dead node take to be found by another.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// How often this is looked at.
const ORDER_LOOK: Duration = Duration::from_millis(10);

/// How long what the Store does not take is tried again: as long as nobody else may answer the request. [`CLAIM`] is a second longer.
const INSIST: Duration = Duration::from_secs(4);

/// How often.
const INSIST_LOOK: Duration = Duration::from_millis(100);

/// An answer, and its place in the stream if it came that way.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: ResponseMessage,
    pub(super) entry: Option<String>,
    /// Another node had read it, and did not finish.
    pub(super) again: bool,
}

/// An answer of the stream that another node has read and this one is to forward.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handed {
    pub(super) entry: String,
    pub(super) response: ResponseMessage,
}

/// Reads an answer; one that is not readable, or that MQTT has no words for, changes nothing.
pub(super) fn read(mcp: &Mcp, json: &[u8]) -> Option<ResponseMessage> {
    let response: Option<ResponseMessage> = serde_json::from_slice(json).ok();
    let response = response.filter(|response| response.bytes().is_some() && is_sayable(response));
    if response.is_none() {
        mcp.count(|metrics| Metrics::add(&metrics.mcp_responses_malformed, 1));
        tracing::debug!("an answer that is not readable");
    }
    response
}

/// Forwards answers, those of one request in their order. Those of the stream are acknowledged when it is done.
pub(super) async fn forward(mcp: &Arc<Mcp>, redis: &Requests, answers: Vec<Answer>) {
    let mut by_request: BTreeMap<String, Vec<Answer>> = BTreeMap::new();
    for answer in answers {
        by_request.entry(answer.response.correlation_id.clone()).or_default().push(answer);
    }
    let each = by_request.into_values().map(|mut answers| {
        // Other nodes hand them over in any order, and one would wait for another that is behind it. Those without numbers stay as they came.
        if answers.iter().all(|answer| answer.response.part.is_some()) {
            answers.sort_by_key(|answer| (answer.response.is_final, answer.response.part));
        }
        of_request(mcp, redis, answers)
    });
    let done: Vec<String> = join_all(each).await.into_iter().flatten().collect();
    let _ = redis.acknowledge(&done).await; // read again, and found to be answered
}

/// The entries that are done with. Answers that wait, for what other nodes forward or for the Store, do not hold up those of other requests, as
/// long as they are few.
async fn of_request(mcp: &Arc<Mcp>, redis: &Requests, answers: Vec<Answer>) -> Vec<String> {
    let mut answers = answers.into_iter();
    let mut done = Vec::new();
    while let Some(answer) = answers.next() {
        let held = match one(mcp, redis, &answer, Duration::ZERO).await {
            Outcome::Done => {
                done.extend(answer.entry);
                continue;
            }
            Outcome::NotDone => continue,
            Outcome::TooEarly => None,
            Outcome::Held(held) => Some(held),
        };
        let rest = std::iter::once(answer).chain(answers).collect();
        match mcp.early.clone().try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(wait(mcp.clone(), redis.clone(), rest, held, place))),
            Err(_) => done.extend(patiently(mcp, redis, rest, held).await),
        }
        break;
    }
    done
}

async fn wait(mcp: Arc<Mcp>, redis: Requests, answers: Vec<Answer>, held: Option<Held>, _place: OwnedSemaphorePermit) {
    let done = patiently(&mcp, &redis, answers, held).await;
    let _ = redis.acknowledge(&done).await; // read again, and found to be answered
}

/// `held`: the first of them.
async fn patiently(mcp: &Arc<Mcp>, redis: &Requests, answers: Vec<Answer>, mut held: Option<Held>) -> Vec<String> {
    let mut done = Vec::new();
    for answer in answers {
        let outcome = match held.take() {
            Some(held) => Outcome::Held(held),
            None => one(mcp, redis, &answer, ORDER_PATIENCE).await,
        };
        let is_done = match outcome {
            Outcome::Done => true,
            Outcome::Held(held) => insist(mcp, redis, &answer, held).await,
            Outcome::NotDone | Outcome::TooEarly => false,
        };
        if is_done {
            done.extend(answer.entry);
        }
    }
    done
}

/// What became of an answer.
enum Outcome {
    /// Nobody has to look at it again.
    Done,
    NotDone,
    /// Parts that come before it are not forwarded yet, and patience is at its end.
    TooEarly,
    /// The Store did not take it.
    Held(Held),
}

/// An answer that is this node's to forward.
struct Held {
    context: Context,
    is_forwarded: bool,
    /// The requester may have it already.
    again: bool,
    /// Later than this somebody else may take it.
    until: Instant,
}

async fn one(mcp: &Arc<Mcp>, redis: &Requests, answer: &Answer, patience: Duration) -> Outcome {
    let response = &answer.response;
    let (context, again, at) = match claim(mcp, redis, answer, patience).await {
        Ok((Claim::Yours { context, again }, at)) => (Context::decode(&context), again, at),
        Ok((Claim::TooEarly, _)) => return Outcome::TooEarly,
        // Whoever claimed it may be dead: looked at once more.
        Ok((Claim::Taken, _)) if answer.again && response.is_final => return Outcome::NotDone,
        Ok((Claim::Taken | Claim::Gone, _)) => {
            let is_own = mcp.waiting.contains(&response.correlation_id) || mcp.waiting.has_ended(&response.correlation_id);
            if answer.entry.is_some() || is_own {
                mcp.count(|metrics| Metrics::add(&metrics.mcp_responses_unknown, 1));
            }
            return Outcome::Done;
        }
        Err(error) => {
            tracing::debug!(?error, "an answer waits for the Store");
            return Outcome::NotDone;
        }
    };
    let Some(context) = context else { return Outcome::Done };
    fault::point("answer.claimed");
    let mut held = Held { context, is_forwarded: false, again, until: at + INSIST };
    match deliver(mcp, redis, answer, &mut held).await {
        Ok(()) => Outcome::Done,
        Err(error) => {
            tracing::debug!(?error, topic = held.context.topic, "an answer could not be stored, and is tried again");
            Outcome::Held(held)
        }
    }
}

/// Forwards an answer, then says that it was: each of the two once, as far as the Store says so.
async fn deliver(mcp: &Arc<Mcp>, redis: &Requests, answer: &Answer, held: &mut Held) -> Result<(), StoreError> {
    let (response, context) = (&answer.response, &held.context);
    if !held.is_forwarded {
        let is_unwanted = response.is_final && response.error.is_some() && context.rpc == super::Rpc::Notification;
        let wants = !(response.drop || is_unwanted);
        if let Some(message) = context.answer(response).filter(|_| wants)
            && let Err(error) = mcp.forward(message).await
        {
            held.again |= error != StoreError::Full; // or nobody knows
            return Err(error);
        }
        held.is_forwarded = true;
        mcp.count_response(response);
        if held.again {
            mcp.count(|metrics| Metrics::add(&metrics.mcp_responses_repeated, 1));
        }
        fault::point("answer.forwarded");
    }
    match response.part {
        _ if response.is_final => {
            redis.finish(&response.correlation_id).await?;
            mcp.ended(redis, &response.correlation_id, context, answer.entry.is_some()).await;
        }
        Some(part) => redis.part_done(&response.correlation_id, part).await?,
        None => {}
    }
    Ok(())
}

/// Tries again until the Store takes it, or somebody else may. What is in the stream is read again then; a request without an answer is due.
async fn insist(mcp: &Arc<Mcp>, redis: &Requests, answer: &Answer, mut held: Held) -> bool {
    while Instant::now() < held.until {
        pause(INSIST_LOOK).await;
        if deliver(mcp, redis, answer, &mut held).await.is_ok() {
            return true;
        }
    }
    tracing::warn!(topic = held.context.topic, "an answer was not forwarded: the Store does not take it");
    if answer.entry.is_none() && !answer.response.is_final {
        mcp.count(|metrics| Metrics::add(&metrics.mcp_parts_lost, 1));
    }
    false
}

/// Claims the request, or its part, when all parts that come before are forwarded, and says when it was asked for. Those that do not come within a
/// patience that is not zero are lost.
async fn claim(mcp: &Mcp, redis: &Requests, answer: &Answer, patience: Duration) -> Result<(Claim, Instant), StoreError> {
    let response = &answer.response;
    let started = Instant::now();
    let mut parts = response.part.unwrap_or(0);
    loop {
        let (id, now, at) = (&response.correlation_id, mcp.now(), Instant::now());
        let claimed = match response.is_final {
            true => redis.claim(id, parts, now, now + CLAIM).await?,
            false => redis.part(id, parts, answer.again, now).await?,
        };
        match claimed {
            Claim::TooEarly if patience.is_zero() => return Ok((Claim::TooEarly, at)),
            Claim::TooEarly if started.elapsed() < patience => pause(ORDER_LOOK).await,
            Claim::TooEarly => {
                mcp.count(|metrics| Metrics::add(&metrics.mcp_parts_lost, 1));
                parts = 0;
            }
            claim => return Ok((claim, at)),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "neither the other node nor the Store tells when it is done")]
async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

impl Mcp {
    pub(super) fn count_response(&self, response: &ResponseMessage) {
        let trouble = response.error.as_ref().map(|error| Trouble::of_word(&error.code));
        match trouble {
            Some(trouble) if response.is_final => self.count_trouble(trouble),
            _ => self.count(|metrics| {
                Metrics::add(if response.is_final { &metrics.mcp_responses } else { &metrics.mcp_parts }, 1);
            }),
        }
    }
}
