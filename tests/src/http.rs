//! Asks a node's administration over real HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub content_type: String,
    pub text: String,
}

impl Answer {
    /// The JSON of an answer with this code.
    #[track_caller]
    pub fn json(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }
}

/// A node's administration, and the token that is shown to it.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    token: Option<String>,
}

impl Admin {
    pub fn new(address: SocketAddr) -> Admin {
        Admin { address, token: None }
    }

    pub fn with_token(&self, token: &str) -> Admin {
        Admin { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None)
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, &[], None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &[], Some(body))
    }

    /// The request as it is written here.
    #[track_caller]
    pub fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let client = client();
            let mut request = client.request(method, format!("http://{}{path}", self.address));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = &body {
                request = request.json(body);
            }
            let answer = request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
            let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            Answer { code: answer.status().as_u16(), content_type, text: answer.text().await.expect("a body of text") }
        })
    }
}

fn client() -> Client {
    // Somebody else may have been first; theirs is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client")
}
