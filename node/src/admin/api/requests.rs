//! `requests` that wait for their answer, and the `workers` that answer them.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::clients::merged;
use crate::admin::questions::{Filter, Question};
use crate::admin::reply::{Asked, Nothing, Page, Reply};
use crate::admin::{Desk, Shared};
use crate::hook::request::Worker;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/requests", get(requests)).route("/workers", get(workers))
}

/// Of all nodes, the next to be late first.
async fn requests(State(desk): Shared, asked: Asked) -> Reply {
    let (filter, page): (Filter, Page) = asked.paged(&["clientid", "like_clientid", "topic", "node"])?;
    let said = desk.ask_all(&Question::Requests { filter, reach: page.reach() }).await;
    Ok(Json(merged(said, page, |entry| [&entry["deadline"], &entry["id"]])))
}

/// Every node hears of all workers, once a second.
async fn workers(State(desk): Shared, asked: Asked) -> Reply {
    let (Nothing {}, page) = asked.paged(&[])?;
    let all = desk.workers();
    let count = all.len();
    Ok(Json(page.of(all, count)))
}

impl Desk {
    pub(in crate::admin) fn workers(&self) -> Vec<Value> {
        let shown = |worker: Worker| {
            json!({
                "name": worker.name,
                "group": worker.group,
                "filters": worker.filters,
                "lane": worker.lane,
                "concurrency": worker.concurrency,
                "running": worker.running,
                "answered": worker.answered,
                "failed": worker.failed,
            })
        };
        self.broker.requests.get().map(|requests| requests.workers().into_iter().map(shown).collect()).unwrap_or_default()
    }
}
