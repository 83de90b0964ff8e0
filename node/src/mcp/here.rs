//! A request that is answered within this process, with the same meaning as by a worker.

use std::sync::Arc;

use bytes::Bytes;
use mcp_worker_sdk::wire::{ErrorMessage, RequestMessage, ResponseMessage, encode};
use mcp_worker_sdk::{Failure, Reply, Request};
use tokio::sync::{mpsc, watch};

use crate::mcp::Mcp;
use crate::mcp::context::{Context, Trouble};
use crate::time::Time;

/// Parts that wait to be forwarded; a handler that is faster waits.
const PARTS_MAX: usize = 16;

/// As often as [`Failure::retry`] is believed.
const ATTEMPTS_MAX: u32 = 3;

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
    let mut answering = std::pin::pin!(attempts(&mcp, request));
    loop {
        tokio::select! {
            biased;
            Some(part) = told.recv() => send(&mcp, &context, &response(&id, Ok(part))).await,
            answered = &mut answering => {
                while let Ok(part) = told.try_recv() {
                    send(&mcp, &context, &response(&id, Ok(part))).await;
                }
                if mcp.waiting.remove(&id).is_some() {
                    send(&mcp, &context, &response(&id, answered)).await;
                }
                return;
            }
            () = tokio::time::sleep_until(deadline) => {
                if mcp.waiting.remove(&id).is_some() {
                    mcp.tell(&context, Trouble::Timeout).await;
                }
                return;
            }
            // Its handler has a moment to notice, until this is dropped.
            true = is_cancelled(&mut cancelled) => return,
        }
    }
}

/// False: nobody can cancel it any more.
async fn is_cancelled(cancelled: &mut watch::Receiver<bool>) -> bool {
    cancelled.wait_for(|cancelled| *cancelled).await.is_ok()
}

async fn attempts(mcp: &Mcp, mut request: Request) -> Result<Reply, Failure> {
    loop {
        let answered = mcp.routes.answer(request.clone()).await.unwrap_or_else(|| Ok(Reply::none()));
        match answered {
            Err(failure) if failure.retry && request.attempt < ATTEMPTS_MAX => request.attempt += 1,
            answered => return answered,
        }
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
    response
}

async fn send(mcp: &Mcp, context: &Context, response: &ResponseMessage) {
    mcp.count_response(response);
    if response.drop {
        return;
    }
    if let Some(message) = context.answer(response)
        && let Err(error) = mcp.forward(message).await
    {
        tracing::warn!(?error, topic = context.topic, "an answer could not be stored");
    }
}
