//! What the stateless revision has in headers too, so that those on the way need not read the message (SEP-2243). No I/O.

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Map, Value};

use super::super::json_rpc;
use crate::wire::encode;

pub(super) const PROTOCOL: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// The revision that a request of the stateless era names.
pub(super) fn stateless_version(object: &Map<String, Value>) -> Option<HeaderValue> {
    header_value(json_rpc::revision(object)?)
}

/// Adds them for this message.
pub(super) fn say(headers: &mut HeaderMap, version: HeaderValue, method: &str, object: &Map<String, Value>) {
    let named_by = match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    };
    let name = named_by.and_then(|field| object.get("params")?.get(field)?.as_str());
    let fields = [(PROTOCOL, Some(version)), (METHOD, header_value(method)), (NAME, name.and_then(header_value))];
    for (field, value) in fields {
        if let Some(value) = value {
            headers.insert(field, value);
        }
    }
}

/// A text as it is, if a header may have it so; else in base64, marked as that.
fn header_value(text: &str) -> Option<HeaderValue> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text && !text.starts_with("=?base64?");
    let encoded = format!("=?base64?{}?=", encode(text.as_bytes()));
    HeaderValue::from_str(if is_plain { text } else { &encoded }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_header_cannot_have_is_in_base64() {
        for (text, expected) in [
            ("add", "add"),
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("é", "=?base64?w6k=?="),
            ("=?base64?x", "=?base64?PT9iYXNlNjQ/eA==?="),
        ] {
            assert_eq!(header_value(text).unwrap(), expected);
        }
    }
}
