//! An MCP server behind streamable HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::VERSION;
use super::events::Events;
use super::json_rpc::{self, Message, code, error_reply};
use crate::error::{Error, Kind};
use crate::handler::{Answering, Handler};
use crate::reply::{Failure, Reply};
use crate::request::Request;
use crate::wire::encode;

/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may take to begin a session.
const INITIALIZE: Duration = Duration::from_secs(10);

/// A message of the server; a longer one is a failure.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

const SESSION: &str = "mcp-session-id";
const PROTOCOL: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// Has requests answered by an MCP server behind streamable HTTP: `http://127.0.0.1:8000/mcp`.
///
/// JSON-RPC ids and progress tokens are mapped, for two clients may use the same. What is in the messages is passed on, whatever the method;
/// what the server says before its answer is sent as parts. A request of the stateless revision is one POST with the headers that this revision asks
/// for. Those of the older ones share a session, which is begun at the first of them, and again when the server has forgotten it.
/// A server that cannot be reached is a JSON-RPC error -32000; the next request tries again.
///
/// ```
/// use mcp_worker_sdk::{Worker, mcp};
///
/// # fn main() -> Result<(), mcp_worker_sdk::Error> {
/// let upstream = mcp::http("http://127.0.0.1:8000/mcp")?.with_header("authorization", "Bearer secret");
/// let worker = Worker::builder().route("agents/calc/mcp", upstream).build()?;
/// # drop(worker);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The address is no URL of HTTP.
pub fn http(url: &str) -> Result<Http, Error> {
    let fault = |why: String| Error::from(Kind::Url(url.to_owned(), why));
    let address = Url::parse(url).map_err(|error| fault(error.to_string()))?;
    if !["http", "https"].contains(&address.scheme()) {
        return Err(fault("it begins with http:// or https://".to_owned()));
    }
    // Somebody may have chosen another one for this process: theirs is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().connect_timeout(CONNECT).build().map_err(|error| fault(error.to_string()))?;
    let upstream = Upstream { client, address, session: Mutex::default(), last_id: AtomicU64::new(0) };
    Ok(Http { upstream: Arc::new(upstream), headers: HeaderMap::new() })
}

/// See [`http`].
#[derive(Clone, Debug)]
pub struct Http {
    upstream: Arc<Upstream>,
    headers: HeaderMap,
}

impl Http {
    /// A header of every request to the server, as `Authorization`.
    ///
    /// # Panics
    /// A name or a value that HTTP does not allow.
    pub fn with_header(mut self, name: &str, value: &str) -> Http {
        let name: HeaderName = name.parse().expect("the name of a header");
        let mut value = HeaderValue::from_str(value).expect("the value of a header");
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self
    }
}

#[derive(Debug)]
struct Upstream {
    client: Client,
    address: Url,
    /// What requests of the older revisions share.
    session: Mutex<Option<Arc<Session>>>,
    last_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Session {
    headers: HeaderMap,
    /// What the server said to `initialize`; `None`: it knows none, and needs none.
    said: Option<Value>,
}

/// Why there is no answer, told to the client.
enum Trouble {
    Unavailable(String),
    /// The server does not know our session.
    Forgotten,
}

/// The answer, as the client gets it.
type Answered = Result<Reply, Trouble>;

impl Trouble {
    fn unanswered() -> Trouble {
        Trouble::Unavailable("the MCP server ended without an answer".to_owned())
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Trouble {
        tracing::debug!(%error, "an MCP server behind HTTP");
        Trouble::Unavailable("upstream unavailable".to_owned())
    }
}

impl Handler for Http {
    fn call(&self, request: Request) -> Answering {
        let http = self.clone();
        Box::pin(async move { http.answer(request).await })
    }
}

impl Http {
    async fn answer(&self, request: Request) -> Result<Reply, Failure> {
        let (id, method, mut object) = match json_rpc::read(&request.payload) {
            Ok(Message::Request { id, method, object }) => (id, method, object),
            Ok(Message::Notification { method, object }) => {
                self.notify(&method, object).await;
                return Ok(Reply::none());
            }
            Err(reply) => return Ok(reply),
        };
        json_rpc::trace(&mut object, request.traceparent.as_ref());
        let answered = match self.ask(&request, &id, &method, object.clone()).await? {
            Err(Trouble::Forgotten) => self.ask(&request, &id, &method, object).await?,
            answered => answered,
        };
        Ok(answered.unwrap_or_else(|trouble| match trouble {
            Trouble::Unavailable(why) => error_reply(&id, code::UNAVAILABLE, &why),
            Trouble::Forgotten => error_reply(&id, code::UNAVAILABLE, "the MCP server forgets its sessions at once"),
        }))
    }

    async fn ask(&self, request: &Request, id: &Value, method: &str, mut object: Map<String, Value>) -> Result<Answered, Failure> {
        let mut headers = self.headers.clone();
        let session = match stateless_version(&object) {
            Some(version) => {
                say_in_headers(&mut headers, version, method, &object);
                None
            }
            None => match self.session().await {
                Ok(session) => Some(session),
                Err(trouble) => return Ok(Err(trouble)),
            },
        };
        if let Some(session) = &session {
            if let (true, Some(said)) = (method == "initialize", &session.said) {
                return Ok(Ok(json_rpc::initialize_reply(id, &object, said.clone())));
            }
            headers.extend(session.headers.clone());
        }
        let own = self.upstream.last_id.fetch_add(1, Relaxed) + 1;
        let token = json_rpc::rename(&mut object, own);
        let mut asked = Asked { http: self, session: session.as_deref(), id: own, is_over: false };
        let answered = match self.post(headers, &Value::Object(object)).await {
            Ok(response) => self.hear(response, request, (id, own), token).await?,
            Err(trouble) => Err(trouble),
        };
        asked.is_over = true;
        if let (Err(Trouble::Forgotten), Some(session)) = (&answered, &session) {
            self.forget(session).await;
        }
        Ok(answered)
    }

