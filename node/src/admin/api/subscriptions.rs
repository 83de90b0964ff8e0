//! `subscriptions` of connected clients, and `topics`: every Topic Filter that somebody subscribes to.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::clients::merged;
use crate::admin::questions::{Filter, Question, aside};
use crate::admin::reply::{Asked, Page, Problem, Reply};
use crate::admin::{Desk, Shared};
use crate::topic::name::TopicName;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/subscriptions", get(list)).route("/topics", get(topics))
}

async fn list(State(desk): Shared, asked: Asked) -> Reply {
    let (filter, page): (Filter, Page) = asked.paged(&["clientid", "like_clientid", "topic", "match_topic", "node"])?;
    if let Some(topic) = filter.match_topic.as_deref().filter(|topic| TopicName::new((*topic).into()).is_none()) {
        return Err(Problem::bad(format!("match_topic: {topic:?} is no Topic Name")));
    }
    let said = desk.ask_all(&Question::Subscriptions { filter, reach: page.reach() }).await;
    Ok(Json(merged(said, page, |entry| [&entry["clientid"], &entry["topic"]])))
}

#[derive(Deserialize)]
struct Wanted {
    /// A part of the filter.
    like: Option<String>,
}

/// Of the whole cluster: every node has the whole routing table.
async fn topics(State(desk): Shared, asked: Asked) -> Reply {
    let (wanted, page): (Wanted, Page) = asked.paged(&["like"])?;
    let mut filters = aside({
        let broker = desk.broker.clone();
        move || broker.filters()
    })
    .await;
    filters.retain(|filter| wanted.like.as_deref().is_none_or(|part| filter.contains(part)));
    let count = filters.len();
    let all: Vec<Value> = filters.into_iter().take(page.reach()).map(|filter| json!({ "topic": filter })).collect();
    Ok(Json(page.of(all, count)))
}
