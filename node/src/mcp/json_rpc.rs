//! As much of JSON-RPC 2.0 as somebody has to know who answers in place of a server. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a payload is in JSON-RPC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Rpc {
    /// Nothing of it.
    #[default]
    None,
    /// A request with this id: an error reply is a JSON-RPC error.
    Request(Value),
    /// Nobody waits for a reply.
    Notification,
}

#[derive(Deserialize)]
struct Frame {
    jsonrpc: Option<Value>,
    method: Option<String>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Value>,
}

/// MCP's `notifications/cancelled`.
#[derive(Deserialize)]
struct Cancelled {
    params: serde_json::Map<String, Value>,
}

/// A longer notification is not looked into.
const CANCELLED_BYTES_MAX: usize = 65_536;

/// `null` is there too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn frame(payload: &[u8]) -> Option<Frame> {
    let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return None;
    }
    let frame: Frame = serde_json::from_slice(payload).ok()?;
    (frame.jsonrpc == Some(Value::from("2.0")) && frame.method.is_some()).then_some(frame)
}

/// Looks at a payload, of which only the id takes memory. The second is the id of the request that it takes back, for MCP's `notifications/cancelled`.
pub fn look(payload: &[u8]) -> (Rpc, Option<Value>) {
    match frame(payload) {
        None => (Rpc::None, None),
        Some(Frame { id: Some(id), .. }) => (Rpc::Request(id), None),
        Some(Frame { method, .. }) => {
            let is_cancel = method.as_deref() == Some("notifications/cancelled") && payload.len() <= CANCELLED_BYTES_MAX;
            let cancelled = is_cancel.then(|| serde_json::from_slice::<Cancelled>(payload).ok()).flatten();
            (Rpc::Notification, cancelled.and_then(|mut cancelled| cancelled.params.remove("requestId")))
        }
    }
}

/// A JSON-RPC error. `word` says it as the User Property does.
pub fn error_object(id: &Value, code: i64, message: &str, word: &str) -> Vec<u8> {
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message, "data": { "mqttd-error": word } } });
    serde_json::to_vec(&error).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_rpc_is_json_rpc() {
        let rows: &[(&str, Rpc, Option<Value>)] = &[
            (r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#, Rpc::Request(7.into()), None),
            (r#" {"method":"m","id":"a","jsonrpc":"2.0","params":[1]}"#, Rpc::Request("a".into()), None),
            (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, Rpc::Request(Value::Null), None),
            (r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"x":1}}"#, Rpc::Notification, None),
            (r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#, Rpc::Notification, Some(7.into())),
            (r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[7]}"#, Rpc::Notification, None),
            (r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#, Rpc::Notification, None),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, Rpc::None, None),
            (r#"{"jsonrpc":"1.0","id":7,"method":"m"}"#, Rpc::None, None),
            ("{", Rpc::None, None),
            ("", Rpc::None, None),
            ("text", Rpc::None, None),
        ];
        for (payload, rpc, cancels) in rows {
            assert_eq!(look(payload.as_bytes()), (rpc.clone(), cancels.clone()), "{payload}");
        }
    }
}
