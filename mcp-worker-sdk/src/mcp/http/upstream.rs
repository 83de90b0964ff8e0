//! The server, and the session that requests of the older revisions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::json_rpc;
use super::headers::PROTOCOL;
use super::messages::{Messages, is_json};
use super::trouble::Trouble;

/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may take to begin a session.
const INITIALIZE: Duration = Duration::from_secs(10);

const SESSION: &str = "mcp-session-id";

#[derive(Debug)]
pub(super) struct Upstream {
    client: Client,
    address: Url,
    place: Mutex<Place>,
    last_id: AtomicU64,
}

/// Where the session is.
#[derive(Debug, Default)]
struct Place {
    session: Option<Arc<Session>>,
    /// When the last attempt to begin one failed, and why.
    failed: Option<(Instant, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) headers: HeaderMap,
    /// What the server said to `initialize`; `None`: it knows none, and needs none.
    pub(super) said: Option<Value>,
}

impl Upstream {
    pub(super) fn new(address: Url) -> reqwest::Result<Upstream> {
        let client = Client::builder().connect_timeout(CONNECT).build()?;
        Ok(Upstream { client, address, place: Mutex::default(), last_id: AtomicU64::new(0) })
    }

    /// A JSON-RPC id that nobody else has.
    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    /// The session, begun with these headers if there is none. Nobody waits for more than one attempt: what failed meanwhile would fail again.
    pub(super) async fn session(&self, with: &HeaderMap) -> Result<Arc<Session>, Trouble> {
        let came = Instant::now();
        let mut place = self.place.lock().await;
        if let Some(session) = &place.session {
            return Ok(session.clone());
        }
        if let Some((at, why)) = &place.failed
            && *at > came
        {
            return Err(Trouble::Unavailable(why.clone()));
        }
        let begun = timeout(INITIALIZE, self.begin(with)).await;
        let begun = begun.unwrap_or_else(|_| Err(Trouble::Unavailable("the MCP server does not begin a session".to_owned())));
        if let Err(Trouble::Unavailable(why)) = &begun {
            place.failed = Some((Instant::now(), why.clone()));
        }
        let session = Arc::new(begun?);
        place.session = Some(session.clone());
        Ok(session)
    }

    async fn begin(&self, with: &HeaderMap) -> Result<Session, Trouble> {
        let response = self.post(with.clone(), &json_rpc::initialize()).await?;
        let session_id = response.headers().get(SESSION).cloned();
        let mut messages = Messages::new(response);
        let mut answer = loop {
            match messages.next().await? {
                Some(message) if message.contains_key("method") => {}
                Some(message) => break message,
                None => return Err(Trouble::unanswered()),
            }
        };
        let Some(said) = answer.remove("result") else { return Ok(Session::default()) };
        let mut headers = HeaderMap::new();
        if let Some(id) = session_id {
            headers.insert(SESSION, id);
        }
        let version = said.get("protocolVersion").and_then(Value::as_str).and_then(|version| HeaderValue::from_str(version).ok());
        if let Some(version) = version {
            headers.insert(PROTOCOL, version);
        }
        let mut told = with.clone();
        told.extend(headers.clone());
        self.post(told, &json_rpc::initialized()).await?;
        Ok(Session { headers, said: Some(said) })
    }

    /// What the server does not know any more is begun again by the next who needs it.
    pub(super) async fn forget(&self, session: &Arc<Session>) {
        let mut place = self.place.lock().await;
        if place.session.as_ref().is_some_and(|known| Arc::ptr_eq(known, session)) {
            place.session = None;
        }
    }

    pub(super) async fn post(&self, with: HeaderMap, message: &Value) -> Result<Response, Trouble> {
        let had_session = with.contains_key(SESSION);
        let body = serde_json::to_vec(message).unwrap_or_default();
        let request = self.client.post(self.address.clone()).headers(with).body(body);
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "application/json, text/event-stream");
        let response = request.send().await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND if had_session => Err(Trouble::Forgotten),
            // It may say more in JSON-RPC: which revisions it knows, which header is wrong.
            _ if is_json(&response) => Ok(response),
            status => Err(Trouble::Unavailable(format!("the MCP server says {status}"))),
        }
    }
}
