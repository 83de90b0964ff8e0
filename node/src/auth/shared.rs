//! Users and rules that the nodes of a cluster share, on Redis.
//!
//! | key | type | what |
//! |---|---|---|
//! | `mqttd:{auth}:users` | HASH | User Name to a hash as in a password file |
//! | `mqttd:{auth}:rules` | STRING | rules as in a file |
//! | `mqttd:{auth}:version` | HASH | `users`, `rules`: counted up by whoever changes them, and looked at by every node once a second |

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, cmd};

use crate::store::redis::link::address::{Access, Address};
use crate::store::redis::link::single::Single;

/// How long a question may take, the way to Redis included.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// As [`Address::parse`] reads it.
    pub url: String,
    /// What does not stand in the URL.
    pub access: Access,
    /// Begins every key.
    pub prefix: String,
}

/// What the versions say; different from before: it is to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    pub users: Option<u64>,
    pub rules: Option<u64>,
}

#[derive(Clone)]
pub struct Shared {
    redis: Arc<Single>,
    prefix: String,
}

/// Redis did not answer, or not in time. It says nothing of what was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable;

impl Shared {
    /// Asks nothing yet. The error says what is wrong with the URL, or with the files of TLS.
    pub fn new(settings: &Settings) -> Result<Shared, String> {
        let address = Address::parse(&settings.url).and_then(|address| address.with(settings.access.clone()));
        let address = address.map_err(|error| format!("auth.redis_url: {error}"))?;
        let any_key = key(&settings.prefix, "version");
        Ok(Shared { redis: Arc::new(Single::new(address, &any_key, PATIENCE)), prefix: settings.prefix.clone() })
    }

    /// The line of a user; `None`: there is none of that name.
    pub async fn user(&self, name: &str) -> Result<Option<String>, Unreachable> {
        self.ask(cmd("HGET").arg(self.key("users")).arg(name)).await
    }

    /// The lines of several users, in their order.
    pub async fn users(&self, names: &[&str]) -> Result<Vec<Option<String>>, Unreachable> {
        if names.is_empty() { Ok(Vec::new()) } else { self.ask(cmd("HMGET").arg(self.key("users")).arg(names)).await }
    }

    pub async fn rules(&self) -> Result<Option<String>, Unreachable> {
        self.ask(cmd("GET").arg(self.key("rules"))).await
    }

    pub async fn versions(&self) -> Result<Versions, Unreachable> {
        let (users, rules) = self.ask(cmd("HMGET").arg(self.key("version")).arg("users").arg("rules")).await?;
        Ok(Versions { users, rules })
    }

    fn key(&self, word: &str) -> String {
        key(&self.prefix, word)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unreachable> {
        self.redis.ask(command).await.map_err(|why| {
            tracing::debug!(why, "the Redis of users and rules did not answer");
            Unreachable
        })
    }
}

/// All of them are in one slot.
fn key(prefix: &str, word: &str) -> String {
    format!("{prefix}:{{auth}}:{word}")
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
