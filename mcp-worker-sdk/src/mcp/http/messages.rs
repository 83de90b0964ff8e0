//! The messages in a response.

use std::collections::VecDeque;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::super::MESSAGE_BYTES_MAX;
use super::events::Events;
use super::trouble::Trouble;

pub(super) fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// One message of JSON, or a stream of events.
pub(super) struct Messages {
    response: Response,
    is_json: bool,
    body: Vec<u8>,
    events: Events,
    waiting: VecDeque<Vec<u8>>,
}

impl Messages {
    pub(super) fn new(response: Response) -> Messages {
        Messages { is_json: is_json(&response), response, body: Vec::new(), events: Events::default(), waiting: Default::default() }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Map<String, Value>>, Trouble> {
        loop {
            while let Some(data) = self.waiting.pop_front() {
                match serde_json::from_slice(&data) {
                    Ok(Value::Object(message)) => return Ok(Some(message)),
                    _ => tracing::debug!("an MCP server says what is no JSON-RPC"),
                }
            }
            let Some(chunk) = self.response.chunk().await? else {
                // A whole body is one message; what is left of an event that was cut off is none.
                let body = std::mem::take(&mut self.body);
                if body.is_empty() {
                    return Ok(None);
                }
                self.waiting.push_back(body);
                continue;
            };
            match self.is_json {
                true => self.body.extend_from_slice(&chunk),
                false => self.waiting.extend(self.events.take(&chunk)),
            }
            if self.body.len() + self.events.len() > MESSAGE_BYTES_MAX {
                return Err(Trouble::Unavailable(format!("the MCP server says more than {MESSAGE_BYTES_MAX} bytes at once")));
            }
        }
    }
}
