//! Another server that says who may come in: one POST for each CONNECT.
//!
//! It is sent `{"client_id", "user", "password", "address", "transport", "certificate_name"}`, and answers with status 200 and
//! `{"result": "allow" | "deny" | "ignore", "user": …}`. 401 and 403 are `deny`; anything else is no answer, and lets nobody in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lanes::Lanes;

/// What an answer may have.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to ask; it may hold a password, and is shown nowhere.
    pub url: String,
    pub timeout: Duration,
    /// Questions at a time, an eighth of which may be about Clients of one address; more wait, each for as long as its CONNECT may take.
    pub at_once: usize,
}

#[derive(Debug, Serialize)]
pub struct Question<'a> {
    pub client_id: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    pub address: String,
    pub transport: &'static str,
    pub certificate_name: Option<&'a str>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
pub struct Reply {
    result: Outcome,
    /// Another name to know the Client by.
    #[serde(default)]
    pub user: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Allow,
    Deny,
    Ignore,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow(Option<String>),
    Deny,
    /// It has nothing to say of this Client.
    Ignore,
}

pub struct Hook {
    client: reqwest::Client,
    settings: Settings,
    pub lanes: Lanes,
}

impl Hook {
    pub fn new(settings: Settings) -> Result<Hook, String> {
        // The first one counts; if somebody has chosen a provider already, that one stays.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(settings.timeout).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.build().map_err(|error| format!("auth.http_url: {error}"))?;
        let lanes = Lanes::new(settings.at_once, settings.at_once / 8);
        Ok(Hook { client, settings, lanes })
    }

    /// Whoever asks has a place in one of the [lanes](Hook::lanes).
    ///
    /// # Errors
    /// There was no answer, or none that can be understood. The text holds nothing of the question.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Verdict, String> {
        let asked = self.client.post(&self.settings.url).json(question).send().await;
        let mut answer = asked.map_err(|error| error.without_url().to_string())?;
        match answer.status().as_u16() {
            200 => {}
            401 | 403 => return Ok(Verdict::Deny),
            status => return Err(format!("status {status}")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| error.without_url().to_string())? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"));
            }
        }
        let reply: Reply = serde_json::from_slice(&body).map_err(|_| "the answer is no {\"result\": …}".to_owned())?;
        Ok(match reply.result {
            Outcome::Allow => Verdict::Allow(reply.user.filter(|user| !user.is_empty())),
            Outcome::Deny => Verdict::Deny,
            Outcome::Ignore => Verdict::Ignore,
        })
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}
