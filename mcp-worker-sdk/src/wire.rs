//! The contract: what nodes and workers say to each other by way of Redis. `WORKERS.md` tells it for other languages.

#![allow(missing_docs, reason = "WORKERS.md says what each field is")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A request, as it stands on the channel and in the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RequestMessage {
    pub correlation_id: String,
    pub topic: String,
    #[serde(default)]
    pub payload_b64: String,
    #[serde(default)]
    pub response_topic: String,
    #[serde(default)]
    pub client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default)]
    pub user_properties: Vec<(String, String)>,
    #[serde(default)]
    pub qos: u8,
    /// In milliseconds since 1970, by the clock of Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(default = "first")]
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

fn first() -> u32 {
    1
}

/// An answer, as it is published or added to the stream of answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseMessage {
    pub correlation_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_b64: Option<String>,
    /// A text, in place of `payload_b64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_properties: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorMessage>,
    /// False: a part; more will follow.
    #[serde(default = "yes", rename = "final", skip_serializing_if = "is_yes")]
    pub is_final: bool,
    /// The request ends without a message to the requester.
    #[serde(default, skip_serializing_if = "is_no")]
    pub drop: bool,
    /// Of a part: its number, from 1. Of the final answer: how many parts came before it. Nodes keep that order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    /// One of the words that `mqttd-error` may have; anything else is `worker-failed`.
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_no(flag: &bool) -> bool {
    !*flag
}

impl ResponseMessage {
    pub fn of(correlation_id: &str) -> ResponseMessage {
        ResponseMessage {
            correlation_id: correlation_id.to_owned(),
            payload_b64: None,
            payload: None,
            content_type: None,
            user_properties: Vec::new(),
            error: None,
            is_final: true,
            drop: false,
            part: None,
        }
    }

    /// The payload; `None` when it is said to be base64 and is not.
    pub fn bytes(&self) -> Option<Bytes> {
        match (&self.payload_b64, &self.payload) {
            (Some(text), _) => decode(text),
            (None, Some(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
            (None, None) => Some(Bytes::new()),
        }
    }
}

/// Standard base64, with padding.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn decode(text: &str) -> Option<Bytes> {
    STANDARD.decode(text).ok().map(Bytes::from)
}

/// The names of keys and channels. The part in braces keeps all streams in one hash slot.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// With the `store.prefix` of the nodes; theirs is `mqttd` unless somebody changed it.
    pub fn new(prefix: &str) -> Names {
        Names { prefix: prefix.to_owned() }
    }

    /// The channel of requests.
    pub fn requests(&self) -> String {
        format!("{}:mcp:requests", self.prefix)
    }

    /// The channel of answers.
    pub fn responses(&self) -> String {
        format!("{}:mcp:responses", self.prefix)
    }

    /// The channel on which nodes say which request nobody wants answered any more.
    pub fn cancelled(&self) -> String {
        format!("{}:mcp:cancelled", self.prefix)
    }

    /// Whether a request still waits for its answer: this key is there.
    pub fn request(&self, correlation_id: &str) -> String {
        format!("{}:request:{correlation_id}", self.prefix)
    }

    pub fn claim(&self, correlation_id: &str) -> String {
        format!("{}:mcp:claim:{correlation_id}", self.prefix)
    }

    pub fn requests_stream(&self) -> String {
        format!("{}:{{mcp}}:requests", self.prefix)
    }

    pub fn responses_stream(&self) -> String {
        format!("{}:{{mcp}}:responses", self.prefix)
    }

    /// Where requests end up that no attempt could answer.
    pub fn dead(&self) -> String {
        format!("{}:{{mcp}}:dead", self.prefix)
    }

    /// Who works, scored by until when that is believed.
    pub fn workers(&self) -> String {
        format!("{}:{{mcp}}:workers", self.prefix)
    }

    pub fn worker(&self, name: &str) -> String {
        format!("{}:mcp:worker:{name}", self.prefix)
    }
}

/// The field of a stream entry that has the JSON.
pub const FIELD: &str = "json";

/// What a worker says of itself under [`Names::worker`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerMessage {
    pub name: String,
    #[serde(default)]
    pub group: String,
    /// The Topic Filters that it answers; none: all.
    #[serde(default)]
    pub filters: Vec<String>,
    #[serde(default)]
    pub lane: String,
    #[serde(default)]
    pub concurrency: usize,
    #[serde(default)]
    pub running: usize,
    #[serde(default)]
    pub answered: u64,
    #[serde(default)]
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_understood_and_what_is_unknown_is_ignored() {
        let text = r#"{"correlation_id":"c","topic":"t","payload_b64":"aGk=","response_topic":"r","later":1}"#;
        let request: RequestMessage = serde_json::from_str(text).unwrap();
        assert_eq!((request.attempt, decode(&request.payload_b64).unwrap().as_ref()), (1, &b"hi"[..]));
        let text = r#"{"correlation_id":"c","payload_b64":"aGk=","x":{}}"#;
        let response: ResponseMessage = serde_json::from_str(text).unwrap();
        assert!(response.is_final && !response.drop);
        assert_eq!(response.bytes().unwrap(), "hi");
        assert_eq!(
            serde_json::to_string(&ResponseMessage { payload_b64: Some("aGk=".into()), ..ResponseMessage::of("c") }).unwrap(),
            r#"{"correlation_id":"c","payload_b64":"aGk="}"#
        );
    }
}
