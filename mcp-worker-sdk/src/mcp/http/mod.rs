//! An MCP server behind streamable HTTP.

mod events;
mod headers;
mod messages;
mod trouble;
mod upstream;

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use serde_json::{Map, Value};

use self::messages::Messages;
use self::trouble::Trouble;
use self::upstream::{Session, Upstream};
use super::json_rpc::{self, Message, code, error_reply};
use crate::error::{Error, Kind};
use crate::handler::{Answering, Handler};
use crate::reply::{Failure, Reply};
use crate::request::Request;

/// The answer, as the client gets it.
type Answered = Result<Reply, Trouble>;

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
    let upstream = Upstream::new(address).map_err(|error| fault(error.to_string()))?;
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
        let mut with = self.headers.clone();
        let session = match headers::stateless_version(&object) {
            Some(version) => {
                headers::say(&mut with, version, method, &object);
                None
            }
            None => match self.upstream.session(&self.headers).await {
                Ok(session) => Some(session),
                Err(trouble) => return Ok(Err(trouble)),
            },
        };
        if let Some(session) = &session {
            if let (true, Some(said)) = (method == "initialize", &session.said) {
                return Ok(Ok(json_rpc::initialize_reply(id, &object, said.clone())));
            }
            with.extend(session.headers.clone());
        }
        let own = self.upstream.next_id();
        let token = json_rpc::rename(&mut object, own);
        let mut asked = Asked { http: self, session: session.as_deref(), id: own, is_over: false };
        let answered = match self.upstream.post(with, &Value::Object(object)).await {
            Ok(response) => self.hear(response, request, &asked, id, token).await?,
            Err(trouble) => Err(trouble),
        };
        asked.is_over = true;
        if let (Err(Trouble::Forgotten), Some(session)) = (&answered, &session) {
            self.upstream.forget(session).await;
        }
        Ok(answered)
    }

    /// What comes before the answer is a part; the ids are the client's again.
    async fn hear(
        &self,
        response: Response,
        request: &Request,
        asked: &Asked<'_>,
        id: &Value,
        token: Option<Value>,
    ) -> Result<Answered, Failure> {
        let mut messages = Messages::new(response);
        loop {
            let mut message = match messages.next().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Err(Trouble::unanswered())),
                Err(trouble) => return Ok(Err(trouble)),
            };
            if let Some(answer) = json_rpc::answer_to_server(&message) {
                let _ = asked.say(&answer).await; // it asks again, or does without
            } else if message.contains_key("method") {
                json_rpc::rename_back(&mut message, asked.id, id, token.as_ref());
                request.part(json_rpc::reply(&Value::Object(message))).await?;
            } else {
                message.insert("id".to_owned(), id.clone());
                return Ok(Ok(json_rpc::reply(&Value::Object(message))));
            }
        }
    }

    /// Nobody waits for an answer to it.
    async fn notify(&self, method: &str, object: Map<String, Value>) {
        let mut with = self.headers.clone();
        match headers::stateless_version(&object) {
            Some(version) => headers::say(&mut with, version, method, &object),
            // The one that ends a client's own `initialize` was sent when the session began.
            None if method == "notifications/initialized" => return,
            None => match self.upstream.session(&self.headers).await {
                Ok(session) => with.extend(session.headers.clone()),
                Err(_) => return,
            },
        }
        let _ = self.upstream.post(with, &Value::Object(object)).await; // as lost as one that is not heard
    }
}

/// A request that the server works on; dropped before its end, it is cancelled there. In the stateless revision the end of its connection says so.
struct Asked<'a> {
    http: &'a Http,
    session: Option<&'a Session>,
    id: u64,
    is_over: bool,
}

impl Asked<'_> {
    /// Says something in the session of the request. Without one there is nobody to say it to.
    fn say(&self, message: &Value) -> impl Future<Output = Result<(), Trouble>> + use<> {
        let (upstream, message) = (self.http.upstream.clone(), message.clone());
        let with = self.session.map(|session| {
            let mut with = self.http.headers.clone();
            with.extend(session.headers.clone());
            with
        });
        async move {
            match with {
                Some(with) => upstream.post(with, &message).await.map(drop),
                None => Ok(()),
            }
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let (false, true, Ok(runtime)) = (self.is_over, self.session.is_some(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(self.say(&json_rpc::cancel(self.id))); // else it works for nothing
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
}
