//! `mqtt/retainer`: the retained messages.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::reply::{Asked, Named, Problem, Reply, date, limit};
use crate::admin::{Desk, Shared};
use crate::message::Message;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Pages of the Store that one request looks through; where nothing matches in them, the answer says where to go on.
const STORE_PAGES_MAX: usize = 64;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/mqtt/retainer/messages", get(list)).route("/mqtt/retainer/message/{*topic}", get(show).delete(remove))
}

#[derive(Deserialize)]
struct Wanted {
    /// A Topic Filter; `#` when it is not named, which leaves out what begins with `$`.
    topic: Option<String>,
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// In the order of their Topic Names, without payloads.
async fn list(State(desk): Shared, asked: Asked) -> Reply {
    let wanted: Wanted = asked.read(&["topic", "limit", "after"])?;
    let filter = wanted.topic.as_deref().unwrap_or("#");
    let filter = TopicFilter::new(filter).ok_or_else(|| Problem::bad(format!("topic: {filter:?} is no Topic Filter")))?;
    let limit = limit(wanted.limit)?;
    let mut after = wanted.after.as_deref().map(topic_name).transpose()?;
    let mut data: Vec<Value> = Vec::new();
    let mut more = true;
    for _ in 0..STORE_PAGES_MAX {
        if data.len() >= limit || !more {
            break;
        }
        let page = desk.broker.store().retained(&filter, after.as_ref(), limit - data.len(), desk.broker.clock.now()).await?;
        data.extend(page.messages.iter().flat_map(|run| run.messages()).map(summary));
        more = page.next.is_some();
        after = page.next.or(after);
    }
    let next = after.filter(|_| more).map(|topic| topic.as_str().to_owned());
    Ok(Json(json!({ "data": data, "meta": { "limit": limit, "hasnext": next.is_some(), "next": next } })))
}

fn summary(message: &Message) -> Value {
    json!({
        "topic": message.topic.as_str(),
        "qos": message.qos as u8,
        "payload_bytes": message.payload.len(),
        "expires_at": message.expires_at.map(date),
    })
}

/// With its payload, in base64, and its properties.
async fn show(State(desk): Shared, Named(topic): Named<String>) -> Reply {
    let message = find(&desk, &topic).await?;
    let mut answer = summary(&message);
    answer["payload"] = BASE64.encode(&message.payload).into();
    if let Some(properties) = &message.properties {
        answer["properties"] = json!({
            "payload_format_indicator": properties.payload_is_utf8.map(u8::from),
            "response_topic": properties.response_topic.as_deref(),
            "correlation_data": properties.correlation_data.as_ref().map(|data| BASE64.encode(data)),
            "content_type": properties.content_type.as_deref(),
            "user_properties": properties.user_properties.iter().map(|(name, value)| [&**name, &**value]).collect::<Vec<_>>(),
        });
    }
    Ok(Json(answer))
}

async fn remove(State(desk): Shared, Named(topic): Named<String>) -> Result<StatusCode, Problem> {
    find(&desk, &topic).await?;
    desk.broker.store().retain(&topic_name(&topic)?, None, desk.broker.clock.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(desk: &Desk, topic: &str) -> Result<Message, Problem> {
    let name = topic_name(topic)?;
    let filter = TopicFilter::new(name.as_str()).ok_or_else(|| Problem::bad(format!("{topic:?} is no Topic Name")))?;
    let page = desk.broker.store().retained(&filter, None, 1, desk.broker.clock.now()).await?;
    let found = page.messages.first().and_then(|run| run.messages().first()).cloned();
    found.ok_or_else(|| Problem::not_found(format!("nothing is retained at {topic:?}")))
}

fn topic_name(text: &str) -> Result<TopicName, Problem> {
    TopicName::new(text.into()).ok_or_else(|| Problem::bad(format!("{text:?} is no Topic Name")))
}
