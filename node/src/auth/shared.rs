//! Users and rules that the nodes of a cluster share, on Redis.
//!
//! | key | type | what |
//! |---|---|---|
//! | `mqttd:{auth}:users` | HASH | User Name to a hash as in a password file |
//! | `mqttd:{auth}:rules` | STRING | rules as in a file |
//! | `mqttd:{auth}:version` | HASH | `users`, `rules`: counted up by whoever changes them, and looked at by every node once a second |

use std::fmt;
use std::time::Duration;

use deadpool_redis::redis::{FromRedisValue, cmd};
use deadpool_redis::{Pool, PoolConfig, Runtime, Timeouts};

/// Connections of a node for this; who wants one more waits.
const CONNECTIONS_MAX: usize = 4;

/// How long a question may take, the wait for a connection included.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub url: String,
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
    pool: Pool,
    prefix: String,
}

/// Redis did not answer, or not in time. It says nothing of what was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreachable;

impl Shared {
    pub fn new(settings: &Settings) -> Result<Shared, String> {
        let timeouts = Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: Some(PATIENCE) };
        let config = deadpool_redis::Config {
            pool: Some(PoolConfig { max_size: CONNECTIONS_MAX, timeouts, ..PoolConfig::default() }),
            ..deadpool_redis::Config::from_url(settings.url.clone())
        };
        // Its error would show the URL.
        let pool = config.create_pool(Some(Runtime::Tokio1)).map_err(|_| "auth.redis_url is no URL of a Redis".to_owned())?;
        Ok(Shared { pool, prefix: settings.prefix.clone() })
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
        format!("{}:{{auth}}:{word}", self.prefix)
    }

    async fn ask<T: FromRedisValue>(&self, command: &deadpool_redis::redis::Cmd) -> Result<T, Unreachable> {
        let asked = tokio::time::timeout(PATIENCE, async {
            let mut connection = self.pool.get().await.map_err(|error| error.to_string())?;
            command.query_async::<T>(&mut connection).await.map_err(|error| error.to_string())
        });
        match asked.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => {
                tracing::debug!(why, "the Redis of users and rules did not answer");
                Err(Unreachable)
            }
            Err(_) => Err(Unreachable),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
