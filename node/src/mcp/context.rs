//! What a node needs to answer a request, and the messages that it answers with. No I/O.

use bytes::Bytes;
use mcp_worker_sdk::wire::{self, RequestMessage, ResponseMessage};
use serde::{Deserialize, Serialize};

use crate::hook::client::Client;
use crate::mcp::json_rpc::{Rpc, error_object};
use crate::message::Message;
use crate::packet::QoS;
use crate::packet::publish::PublishProperties;
use crate::time::{Span, Time};
use crate::topic::name::TopicName;

/// The User Property of an error reply.
pub const ERROR: &str = "mqttd-error";

/// The User Property in which a requester says what trace it is in.
pub const TRACEPARENT: &str = "traceparent";

/// Why a requester gets no answer, as `mqttd-error` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Unavailable,
    Timeout,
    NoWorker,
    WorkerFailed,
    TooLarge,
}

impl Trouble {
    pub fn word(self) -> &'static str {
        match self {
            Trouble::Unavailable => "unavailable",
            Trouble::Timeout => "timeout",
            Trouble::NoWorker => "no-worker",
            Trouble::WorkerFailed => "worker-failed",
            Trouble::TooLarge => "too-large",
        }
    }

    /// The code of a JSON-RPC error; of the range that MCP leaves to implementations.
    pub fn code(self) -> i64 {
        match self {
            Trouble::Unavailable => -32000,
            Trouble::Timeout => -32001,
            Trouble::NoWorker => -32002,
            Trouble::WorkerFailed => -32003,
            Trouble::TooLarge => -32004,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Trouble::Unavailable => "the request could not be answered",
            Trouble::Timeout => "no answer in time",
            Trouble::NoWorker => "no worker answers this topic",
            Trouble::WorkerFailed => "the worker failed",
            Trouble::TooLarge => "the request is too large",
        }
    }

    /// What a worker calls it; what is not known is its own failure.
    pub fn of_word(word: &str) -> Trouble {
        let all = [Trouble::Unavailable, Trouble::Timeout, Trouble::NoWorker, Trouble::TooLarge];
        all.into_iter().find(|trouble| trouble.word() == word).unwrap_or(Trouble::WorkerFailed)
    }
}

/// A request that waits for its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    pub response_topic: String,
    /// In base64. `None`: the request had none.
    pub correlation_data_b64: Option<String>,
    pub client_id: String,
    pub topic: String,
    pub qos: u8,
    pub deadline_ms: u64,
    /// Which node took it.
    #[serde(default)]
    pub node: String,
    #[serde(default)]
    pub rpc: Rpc,
    /// Somebody subscribes to its Topic Name, and may answer it in the way of MQTT.
    #[serde(default)]
    pub matched: bool,
}

/// In front of what Redis keeps of a context: nobody claims it, and no part was forwarded. `mqttd.lua` tells the digits.
const UNCLAIMED: &str = "00000000000000000000000000000000";

impl Context {
    pub fn new(client: &Client, message: &Message, rpc: Rpc, deadline: Time, node: &str, matched: bool) -> Context {
        let properties = message.properties.as_deref();
        Context {
            response_topic: properties
                .and_then(|properties| properties.response_topic.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            correlation_data_b64: properties.and_then(|properties| properties.correlation_data.as_deref()).map(wire::encode),
            client_id: client.id.as_str().to_owned(),
            topic: message.topic.as_str().to_owned(),
            qos: message.qos as u8,
            deadline_ms: deadline.0,
            node: node.to_owned(),
            rpc,
            matched,
        }
    }

    /// As it is kept.
    pub fn encode(&self) -> Bytes {
        let mut text = UNCLAIMED.to_owned();
        text.push_str(&serde_json::to_string(self).unwrap_or_default());
        text.into()
    }

    pub fn decode(json: &[u8]) -> Option<Context> {
        serde_json::from_slice(json).ok()
    }

    /// What a worker answered, or a part of it; `None` when it is not readable.
    pub fn answer(&self, answer: &ResponseMessage) -> Option<Message> {
        if let Some(error) = &answer.error {
            let trouble = Trouble::of_word(&error.code);
            let told = (!error.message.is_empty()).then_some(error.message.as_str());
            let payload = if answer.payload_b64.is_some() { Some(answer.bytes()?) } else { None };
            return self.trouble(trouble, told, payload);
        }
        let user_properties = answer.user_properties.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
        let content_type = answer.content_type.as_deref().map(Into::into);
        self.message(answer.bytes()?, PublishProperties { content_type, user_properties, ..PublishProperties::default() })
    }

    /// An error reply. `None`: nobody waits for one.
    pub fn trouble(&self, trouble: Trouble, told: Option<&str>, payload: Option<Bytes>) -> Option<Message> {
        let text = told.unwrap_or(trouble.text());
        let (payload, content_type) = match (&self.rpc, payload) {
            (Rpc::Notification, _) => return None,
            (_, Some(payload)) => (payload, None),
            (Rpc::Request(id), None) => (error_object(id, trouble.code(), text, trouble.word()).into(), Some("application/json".into())),
            (Rpc::None, None) => (Bytes::copy_from_slice(text.as_bytes()), Some("text/plain".into())),
        };
        let user_properties = vec![(ERROR.into(), trouble.word().into())];
        self.message(payload, PublishProperties { content_type, user_properties, ..PublishProperties::default() })
    }

    fn message(&self, payload: Bytes, mut properties: PublishProperties) -> Option<Message> {
        properties.correlation_data = match &self.correlation_data_b64 {
            Some(text) => Some(wire::decode(text)?),
            None => None,
        };
        Some(Message {
            topic: TopicName::new(self.response_topic.clone().into())?,
            payload,
            qos: QoS::from_bits(self.qos)?,
            retain: false,
            properties: Some(Box::new(properties)),
            expires_at: None,
        })
    }
}

/// Whether MQTT has words for an answer: its texts are UTF-8 Encoded Strings of at most 65,535 bytes, without U+0000 (section 1.5.4).
pub fn is_sayable(answer: &ResponseMessage) -> bool {
    let is_text = |text: &String| text.len() <= usize::from(u16::MAX) && !text.contains('\0');
    answer.content_type.iter().all(is_text) && answer.user_properties.iter().all(|(name, value)| is_text(name) && is_text(value))
}

/// When a request has to be answered: the smaller of the node's own patience and the Message Expiry Interval.
pub fn deadline(message: &Message, timeout: Span, now: Time) -> Time {
    let latest = now + timeout;
    message.expires_at.map_or(latest, |expires| expires.min(latest))
}

/// What workers are told of a request.
pub fn request_message(id: &str, client: &Client, message: &Message, deadline: Time) -> RequestMessage {
    let properties = message.properties.as_deref();
    let user_properties = properties.map(|properties| &properties.user_properties[..]).unwrap_or_default();
    let text = |text: Option<&bytestring::ByteString>| text.map(ToString::to_string);
    RequestMessage {
        correlation_id: id.to_owned(),
        topic: message.topic.as_str().to_owned(),
        payload_b64: wire::encode(&message.payload),
        response_topic: text(properties.and_then(|properties| properties.response_topic.as_ref())).unwrap_or_default(),
        client_id: client.id.as_str().to_owned(),
        content_type: text(properties.and_then(|properties| properties.content_type.as_ref())),
        user_properties: user_properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        qos: message.qos as u8,
        deadline_ms: Some(deadline.0),
        attempt: 1,
        traceparent: text(user_properties.iter().find(|(name, _)| name == TRACEPARENT).map(|(_, value)| value)),
    }
}
