//! `clients` and `sessions`: who is connected, anywhere in the cluster.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use crate::admin::questions::{self, Filter, Kicked, Question, Said};
use crate::admin::reply::{Asked, Named, Page, Paging, Problem, Reply};
use crate::admin::{Desk, Shared};
use crate::packet::connect::ClientId;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/clients", get(list))
        .route("/clients/{id}", get(show).delete(kick))
        .route("/clients/{id}/subscriptions", get(subscriptions))
}

async fn list(State(desk): Shared, Asked(filter): Asked<Filter>, Asked(paging): Asked<Paging>) -> Reply {
    let page = paging.page()?;
    if filter.proto_ver.is_some_and(|version| !(3..=5).contains(&version)) {
        return Err(Problem::bad("proto_ver is 3, 4 or 5"));
    }
    let said = desk.ask_all(&Question::Clients { filter, reach: page.reach() }).await;
    Ok(Json(merged(said, page, |entry| [&entry["clientid"], &entry["node"]])))
}

/// One page of what the nodes have, each with its own first entries in order.
pub(super) fn merged(said: Said, page: Page, key: impl Fn(&Value) -> [&Value; 2]) -> Value {
    let count = said.answers.iter().filter_map(|answer| answer["count"].as_u64()).sum::<u64>() as usize;
    let of = |mut answer: Value| match answer["data"].take() {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    };
    let mut all: Vec<Value> = said.answers.into_iter().flat_map(of).collect();
    all.sort_by(|a, b| key(a).map(Value::as_str).cmp(&key(b).map(Value::as_str)));
    let mut answer = page.of(all, count);
    if !said.missing.is_empty() {
        answer["meta"]["missing"] = said.missing.into();
    }
    answer
}

/// The connection of this client, wherever it is.
async fn find(desk: &Desk, id: &str) -> Result<Value, Problem> {
    let said = desk.ask_all(&Question::Client { id: id.to_owned() }).await;
    let found = said.answers.into_iter().find(|answer| answer.is_object());
    found.ok_or_else(|| Problem::not_found(format!("no client {id:?} is connected")))
}

async fn show(State(desk): Shared, Named(id): Named<String>) -> Reply {
    find(&desk, &id).await.map(Json)
}

/// Disconnects it with 0x98 Administrative action. Its Session stays, and it may come back.
async fn kick(State(desk): Shared, Named(id): Named<String>) -> Result<StatusCode, Problem> {
    match questions::kick(&desk.broker, &id).await {
        Kicked::Told => Ok(StatusCode::NO_CONTENT),
        Kicked::Absent => Err(Problem::not_found(format!("no client {id:?} is connected"))),
        Kicked::Unknown(nodes) => {
            let text = format!("it is not connected to any node that answers; these did not: {}", nodes.join(", "));
            Err(Problem::unavailable(text))
        }
    }
}

/// Also of a Session that is not connected, as far as nodes are told of it.
async fn subscriptions(State(desk): Shared, Named(id): Named<String>) -> Reply {
    let filter = Filter { clientid: Some(id.clone()), ..Filter::default() };
    let said = desk.ask_all(&Question::Subscriptions { filter, reach: usize::MAX }).await;
    let mut found: Vec<Value> = Vec::new();
    for answer in said.answers {
        found.extend(answer["data"].as_array().into_iter().flatten().cloned());
    }
    if found.is_empty() {
        let client_id = ClientId::new(&id);
        found.extend(desk.broker.subscriptions_of(&client_id).iter().map(|one| desk.subscription(&client_id, one)));
    }
    if found.is_empty() {
        find(&desk, &id).await?;
    }
    Ok(Json(Value::Array(found)))
}
