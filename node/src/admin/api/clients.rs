//! `clients`: who is connected, anywhere in the cluster, and what is done for one of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::questions::{self, Filter, Kicked, NewSubscription, Question, Said};
use crate::admin::reply::{Asked, Body, Named, Object, Page, Problem, Reply};
use crate::admin::{Desk, Shared};
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::subscription::Selector;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/clients", get(list))
        .route("/clients/{id}", get(show).delete(kick))
        .route("/clients/{id}/subscriptions", get(subscriptions))
        .route("/clients/{id}/subscribe", post(subscribe))
        .route("/clients/{id}/subscribe/bulk", post(subscribe_bulk))
        .route("/clients/{id}/unsubscribe", post(unsubscribe))
        .route("/clients/{id}/unsubscribe/bulk", post(unsubscribe_bulk))
}

/// What `GET clients` can be narrowed by.
const NAMES: &[&str] = &["clientid", "like_clientid", "username", "like_username", "ip_address", "proto_ver", "slow", "node"];

async fn list(State(desk): Shared, asked: Asked) -> Reply {
    let (filter, page): (Filter, Page) = asked.paged(NAMES)?;
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
pub(super) async fn find(desk: &Arc<Desk>, id: &str) -> Result<Value, Problem> {
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

/// Subscriptions of one request.
const BULK_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unwanted {
    topic: String,
}

async fn subscribe(State(desk): Shared, Named(id): Named<String>, Body(Object(one)): Body<Object<NewSubscription>>) -> Reply {
    let mut made = subscribe_all(&desk, &id, vec![one]).await?;
    Ok(Json(made.pop().unwrap_or_default()))
}

async fn subscribe_bulk(State(desk): Shared, Named(id): Named<String>, Body(all): Body<Vec<Object<NewSubscription>>>) -> Reply {
    let all = all.into_iter().map(|Object(one)| one).collect();
    subscribe_all(&desk, &id, all).await.map(|made| Json(Value::Array(made)))
}

async fn unsubscribe(
    State(desk): Shared,
    Named(id): Named<String>,
    Body(Object(one)): Body<Object<Unwanted>>,
) -> Result<StatusCode, Problem> {
    let topic = one.topic.clone();
    let ended = unsubscribe_all(&desk, &id, vec![one]).await?;
    let none = || Problem::not_found(format!("client {id:?} has no subscription with {topic:?}"));
    (ended > 0).then_some(StatusCode::NO_CONTENT).ok_or_else(none)
}

async fn unsubscribe_bulk(
    State(desk): Shared,
    Named(id): Named<String>,
    Body(all): Body<Vec<Object<Unwanted>>>,
) -> Result<StatusCode, Problem> {
    unsubscribe_all(&desk, &id, all.into_iter().map(|Object(one)| one).collect()).await.map(|_| StatusCode::NO_CONTENT)
}

/// Makes subscriptions for a connected client as though it had asked itself: its rules hold, and retained messages come. All are looked at before the
/// first is made; the first that is refused then is told, and those before it are made.
async fn subscribe_all(desk: &Arc<Desk>, id: &str, wanted: Vec<NewSubscription>) -> Result<Vec<Value>, Problem> {
    check_bulk(wanted.len())?;
    for one in &wanted {
        let selector = selector(&one.topic)?;
        let options = one.options().ok_or_else(|| Problem::bad("qos is 0, 1 or 2; nl and rap are 0 or 1; rh is 0, 1 or 2"))?;
        if options.no_local && selector.share.is_some() {
            return Err(Problem::bad("nl: a Shared Subscription has no No Local"));
        }
    }
    let (node, reasons) = ordered(desk, id, Question::Subscribe { id: id.to_owned(), wanted: wanted.clone() }).await?;
    let made = |(one, code): (NewSubscription, u8)| match Reason(code) {
        Reason(granted @ 0..=2) => Ok(json!({
            "clientid": id, "topic": one.topic, "qos": granted, "nl": one.nl, "rap": one.rap, "rh": one.rh, "node": node,
        })),
        Reason::NOT_AUTHORIZED => {
            let text = format!("{}: the rules do not let this client subscribe to it", one.topic);
            Err(Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", text))
        }
        Reason::QUOTA_EXCEEDED => {
            let text = format!("{}: the client, or the Store, has as many as it may", one.topic);
            Err(Problem::new(StatusCode::INSUFFICIENT_STORAGE, "QUOTA_EXCEEDED", text))
        }
        reason => Err(Problem::bad(format!("{}: {reason}", one.topic))),
    };
    wanted.into_iter().zip(reasons).map(made).collect()
}

/// How many there were.
async fn unsubscribe_all(desk: &Arc<Desk>, id: &str, unwanted: Vec<Unwanted>) -> Result<usize, Problem> {
    check_bulk(unwanted.len())?;
    unwanted.iter().try_for_each(|one| selector(&one.topic).map(drop))?;
    let topics = unwanted.into_iter().map(|one| one.topic).collect();
    let (_, reasons) = ordered(desk, id, Question::Unsubscribe { id: id.to_owned(), topics }).await?;
    Ok(reasons.iter().filter(|code| Reason(**code) == Reason::SUCCESS).count())
}

fn check_bulk(count: usize) -> Result<(), Problem> {
    let is_right = (1..=BULK_MAX).contains(&count);
    is_right.then_some(()).ok_or_else(|| Problem::bad(format!("1 to {BULK_MAX} Topic Filters at a time")))
}

fn selector(topic: &str) -> Result<Selector, Problem> {
    Selector::parse(topic).ok_or_else(|| Problem::bad(format!("topic: {topic:?} is no Topic Filter")))
}

/// The node that has the client, and what its connection said to each filter.
async fn ordered(desk: &Arc<Desk>, id: &str, question: Question) -> Result<(Value, Vec<u8>), Problem> {
    let said = desk.ask_all(&question).await;
    let Some(answer) = said.answers.into_iter().find(Value::is_object) else {
        return Err(match said.missing.is_empty() {
            true => Problem::not_found(format!("no client {id:?} is connected")),
            false => Problem::unavailable(format!("no node that answers has client {id:?}; these did not: {}", said.missing.join(", "))),
        });
    };
    let reasons: Vec<u8> =
        answer["reasons"].as_array().into_iter().flatten().filter_map(|code| code.as_u64()).map(|code| code as u8).collect();
    match reasons.is_empty() {
        true => Err(Problem::unavailable(format!("the connection of {id:?} ended before it had done it"))),
        false => Ok((answer["node"].clone(), reasons)),
    }
}
