//! `publish`: a message of the Server itself, to whoever subscribes, anywhere in the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::reply::{Body, Object, Problem};
use crate::admin::{Desk, Shared};
use crate::message::Message;
use crate::packet::QoS;
use crate::packet::publish::PublishProperties;
use crate::time::Span;
use crate::topic::name::TopicName;

/// Messages of one request.
const BULK_MAX: usize = 1000;

/// Bytes of a request: a payload may be as large as a Control Packet by default, and base64 makes it larger.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) fn routes() -> Router<Arc<Desk>> {
    let limit = DefaultBodyLimit::max(BODY_BYTES_MAX);
    Router::new().route("/publish", post(one)).route("/publish/bulk", post(bulk)).layer(limit)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publish {
    topic: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    payload_encoding: Encoding,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    /// As others have it: a name for the publisher. It is not used.
    #[serde(default, rename = "clientid")]
    _clientid: Option<String>,
    #[serde(default)]
    properties: Object<Properties>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Plain,
    Base64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Properties {
    payload_format_indicator: Option<u8>,
    message_expiry_interval: Option<u32>,
    response_topic: Option<String>,
    /// In base64.
    correlation_data: Option<String>,
    content_type: Option<String>,
    user_properties: BTreeMap<String, String>,
}

async fn one(State(desk): Shared, Body(Object(publish)): Body<Object<Publish>>) -> Result<Json<Value>, Problem> {
    let message = message(publish, &desk)?;
    desk.broker.publish_held(message, desk.broker.clock.now()).await?;
    Ok(Json(json!({ "id": uuid::Uuid::now_v7().simple().to_string() })))
}

/// All are looked at before the first is published. When the Store fails, those before are published.
async fn bulk(State(desk): Shared, Body(all): Body<Vec<Object<Publish>>>) -> Result<Json<Value>, Problem> {
    if all.len() > BULK_MAX {
        return Err(Problem::bad(format!("at most {BULK_MAX} messages at a time")));
    }
    let messages: Vec<Message> = all.into_iter().map(|Object(publish)| message(publish, &desk)).collect::<Result<_, _>>()?;
    let mut published = Vec::with_capacity(messages.len());
    for message in messages {
        desk.broker.publish_held(message, desk.broker.clock.now()).await?;
        published.push(json!({ "id": uuid::Uuid::now_v7().simple().to_string() }));
    }
    Ok(Json(Value::Array(published)))
}

fn message(publish: Publish, desk: &Desk) -> Result<Message, Problem> {
    let settings = &desk.broker.settings;
    let topic = TopicName::new(publish.topic.as_str().into()).filter(|topic| !topic.is_system());
    let topic = topic.ok_or_else(|| Problem::bad(format!("topic: {:?} is no Topic Name that can be published to", publish.topic)))?;
    let qos = QoS::from_bits(publish.qos).ok_or_else(|| Problem::bad("qos: 0, 1 or 2"))?;
    let payload = match publish.payload_encoding {
        Encoding::Plain => Bytes::from(publish.payload),
        Encoding::Base64 => decoded("payload", &publish.payload)?,
    };
    if payload.len() > settings.packet_bytes_max as usize {
        let text = format!("the payload is larger than limits.packet_bytes_max, which is {}", settings.packet_bytes_max);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", text));
    }
    if publish.retain && !settings.retain_available {
        return Err(Problem::bad("retain: this Server keeps no retained messages"));
    }
    let expires_at = publish.properties.0.message_expiry_interval.map(|seconds| desk.broker.clock.now() + Span::seconds(seconds));
    let properties = properties(publish.properties.0, &payload)?;
    let properties = Some(Box::new(properties)).filter(|properties| **properties != PublishProperties::default());
    Ok(Message { topic, payload, qos, retain: publish.retain, properties, expires_at })
}

fn properties(from: Properties, payload: &Bytes) -> Result<PublishProperties, Problem> {
    let response_topic = from.response_topic.map(|text| {
        let topic = TopicName::new(text.as_str().into());
        topic.map(|topic| topic.text().clone()).ok_or_else(|| Problem::bad(format!("response_topic: {text:?} is no Topic Name")))
    });
    let payload_is_utf8 = match from.payload_format_indicator {
        None => None,
        Some(0) => Some(false),
        Some(1) if std::str::from_utf8(payload).is_ok() => Some(true),
        Some(1) => return Err(Problem::bad("payload_format_indicator: 1 says that the payload is UTF-8, and it is not")),
        Some(_) => return Err(Problem::bad("payload_format_indicator: 0 or 1")),
    };
    let is_text = |text: &str| text.len() <= u16::MAX.into() && !text.contains('\0');
    if !from.user_properties.iter().all(|(name, value)| is_text(name) && is_text(value))
        || !from.content_type.iter().all(|text| is_text(text))
    {
        return Err(Problem::bad("a property has at most 65,535 bytes and no NUL"));
    }
    let correlation_data = from.correlation_data.map(|text| decoded("correlation_data", &text)).transpose()?;
    if correlation_data.as_ref().is_some_and(|data| data.len() > u16::MAX.into()) {
        return Err(Problem::bad("correlation_data: at most 65,535 bytes"));
    }
    Ok(PublishProperties {
        payload_is_utf8,
        response_topic: response_topic.transpose()?,
        correlation_data,
        content_type: from.content_type.map(Into::into),
        user_properties: from.user_properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        ..PublishProperties::default()
    })
}

fn decoded(field: &str, text: &str) -> Result<Bytes, Problem> {
    BASE64.decode(text).map(Bytes::from).map_err(|error| Problem::bad(format!("{field}: no base64: {error}")))
}
