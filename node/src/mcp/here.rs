//! A request that is answered within this process, with the same meaning as by a worker. It is in no Store: a node that dies takes it along.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp_worker_sdk::wire::{ErrorMessage, RequestMessage, ResponseMessage, encode};
use mcp_worker_sdk::{Failure, Reply, Request};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use crate::mcp::context::{Context, Trouble, is_sayable};
use crate::mcp::{KEPT_AFTER, Mcp, sleep};
use crate::message::Message;
use crate::time::Time;

/// Parts that wait to be forwarded; a handler that is faster waits.
const PARTS_MAX: usize = 16;

/// As often as [`Failure::retry`] is believed, and the rest before it is.
const ATTEMPTS_MAX: u32 = 3;
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long a handler whose request is taken back may take to notice.
const NOTICE: Duration = Duration::from_millis(200);

/// The pauses between attempts to store an answer, doubled up to the second.
const INSIST: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Has the handler answer, and forwards what it says.
pub(super) async fn answer(
    mcp: Arc<Mcp>,
    id: Arc<str>,
    wire: RequestMessage,
    payload: Bytes,
    context: Context,
    mut cancelled: watch::Receiver<bool>,
) {
    let Some(deadline) = mcp.broker.upgrade().map(|broker| broker.clock.instant(Time(context.deadline_ms))) else { return };
    let (parts, mut told) = mpsc::channel(PARTS_MAX);
    let request = request(wire, payload, deadline).attended(parts, cancelled.clone());
    let mut answering = pin!(attempts(&mcp, request));
    let part = async |part| send(&mcp, &id, &context, &response(&id, Ok(part)), Time(context.deadline_ms)).await;
    loop {
        tokio::select! {
            biased;
            Some(told) = told.recv() => part(told).await,
            answered = &mut answering => {
                while let Ok(told) = told.try_recv() {
                    part(told).await;
                }
                send(&mcp, &id, &context, &response(&id, answered), last(&context)).await;
                break;
            }
            () = sleep_until(deadline) => {
                if let Some(message) = context.trouble(Trouble::Timeout, None, None)
                    && insist(&mcp, &id, message, last(&context)).await
                {
                    mcp.count_trouble(Trouble::Timeout);
                }
                break;
            }
            true = is_cancelled(&mut cancelled) => {
                let _ = timeout(NOTICE, answering).await; // what it says is not wanted
                break;
            }
        }
    }
    mcp.waiting.remove(&id);
}

/// False: nobody can cancel it any more.
async fn is_cancelled(cancelled: &mut watch::Receiver<bool>) -> bool {
    cancelled.wait_for(|cancelled| *cancelled).await.is_ok()
}

/// Until when an answer is tried to be stored, as those of workers are.
fn last(context: &Context) -> Time {
    Time(context.deadline_ms) + KEPT_AFTER
}

async fn attempts(mcp: &Mcp, mut request: Request) -> Result<Reply, Failure> {
    loop {
        let answered = mcp.routes.answer(request.clone()).await.unwrap_or_else(|| Ok(Reply::none()));
        match answered {
            Err(failure) if failure.retry && request.attempt < ATTEMPTS_MAX => request.attempt += 1,
            answered => return answered,
        }
        sleep(RETRY_AFTER).await;
    }
}

fn request(wire: RequestMessage, payload: Bytes, deadline: tokio::time::Instant) -> Request {
    let mut request = Request::new(wire.topic, payload);
    request.content_type = wire.content_type;
    request.user_properties = wire.user_properties;
    request.client_id = wire.client_id;
    request.correlation_id = wire.correlation_id;
    request.response_topic = wire.response_topic;
    request.qos = wire.qos;
    request.deadline = Some(deadline);
    request.traceparent = wire.traceparent;
    request
}

fn response(id: &str, answered: Result<Reply, Failure>) -> ResponseMessage {
    let mut response = ResponseMessage::of(id);
    match answered {
        Ok(reply) => {
            response.drop = reply.is_none();
            response.payload_b64 = Some(encode(&reply.payload));
            response.content_type = reply.content_type;
            response.user_properties = reply.user_properties;
        }
        Err(failure) => response.error = Some(ErrorMessage { code: Trouble::WorkerFailed.word().to_owned(), message: failure.message }),
    }
    if is_sayable(&response) { response } else { self::response(id, Err(Failure::new("the answer has a text that MQTT has no words for"))) }
}

async fn send(mcp: &Mcp, id: &str, context: &Context, response: &ResponseMessage, last: Time) {
    let message = context.answer(response).filter(|_| !response.drop);
    let is_told = match message {
        Some(message) => insist(mcp, id, message, last).await,
        None => true,
    };
    if is_told {
        mcp.count_response(response);
    }
}

/// Tries until the Store takes it, or nobody waits any more.
async fn insist(mcp: &Mcp, id: &str, message: Message, last: Time) -> bool {
    let [mut pause, longest] = INSIST;
    while mcp.waiting.contains(id) {
        match mcp.forward(message.clone()).await {
            Ok(()) => return true,
            Err(error) if mcp.now() >= last => {
                tracing::warn!(?error, topic = %message.topic, "an answer could not be stored");
                return false;
            }
            Err(_) => sleep(pause).await,
        }
        pause = (2 * pause).min(longest);
    }
    false
}
