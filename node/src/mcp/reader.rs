//! Reads the stream of answers, as one of all nodes: each answer goes to one of them.

use std::sync::Arc;

use crate::mcp::answers::{self, Answer};
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
    answers::forward(mcp, redis, read).await;
    let _ = redis.acknowledge(&unreadable).await; // read again
}
