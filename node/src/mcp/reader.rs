//! Reads the stream of answers, as one of all nodes: each answer goes to one of them.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::mcp::answers::{self, Answer, Handed};
use crate::mcp::context::Context;
use crate::mcp::{Mcp, pause};
use crate::store::redis::requests::{Entry, Requests};

/// Answers that are forwarded at once.
const ANSWERS_MAX: usize = 256;

pub(super) async fn run(mcp: Arc<Mcp>) {
    loop {
        if let Some(redis) = mcp.redis() {
            match redis.reader().await {
                Ok(mut reader) => {
                    while let Ok(entries) = reader.read(ANSWERS_MAX).await {
                        forward(&mcp, &redis, entries, false).await;
                        if mcp.is_over(&redis) {
                            break;
                        }
                    }
                }
                Err(error) => tracing::debug!(?error, "the stream of answers is not read"),
            }
        }
        pause().await;
    }
}

pub(super) async fn forward(mcp: &Arc<Mcp>, redis: &Requests, entries: Vec<Entry>, again: bool) {
    let mut unreadable = Vec::new();
    let mut read = Vec::new();
    for Entry { id, json } in entries {
        match answers::read(mcp, &json) {
            Some(response) => read.push(Answer { response, entry: Some(id), again }),
            None => unreadable.push(id),
        }
    }
    if !again {
        read = join_all(read.into_iter().map(|answer| hand_over(mcp, redis, answer))).await.into_iter().flatten().collect();
    }
    answers::forward(mcp, redis, read).await;
    let _ = redis.acknowledge(&unreadable).await; // read again
}

/// Parts, and what comes after them, are forwarded by one node, or one might pass another on its way: by the node that took the request. When that
/// one is dead, the answer stays unacknowledged here, and whoever takes it up then forwards it. `Some`: it is this node's.
async fn hand_over(mcp: &Mcp, redis: &Requests, answer: Answer) -> Option<Answer> {
    let Answer { response, entry: Some(entry), .. } = &answer else { return Some(answer) };
    if response.part.is_none() || mcp.waiting.contains(&response.correlation_id) {
        return Some(answer);
    }
    let context = redis.context(&response.correlation_id).await.ok().flatten();
    let node = context.and_then(|context| Context::decode(&context)).map(|context| context.node).filter(|node| node != redis.node());
    let Some(node) = node else { return Some(answer) };
    let handed = Handed { entry: entry.clone(), response: response.clone() };
    let text = serde_json::to_string(&handed).unwrap_or_default();
    let _ = redis.publish(vec![(redis.node_channel(&node), text)]).await; // taken up later
    None
}
