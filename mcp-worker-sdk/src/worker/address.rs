//! Where Redis is, and a connection to it.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client};
use tokio::time::timeout;

use crate::error::{Error, Kind};

/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(3);

/// `redis://`, `rediss://` or `redis+sentinel://[user:password@]host:port,…/master[/db]`.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Direct(Client),
    Sentinel {
        sentinels: Vec<Client>,
        master: String,
        /// What stands between scheme and host, and behind the port.
        login: String,
        database: String,
    },
}

impl Address {
    /// A password that is given besides wins over one in the URL.
    pub(crate) fn parse(url: &str, password: Option<&str>) -> Result<Address, Error> {
        let fault = |why: &str| Error::from(Kind::Address(why.to_owned()));
        let open = |url: &str| Client::open(url).map_err(|error| fault(&error.to_string()));
        let with_password = password.map(|password| with_password(url, password));
        let url = with_password.as_deref().unwrap_or(url);
        let Some((scheme, rest)) = url.split_once("://") else { return Err(fault("it begins with redis:// or the like")) };
        match scheme {
            "redis" | "rediss" => {
                if scheme == "rediss" {
                    // Somebody may have chosen another one for this process: theirs is as good.
                    let _ = rustls::crypto::ring::default_provider().install_default();
                }
                Ok(Address::Direct(open(url)?))
            }
            "redis+sentinel" => {
                let (login, rest) = rest.rsplit_once('@').map_or((String::new(), rest), |(login, rest)| (format!("{login}@"), rest));
                let (hosts, path) = rest.split_once('/').ok_or_else(|| fault("the name of the master is missing"))?;
                let (master, database) = path.split_once('/').unwrap_or((path, "0"));
                let host = |host: &str| open(&format!("redis://{host}{}", if host.contains(':') { "" } else { ":26379" }));
                let sentinels = hosts.split(',').map(host).collect::<Result<_, _>>()?;
                Ok(Address::Sentinel { sentinels, master: master.to_owned(), login, database: database.to_owned() })
            }
            "redis+cluster" => Err(fault("Redis Cluster is not built yet: name one Redis, or Sentinels")),
            _ => Err(fault("it begins with redis://, rediss:// or redis+sentinel://")),
        }
    }

    /// The primary, as it is now.
    async fn primary(&self) -> Result<Client, Error> {
        let Address::Sentinel { sentinels, master, login, database } = self else {
            let Address::Direct(client) = self else { return Err(Kind::NoPrimary.into()) };
            return Ok(client.clone());
        };
        for sentinel in sentinels {
            let asked = async {
                let mut connection = sentinel.get_multiplexed_async_connection().await?;
                redis::cmd("SENTINEL")
                    .arg("GET-MASTER-ADDR-BY-NAME")
                    .arg(master)
                    .query_async::<Option<(String, u16)>>(&mut connection)
                    .await
            };
            if let Ok(Ok(Some((host, port)))) = timeout(CONNECT, asked).await {
                return Ok(Client::open(format!("redis://{login}{host}:{port}/{database}"))?);
            }
        }
        Err(Kind::NoPrimary.into())
    }

    /// Its callers have deadlines of their own.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(CONNECT));
        let connecting = async { Ok(self.primary().await?.get_multiplexed_async_connection_with_config(&config).await?) };
        timeout(2 * CONNECT, connecting).await.unwrap_or_else(|_| Err(Kind::Timeout.into()))
    }

    pub(crate) async fn subscriber(&self) -> Result<PubSub, Error> {
        let connecting = async { Ok(self.primary().await?.get_async_pubsub().await?) };
        timeout(2 * CONNECT, connecting).await.unwrap_or_else(|_| Err(Kind::Timeout.into()))
    }
}

/// The URL with this password in the place that it has for one.
fn with_password(url: &str, password: &str) -> String {
    use std::fmt::Write;
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    let mut with = format!("{scheme}://{user}:");
    for byte in password.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => with.push(char::from(byte)),
            false => _ = write!(with, "%{byte:02X}"), // a String takes everything
        }
    }
    with + "@" + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_redis_is() {
        for url in ["redis://127.0.0.1", "redis://:secret@127.0.0.1:7000/2", "redis+sentinel://a,b:2/main", "rediss://127.0.0.1"] {
            assert!(Address::parse(url, None).is_ok(), "{url}");
        }
        for url in ["127.0.0.1", "http://a", "redis+sentinel://a", "redis+cluster://a"] {
            assert!(Address::parse(url, None).unwrap_err().is_configuration(), "{url}");
        }
    }

    #[test]
    fn a_password_may_come_by_itself() {
        for (url, expected) in [
            ("redis://host/2", "redis://:p%40%2Fs%C3%A9@host/2"),
            ("redis://user@host", "redis://user:p%40%2Fs%C3%A9@host"),
            ("redis+sentinel://user:other@a,b/main", "redis+sentinel://user:p%40%2Fs%C3%A9@a,b/main"),
        ] {
            assert_eq!(with_password(url, "p@/sé"), expected);
            assert!(Address::parse(url, Some("p@/sé")).is_ok(), "{url}");
        }
        let Ok(Address::Direct(client)) = Address::parse("redis://host", Some("p@/sé")) else { panic!("an address") };
        assert_eq!(client.get_connection_info().redis_settings().password(), Some("p@/sé"));
    }
}
