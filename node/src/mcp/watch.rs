//! Looks at what nobody else does: requests whose time has come, answers of nodes that died, workers, and what is to be trimmed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;

use crate::mcp::context::Trouble;
use crate::mcp::{KEPT_AFTER, Mcp, reader};
use crate::store::StoreError;
use crate::store::redis::requests::Requests;
use crate::time::{Span, Time};

/// How long the next look may wait: requests of nodes that died are looked at by all others.
const LOOK: Duration = Duration::from_millis(250);

/// Requests that are looked at together.
const DUE_MAX: usize = 128;

/// How often is swept, workers are looked for, answers of dead nodes, and what is to be trimmed.
const SWEEP: Span = Span::seconds(1);
const WORKERS: Span = Span::seconds(1);
const LEFT_BEHIND: Span = Span::seconds(1);
const TRIM: Span = Span::seconds(10);

/// How long after its deadline a request may take a place here: somebody is telling its requester.
const SWEPT_AFTER: Span = Span::seconds(5);

/// An answer that a node has read and not finished by then is taken by another; less than [`CLAIM`] and the pause behind it, so that the
/// answer comes before a word that there is none.
const LEFT_IDLE: Span = Span::seconds(4);

/// A reader that has read nothing for so long is gone.
const READER_IDLE: Duration = Duration::from_secs(600);

pub(super) async fn run(mcp: Arc<Mcp>) {
    let mut next = Next { sweep: Time(0), workers: Time(0), left: Time(0), trim: mcp.now() + TRIM };
    loop {
        let now = mcp.now();
        if next.sweep <= now {
            next.sweep = now + SWEEP;
            mcp.take_from_stream(mcp.waiting.sweep(now - SWEPT_AFTER)).await;
        }
        if let Some(redis) = mcp.redis() {
            look(&mcp, &redis, &mut next).await;
        }
        mcp.count(|metrics| metrics.mcp_in_flight.store(mcp.waiting.in_flight(), Relaxed));
        let until_next = mcp.waiting.next_deadline().map(|deadline| Duration::from_millis(deadline.since(mcp.now()).0));
        // One that is late already was looked at just now, and is another's, or the Store's, matter.
        let wait = until_next.filter(|wait| !wait.is_zero()).unwrap_or(LOOK).min(LOOK);
        super::sleep(wait).await;
    }
}

/// When to look again.
struct Next {
    sweep: Time,
    workers: Time,
    left: Time,
    trim: Time,
}

async fn look(mcp: &Arc<Mcp>, redis: &Requests, next: &mut Next) {
    let now = mcp.now();
    if let Err(error) = due(mcp, redis, now).await {
        tracing::debug!(?error, "requests that are late wait for the Store");
    }
    if next.workers <= now {
        next.workers = now + WORKERS;
        if let Ok(found) = redis.workers(now).await {
            mcp.set_workers(found);
        }
    }
    if next.left <= now && mcp.settings.lanes.stream {
        next.left = now + LEFT_BEHIND;
        if let Ok(entries) = redis.left_behind(LEFT_IDLE, DUE_MAX).await {
            reader::forward(mcp, redis, entries, true).await;
        }
    }
    // Also every time when nothing is known to be missed: who tells does not know whether it is heard.
    if mcp.has_missed.swap(false, Relaxed) || next.trim <= now {
        let ended = redis.ended(mcp.waiting.kept()).await.unwrap_or_default(); // the next time
        mcp.take_from_stream(ended.iter().filter_map(|id| mcp.waiting.remove(id)).collect()).await;
    }
    if next.trim <= now {
        next.trim = now + TRIM;
        let _ = redis.trim(now, mcp.settings.timeout + KEPT_AFTER).await; // the next time
        let _ = redis.forget_readers(READER_IDLE).await;
    }
}

async fn due(mcp: &Arc<Mcp>, redis: &Requests, now: Time) -> Result<(), StoreError> {
    loop {
        let due = redis.due(now, DUE_MAX).await?;
        let count = due.len();
        for ended in join_all(due.iter().map(|id| mcp.end(redis, id, Trouble::Timeout, now))).await {
            ended?;
        }
        if count < DUE_MAX {
            return Ok(());
        }
    }
}