    /// What comes before the answer is a part; the ids are the client's again.
    async fn hear(
        &self,
        response: Response,
        request: &Request,
        (id, own): (&Value, u64),
        token: Option<Value>,
    ) -> Result<Answered, Failure> {
        let mut messages = Messages::new(response);
        loop {
            let mut message = match messages.next().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Err(Trouble::unanswered())),
                Err(trouble) => return Ok(Err(trouble)),
            };
            if !message.contains_key("method") {
                message.insert("id".to_owned(), id.clone());
                return Ok(Ok(json_rpc::reply(&Value::Object(message))));
            }
            if message.contains_key("id") {
                continue; // it asks its client for something that we did not say we could do
            }
            if let (Some(token), Some(params)) = (&token, message.get_mut("params").and_then(Value::as_object_mut))
                && params.get("progressToken").and_then(Value::as_u64) == Some(own)
            {
                params.insert("progressToken".to_owned(), token.clone());
            }
            request.part(json_rpc::reply(&Value::Object(message))).await?;
        }
    }

    /// Nobody waits for an answer to it.
    async fn notify(&self, method: &str, object: Map<String, Value>) {
        let mut headers = self.headers.clone();
        match stateless_version(&object) {
            Some(version) => say_in_headers(&mut headers, version, method, &object),
            // The one that ends a client's own `initialize` was sent when the session began.
            None if method == "notifications/initialized" => return,
            None => match self.session().await {
                Ok(session) => headers.extend(session.headers.clone()),
                Err(_) => return,
            },
        }
        let _ = self.post(headers, &Value::Object(object)).await; // as lost as one that is not heard
    }

    /// The session, begun if there is none.
    async fn session(&self) -> Result<Arc<Session>, Trouble> {
        let mut place = self.upstream.session.lock().await;
        if let Some(session) = &*place {
            return Ok(session.clone());
        }
        let begun = tokio::time::timeout(INITIALIZE, self.begin()).await;
        let session = Arc::new(begun.unwrap_or_else(|_| Err(Trouble::Unavailable("the MCP server does not begin a session".to_owned())))?);
        *place = Some(session.clone());
        Ok(session)
    }

    async fn begin(&self) -> Result<Session, Trouble> {
        let response = self.post(self.headers.clone(), &json_rpc::initialize()).await?;
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
        let mut told = self.headers.clone();
        told.extend(headers.clone());
        self.post(told, &json_rpc::initialized()).await?;
        Ok(Session { headers, said: Some(said) })
    }

    /// What the server does not know any more is begun again by the next who needs it.
    async fn forget(&self, session: &Arc<Session>) {
        let mut place = self.upstream.session.lock().await;
        if place.as_ref().is_some_and(|known| Arc::ptr_eq(known, session)) {
            *place = None;
        }
    }

    async fn post(&self, headers: HeaderMap, message: &Value) -> Result<Response, Trouble> {
        let had_session = headers.contains_key(SESSION);
        let body = serde_json::to_vec(message).unwrap_or_default();
        let request = self.upstream.client.post(self.upstream.address.clone()).headers(headers).body(body);
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

/// The revision that a request of the stateless era names.
fn stateless_version(object: &Map<String, Value>) -> Option<HeaderValue> {
    header_value(object.get("params")?.get("_meta")?.get(VERSION)?.as_str()?)
}

/// What the stateless revision has in headers too, so that those on the way need not read the message (SEP-2243).
fn say_in_headers(headers: &mut HeaderMap, version: HeaderValue, method: &str, object: &Map<String, Value>) {
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

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The messages in a response: one of JSON, or a stream of events.
struct Messages {
    response: Response,
    is_json: bool,
    body: Vec<u8>,
    events: Events,
    waiting: std::collections::VecDeque<Vec<u8>>,
}

impl Messages {
    fn new(response: Response) -> Messages {
        Messages { is_json: is_json(&response), response, body: Vec::new(), events: Events::default(), waiting: Default::default() }
    }

    async fn next(&mut self) -> Result<Option<Map<String, Value>>, Trouble> {
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

/// A request that the server works on; dropped before its end, it is cancelled there. In the stateless revision the end of its connection says so.
struct Asked<'a> {
    http: &'a Http,
    session: Option<&'a Session>,
    id: u64,
    is_over: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let (false, Some(session), Ok(runtime)) = (self.is_over, self.session, tokio::runtime::Handle::try_current()) {
            let (http, cancel) = (self.http.clone(), json_rpc::cancel(self.id));
            let mut headers = http.headers.clone();
            headers.extend(session.headers.clone());
            runtime.spawn(async move { http.post(headers, &cancel).await.map(drop) }); // else it works for nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_of_http() {
        assert!(http("http://127.0.0.1:1/mcp").is_ok());
        for url in ["127.0.0.1:1", "redis://a", ""] {
            let refused = http(url).expect_err(url);
            assert!(refused.is_configuration(), "{refused}");
        }
    }

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
