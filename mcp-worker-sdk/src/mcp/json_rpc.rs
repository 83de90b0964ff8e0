//! As much of JSON-RPC 2.0 as whoever passes it on has to know.

use serde_json::{Map, Value, json};

use crate::reply::Reply;

/// The newest revision that begins with `initialize`, and all before it.
#[cfg(any(feature = "rmcp", feature = "rmcp-child-process"))]
pub(super) const WITH_INITIALIZE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

#[allow(dead_code, reason = "not every feature has a use for each")]
pub(super) mod code {
    pub(crate) const UNAVAILABLE: i64 = -32000;
    pub(crate) const PARSE: i64 = -32700;
    pub(crate) const INVALID_REQUEST: i64 = -32600;
}

/// A message of a client.
pub(super) enum Message {
    Request {
        id: Value,
        method: String,
        object: Map<String, Value>,
    },
    /// Also a response to a server's request, which nobody has sent.
    Notification {
        method: String,
        object: Map<String, Value>,
    },
}

/// Reads a message; what is none is answered with a JSON-RPC error.
pub(super) fn read(payload: &[u8]) -> Result<Message, Reply> {
    let value: Value = serde_json::from_slice(payload).map_err(|error| error_reply(&Value::Null, code::PARSE, &error.to_string()))?;
    let Value::Object(mut object) = value else { return Err(error_reply(&Value::Null, code::INVALID_REQUEST, "no JSON-RPC request")) };
    let Some(Value::String(method)) = object.get("method").cloned() else {
        let id = object.get("id").cloned().unwrap_or_default();
        return Err(error_reply(&id, code::INVALID_REQUEST, "no JSON-RPC request: it has no method"));
    };
    Ok(match object.remove("id") {
        Some(id) => Message::Request { id, method, object },
        None => Message::Notification { method, object },
    })
}

pub(super) fn reply(value: &Value) -> Reply {
    Reply::new(serde_json::to_vec(value).unwrap_or_default()).with_content_type("application/json")
}

pub(super) fn error_reply(id: &Value, code: i64, message: &str) -> Reply {
    reply(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } }))
}

/// The revision that the answer to `initialize` names: what the client asked for, if that has an `initialize` at all.
#[cfg(any(feature = "rmcp", feature = "rmcp-child-process"))]
pub(super) fn negotiated(asked: Option<&str>) -> &'static str {
    let known = WITH_INITIALIZE.into_iter().find(|known| asked == Some(known));
    known.unwrap_or(WITH_INITIALIZE[0])
}

/// `params._meta`, made if it is not there.
pub(super) fn meta(object: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    let params = object.entry("params").or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
    params.entry("_meta").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// Carries the trace of the MQTT message on, unless the client has said it in the MCP message.
pub(super) fn trace(object: &mut Map<String, Value>, traceparent: Option<&String>) {
    if let Some(traceparent) = traceparent
        && let Some(meta) = meta(object)
    {
        meta.entry("traceparent").or_insert_with(|| Value::String(traceparent.clone()));
    }
}
