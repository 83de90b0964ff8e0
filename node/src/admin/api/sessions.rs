//! `sessions`: what the Store has of clients, connected or away; and the messages that wait for one, or were sent and not acknowledged.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::clients::find;
use crate::admin::answers::queued;
use crate::admin::questions::{self, Question};
use crate::admin::reply::{Asked, Named, Problem, Reply, date, limit};
use crate::admin::{Desk, Shared};
use crate::packet::connect::ClientId;
use crate::store::cluster::NodeId;
use crate::store::look::{Queued, Row};

/// Looks into the Store that one request takes; where nothing matches in them, the answer says where to go on.
const LOOKS_MAX: usize = 64;

/// Subscriptions that are shown with a Session are all it has; of its queue there is a list of its own.
const NO_MESSAGES: usize = 0;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/sessions", get(list))
        .route("/sessions/{id}", get(show).delete(end))
        .route("/clients/{id}/mqueue_messages", get(waiting))
        .route("/clients/{id}/inflight_messages", get(in_flight))
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Connected,
    Away,
}

#[derive(Deserialize)]
struct Wanted {
    /// A part of the Client Identifier.
    like_clientid: Option<String>,
    state: Option<Standing>,
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// In the order of the Store, which on Redis is none: there a page may have more than `limit`, and a Session may come twice.
async fn list(State(desk): Shared, asked: Asked) -> Reply {
    let wanted: Wanted = asked.read(&["like_clientid", "state", "limit", "after"])?;
    let limit = limit(wanted.limit)?;
    let (mut data, mut next, mut more): (Vec<Value>, Option<String>, bool) = (Vec::new(), wanted.after, true);
    for _ in 0..LOOKS_MAX {
        if data.len() >= limit || !more {
            break;
        }
        let page = desk.broker.store().sessions(next.as_deref(), limit - data.len(), desk.broker.clock.now()).await?;
        let (rows, rest) = page.ok_or_else(|| Problem::bad("after: it is the next of an answer before"))?;
        let wants = |row: &&Row| {
            wanted.like_clientid.as_deref().is_none_or(|part| row.client_id.as_str().contains(part))
                && wanted.state.is_none_or(|state| (state == Standing::Away) == row.owner.is_none())
        };
        data.extend(rows.iter().filter(wants).map(|row| shown(&desk, row)));
        (more, next) = (rest.is_some(), rest);
    }
    Ok(Json(json!({ "data": data, "meta": { "limit": limit, "hasnext": next.is_some(), "next": next } })))
}

fn shown(desk: &Desk, row: &Row) -> Value {
    // An incarnation by the name of its node; a Store of one process names none.
    let node =
        row.owner.as_deref().map(|owner| if owner.is_empty() { desk.settings.node.clone() } else { NodeId::new(owner).name().to_owned() });
    json!({
        "clientid": row.client_id.as_str(),
        "state": if row.owner.is_some() { "connected" } else { "away" },
        "node": node,
        "durable": row.durable,
        "expiry_interval": row.expiry_ms.map(|ms| ms / 1000),
        "ends_at": row.ends.map(date),
        "has_will": row.has_will,
        "queued": row.queued,
        "release_owed": row.released,
        "awaiting_release": row.received,
        "subscriptions_cnt": row.subscriptions,
    })
}

async fn row(desk: &Desk, id: &str) -> Result<Option<Row>, Problem> {
    let session = desk.broker.store().session(&ClientId::new(id), NO_MESSAGES, desk.broker.clock.now()).await?;
    Ok(session.map(|session| session.row))
}

/// With what it subscribes to, if it lasts.
async fn show(State(desk): Shared, Named(id): Named<String>) -> Reply {
    let client_id = ClientId::new(&id);
    let session = desk.broker.store().session(&client_id, NO_MESSAGES, desk.broker.clock.now()).await?;
    let session = session.ok_or_else(|| none(&id))?;
    let mut answer = shown(&desk, &session.row);
    let subscriptions = session.subscriptions.iter().map(|one| desk.subscription(&client_id, one));
    answer["subscriptions"] = subscriptions
        .map(|mut one| {
            one["node"] = answer["node"].clone();
            one
        })
        .collect();
    Ok(Json(answer))
}

fn none(id: &str) -> Problem {
    Problem::not_found(format!("there is no session of {id:?}"))
}

/// As a Clean Start of its client would; who is connected is disconnected with 0x98 before.
async fn end(State(desk): Shared, Named(id): Named<String>) -> Result<StatusCode, Problem> {
    if row(&desk, &id).await?.is_none() {
        return Err(none(&id));
    }
    let _ = questions::kick(&desk.broker, &id).await; // whom it does not reach is taken over by what follows
    desk.broker.end_session(&ClientId::new(&id), desk.broker.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Look {
    limit: Option<usize>,
    /// `none` or `base64`.
    payload: Option<String>,
    /// The `next` of the page before.
    after: Option<u64>,
}

impl Look {
    fn read(asked: &Asked) -> Result<(usize, bool, Option<u64>), Problem> {
        let Look { limit: asked_for, payload, after } = asked.read(&["limit", "payload", "after"])?;
        match payload.as_deref() {
            None | Some("none") => Ok((limit(asked_for)?, false, after)),
            Some("base64") => Ok((limit(asked_for)?, true, after)),
            Some(_) => Err(Problem::bad("payload: none or base64")),
        }
    }
}

fn listed((sequence, grant, message): &Queued, with_payload: bool) -> Value {
    let mut one = queued(message, message.qos.min(grant.qos) as u8);
    one["sequence"] = (*sequence).into();
    if with_payload {
        one["payload"] = BASE64.encode(&message.payload).into();
    }
    one
}

/// What is in the queue of the Session and was not sent yet, a page at a time; and how many more wait in the memory of its node.
async fn waiting(State(desk): Shared, Named(id): Named<String>, asked: Asked) -> Reply {
    let (limit, with_payload, after) = Look::read(&asked)?;
    let client_id = ClientId::new(&id);
    let row = row(&desk, &id).await?.ok_or_else(|| none(&id))?;
    let from = after.unwrap_or(row.handed).max(row.handed);
    let mut found = desk.broker.store().queue(&client_id, from, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(sequence, ..)| *sequence);
    let data: Vec<Value> = found.iter().map(|one| listed(one, with_payload)).collect();
    let said = desk.ask_all(&Question::Mailbox { id, limit }).await;
    let memory = said.answers.into_iter().find(Value::is_object).unwrap_or_else(|| json!({ "count": 0, "data": [] }));
    Ok(Json(json!({ "data": data, "memory": memory, "meta": { "limit": limit, "hasnext": more, "next": next } })))
}

/// What may have been sent and is not acknowledged. A Session that ends with its connection keeps none: of its messages there is only the number.
async fn in_flight(State(desk): Shared, Named(id): Named<String>, asked: Asked) -> Reply {
    let (limit, with_payload, after) = Look::read(&asked)?;
    let client_id = ClientId::new(&id);
    let row = row(&desk, &id).await?.ok_or_else(|| none(&id))?;
    let mut found = desk.broker.store().queue(&client_id, after.unwrap_or_default(), limit + 1).await?;
    found.retain(|(sequence, ..)| *sequence <= row.handed);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|(sequence, ..)| *sequence);
    let data: Vec<Value> = found.iter().map(|one| listed(one, with_payload)).collect();
    let count = match row.owner {
        Some(_) => find(&desk, &id).await.ok().and_then(|client| client["inflight_cnt"].as_u64()),
        None => None,
    };
    Ok(Json(json!({ "data": data, "meta": { "limit": limit, "hasnext": more, "next": next, "inflight_cnt": count } })))
}
