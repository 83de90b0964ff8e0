//! As much of JSON-RPC 2.0 as whoever passes it on has to know.

#![allow(dead_code, reason = "not every feature has a use for each")]

use serde_json::{Map, Value, json};

use crate::reply::Reply;

/// The newest revision that begins with `initialize`, and all before it.
pub(super) const WITH_INITIALIZE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Where a notification of the stateless revision says to which `subscriptions/listen` it belongs.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The revision without `initialize`, and where its requests say that they are of it.
const STATELESS: &str = "2026-07-28";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

pub(super) mod code {
    pub(crate) const UNAVAILABLE: i64 = -32000;
    pub(crate) const PARSE: i64 = -32700;
    pub(crate) const INVALID_REQUEST: i64 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
}

/// What a server hears that asks something of its client.
pub(super) const NO_WAY_BACK: &str = "a client behind a broker answers no requests";

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
pub(super) fn negotiated(asked: Option<&str>) -> &'static str {
    let known = WITH_INITIALIZE.into_iter().find(|known| asked == Some(known));
    known.unwrap_or(WITH_INITIALIZE[0])
}

/// The revision that a request of the stateless era names.
pub(super) fn revision(object: &Map<String, Value>) -> Option<&str> {
    object.get("params")?.get("_meta")?.get(VERSION)?.as_str()
}

/// What is said to a server of the era of `initialize`, under the id 0.
pub(super) fn initialize() -> Value {
    let info = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    let params = json!({ "protocolVersion": negotiated(None), "capabilities": {}, "clientInfo": info });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

/// The same for one of the stateless revision: whether it knows that.
pub(super) fn discover() -> Value {
    let meta = json!({
        VERSION: STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
    });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "server/discover", "params": { "_meta": meta } })
}

/// To one of the older era, when it has answered.
pub(super) fn initialized() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

/// Answers the `initialize` of a client with what the server said to ours.
pub(super) fn initialize_reply(id: &Value, asked: &Map<String, Value>, mut said: Value) -> Reply {
    let version = asked.get("params").and_then(|params| params.get("protocolVersion")).and_then(Value::as_str);
    if let Some(said) = said.as_object_mut() {
        said.insert("protocolVersion".to_owned(), negotiated(version).into());
    }
    reply(&json!({ "jsonrpc": "2.0", "id": id, "result": said }))
}

/// Has somebody told that nobody waits for this request any more.
pub(super) fn cancel(id: u64) -> Value {
    let params = json!({ "requestId": id, "reason": "nobody waits for it any more" });
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
}

/// Gives a request an id of our own, which is also its progress token if it has one: two clients may use the same. Returns their token.
pub(super) fn rename(object: &mut Map<String, Value>, id: u64) -> Option<Value> {
    object.insert("id".to_owned(), id.into());
    let meta = object.get_mut("params").and_then(|params| params.get_mut("_meta")).and_then(Value::as_object_mut);
    meta.and_then(|meta| meta.get_mut("progressToken")).map(|token| std::mem::replace(token, id.into()))
}

/// Gives a notification of the server the client's own names back: that of its progress token, and in `subscriptions/listen` that of the request.
pub(super) fn rename_back(notification: &mut Map<String, Value>, own: u64, id: &Value, token: Option<&Value>) {
    let Some(params) = notification.get_mut("params").and_then(Value::as_object_mut) else { return };
    if let (Some(ours), Some(theirs)) = (params.get_mut("progressToken"), token)
        && ours.as_u64() == Some(own)
    {
        *ours = theirs.clone();
    }
    if let Some(ours) = params.get_mut("_meta").and_then(|meta| meta.get_mut(SUBSCRIPTION))
        && ours.as_u64() == Some(own)
    {
        *ours = id.clone();
    }
}

/// Which of our requests a notification of the server belongs to, if it says so.
pub(super) fn belongs_to(notification: &Map<String, Value>) -> Option<u64> {
    let params = notification.get("params")?;
    params.get("progressToken").or_else(|| params.get("_meta")?.get(SUBSCRIPTION))?.as_u64()
}

/// What a server hears when it asks something itself: that we are there (`ping`), or that nobody does it. `None`: it asks nothing.
pub(super) fn answer_to_server(message: &Map<String, Value>) -> Option<Value> {
    let (method, id) = (message.get("method")?, message.get("id")?);
    Some(match method.as_str() {
        Some("ping") => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
        _ => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code::METHOD_NOT_FOUND, "message": NO_WAY_BACK } }),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_request_goes_by_our_names_and_what_is_said_of_it_by_its_own() {
        let mut asked = object(json!({ "method": "tools/call", "params": { "_meta": { "progressToken": "p" } } }));
        let token = rename(&mut asked, 7);
        assert_eq!((&asked["id"], &asked["params"]["_meta"]["progressToken"], &token), (&json!(7), &json!(7), &Some(json!("p"))));
        let mut progress = object(json!({ "method": "notifications/progress", "params": { "progressToken": 7 } }));
        let mut changed = object(json!({ "method": "notifications/tools/list_changed", "params": { "_meta": { SUBSCRIPTION: 7 } } }));
        let mut of_another = object(json!({ "method": "notifications/progress", "params": { "progressToken": 8 } }));
        assert_eq!([&progress, &changed, &of_another].map(belongs_to), [Some(7), Some(7), Some(8)]);
        for notification in [&mut progress, &mut changed, &mut of_another] {
            rename_back(notification, 7, &json!("id"), token.as_ref());
        }
        assert_eq!(progress["params"]["progressToken"], "p");
        assert_eq!(changed["params"]["_meta"][SUBSCRIPTION], "id");
        assert_eq!(of_another["params"]["progressToken"], 8);
        assert_eq!(belongs_to(&object(json!({ "method": "notifications/message", "params": {} }))), None);
    }

    #[test]
    fn a_server_that_asks_is_answered() {
        let answer = |message: Value| answer_to_server(&object(message));
        assert_eq!(answer(json!({ "id": "a", "method": "ping" })), Some(json!({ "jsonrpc": "2.0", "id": "a", "result": {} })));
        assert_eq!(answer(json!({ "id": 1, "method": "roots/list" })).unwrap()["error"]["code"], code::METHOD_NOT_FOUND);
        assert_eq!(answer(json!({ "method": "notifications/progress" })), None);
        assert_eq!(answer(json!({ "id": 1, "result": {} })), None);
    }
}
