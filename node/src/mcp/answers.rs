//! What workers answered goes to those who asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mcp_worker_sdk::wire::ResponseMessage;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::mcp::context::{Context, Trouble};
use crate::mcp::{CLAIM, Mcp};
use crate::metrics::Metrics;
use crate::store::redis::requests::{Claim, Requests};

/// How long the parts before a part, or before an answer, may take: longer than those of a dead node take to be found by another.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// How often this is looked at.
const ORDER_LOOK: Duration = Duration::from_millis(10);

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

/// Reads an answer; one that is not readable changes nothing.
pub(super) fn read(mcp: &Mcp, json: &[u8]) -> Option<ResponseMessage> {
    let response: Option<ResponseMessage> = serde_json::from_slice(json).ok();
    let response = response.filter(|response| response.bytes().is_some());
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

/// The entries that are done with. Answers that wait for what other nodes forward do not hold up those of other requests, as long as they are few.
async fn of_request(mcp: &Arc<Mcp>, redis: &Requests, answers: Vec<Answer>) -> Vec<String> {
    let mut answers = answers.into_iter();
    let mut done = Vec::new();
    while let Some(answer) = answers.next() {
        match one(mcp, redis, &answer, Duration::ZERO).await {
            Outcome::Done => done.extend(answer.entry),
            Outcome::NotDone => {}
            Outcome::TooEarly => {
                let rest = std::iter::once(answer).chain(answers).collect();
                match mcp.early.clone().try_acquire_owned() {
                    Ok(place) => drop(tokio::spawn(wait(mcp.clone(), redis.clone(), rest, place))),
                    Err(_) => done.extend(patiently(mcp, redis, rest).await),
                }
                break;
            }
        }
    }
    done
}

async fn wait(mcp: Arc<Mcp>, redis: Requests, answers: Vec<Answer>, _place: OwnedSemaphorePermit) {
    let done = patiently(&mcp, &redis, answers).await;
    let _ = redis.acknowledge(&done).await; // read again, and found to be answered
}

async fn patiently(mcp: &Arc<Mcp>, redis: &Requests, answers: Vec<Answer>) -> Vec<String> {
    let mut done = Vec::new();
    for answer in answers {
        if let Outcome::Done = one(mcp, redis, &answer, ORDER_PATIENCE).await {
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
}

async fn one(mcp: &Arc<Mcp>, redis: &Requests, answer: &Answer, patience: Duration) -> Outcome {
    let response = &answer.response;
    let context = match claim(mcp, redis, response, patience).await {
        Ok(Claim::Yours(context)) => Context::decode(&context),
        Ok(Claim::TooEarly) => return Outcome::TooEarly,
        // Whoever claimed it may be dead: looked at once more.
        Ok(Claim::Taken) if answer.again && response.is_final => return Outcome::NotDone,
        Ok(Claim::Taken | Claim::Gone) => {
            if answer.entry.is_some() || mcp.waiting.contains(&response.correlation_id) {
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
    if answer.again {
        mcp.count(|metrics| Metrics::add(&metrics.mcp_responses_repeated, 1));
    }
    mcp.count_response(response);
    let is_unwanted = response.is_final && response.error.is_some() && context.rpc == super::Rpc::Notification;
    let wants = !(response.drop || is_unwanted);
    if let Some(message) = context.answer(response).filter(|_| wants)
        && let Err(error) = mcp.forward(message).await
    {
        tracing::warn!(?error, topic = context.topic, "an answer could not be stored, and is tried again");
        return Outcome::NotDone;
    }
    if response.is_final {
        if redis.finish(&response.correlation_id).await.is_err() {
            return Outcome::NotDone;
        }
        mcp.ended(redis, &response.correlation_id, &context).await;
    } else if let Some(part) = response.part {
        let _ = redis.part_done(&response.correlation_id, part).await; // the next part waits for its patience, not for ever
    }
    Outcome::Done
}

type Claimed = Result<Claim, crate::store::StoreError>;

/// Claims the request, or its part, when all parts that come before are forwarded. Those that do not come within a patience that is not zero are lost.
async fn claim(mcp: &Mcp, redis: &Requests, response: &ResponseMessage, patience: Duration) -> Claimed {
    let started = tokio::time::Instant::now();
    let mut parts = response.part.unwrap_or(0);
    loop {
        let (id, now) = (&response.correlation_id, mcp.now());
        let claimed = match response.is_final {
            true => redis.claim(id, parts, now, now + CLAIM).await?,
            false => redis.part(id, parts, now).await?,
        };
        match claimed {
            Claim::TooEarly if patience.is_zero() => return Ok(Claim::TooEarly),
            Claim::TooEarly if started.elapsed() < patience => pause().await,
            Claim::TooEarly => parts = 0,
            claim => return Ok(claim),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the other node tells nobody when it is done")]
async fn pause() {
    tokio::time::sleep(ORDER_LOOK).await;
}

impl Mcp {
    pub(super) fn count_response(&self, response: &ResponseMessage) {
        self.count(|metrics| {
            let counter = match &response.error {
                _ if !response.is_final => &metrics.mcp_parts,
                Some(error) => match Trouble::of_word(&error.code) {
                    Trouble::Timeout => &metrics.mcp_errors_timeout,
                    _ => &metrics.mcp_errors_worker_failed,
                },
                None => &metrics.mcp_responses,
            };
            Metrics::add(counter, 1);
        });
    }
}
