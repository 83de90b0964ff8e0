//! Where Redis is, and connections to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisFuture, RedisResult,
    TlsCertificates, Value,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::error::{Error, Kind};

/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(3);

/// How long the client of a Cluster waits for a reply. Whoever asks has a deadline that is shorter.
const CLUSTER_REPLY: Duration = Duration::from_secs(10);

/// As often the client of a Cluster follows a redirection, or looks for the primary that came after a dead one, before it gives up.
const CLUSTER_RETRIES: u32 = 8;

/// Messages that are published and not looked at yet; of more it is only known how many they were. Looking at one takes microseconds.
const PUBLISHED_MAX: usize = 16_384;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What is to be known of Redis besides its address.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// Wins over the one in the URL.
    pub(crate) password: Option<String>,
    /// User name and password of the Sentinels, which have users of their own.
    pub(crate) sentinel: Option<(String, String)>,
    /// Whom to trust, and what to show; `None`: the authorities of this machine.
    pub(crate) certificates: Option<TlsCertificates>,
    /// Whose certificate it is, if not that of the host.
    pub(crate) server_name: Option<String>,
}

/// As the nodes take it: `redis://[user:password@]host[:port][/db]`, `redis+sentinel://[…@]host[:port],…/master[/db]` or
/// `redis+cluster://[…@]host[:port],…`, each with `rediss` for TLS.
#[derive(Clone)]
pub(crate) enum Address {
    Direct(Place),
    Sentinel {
        sentinels: Vec<Place>,
        master: String,
        primary: Server,
    },
    Cluster {
        client: Box<ClusterClient>,
        /// Any of them hears what is published at one.
        servers: Vec<Place>,
    },
}

/// A server, as it is connected to.
#[derive(Clone)]
pub(crate) struct Place {
    client: Client,
    /// The host, when the client knows the server by the name of its certificate.
    host: Option<String>,
}

impl Place {
    fn config(&self) -> AsyncConnectionConfig {
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(CONNECT));
        match &self.host {
            Some(host) => config.set_dns_resolver(At(host.clone())),
            None => config,
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        self.client.get_multiplexed_async_connection_with_config(&self.config()).await
    }

    /// What is published comes beside replies in RESP3.
    async fn subscriber(&self) -> RedisResult<Subscriber> {
        let about = self.client.get_connection_info().clone();
        let redis = about.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let (sender, published) = mpsc::channel(PUBLISHED_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let config = self.config().set_push_sender(move |info| sender.try_send(info).inspect_err(|_| _ = counted.fetch_add(1, Relaxed)));
        let connection = Client::open(about.set_redis_settings(redis))?.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Subscriber { connection, published, dropped })
    }
}

/// Whatever the name, the server is at this host.
struct At(String);

impl AsyncDNSResolver for At {
    fn resolve<'a, 'b: 'a>(&'a self, _name: &'b str, port: u16) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((self.0.as_str(), port)).await?.collect();
            Ok(Box::new(found.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send>)
        })
    }
}

/// A connection for what is published. It is read always: Redis closes on those that do not.
pub(crate) struct Subscriber {
    connection: MultiplexedConnection,
    published: mpsc::Receiver<PushInfo>,
    dropped: Arc<AtomicU64>,
}

impl Subscriber {
    /// How many found no place since the last time this was asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Relaxed)
    }

    pub(crate) async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        self.connection.subscribe(channels).await
    }

    /// Whether it can be heard.
    pub(crate) async fn ping(&mut self) -> RedisResult<()> {
        redis::cmd("PING").exec_async(&mut self.connection).await
    }

    /// The next channel and what was said there; `None`: the connection is lost.
    pub(crate) async fn next(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        loop {
            match self.published.recv().await? {
                PushInfo { kind: PushKind::Message, data } => {
                    if let Ok([Value::BulkString(channel), Value::BulkString(message)]) = <[Value; 2]>::try_from(data) {
                        return Some((channel, message));
                    }
                }
                PushInfo { kind: PushKind::Disconnection, .. } => return None,
                _ => {}
            }
        }
    }
}

/// How to come in at a server.
#[derive(Clone)]
pub(crate) struct Server {
    scheme: &'static str,
    /// What stands between scheme and host.
    login: String,
    database: String,
    certificates: Option<TlsCertificates>,
    /// As in [`Access`].
    name: Option<String>,
}

impl Server {
    fn url(&self, host: &str) -> String {
        format!("{}://{}{host}/{}", self.scheme, self.login, self.database)
    }

    /// `host` has a port.
    fn at(&self, host: &str) -> RedisResult<Place> {
        let (bare, port) = host.rsplit_once(':').unwrap_or((host, ""));
        let bare = bare.trim_start_matches('[').trim_end_matches(']');
        let url = self.name.as_ref().map_or_else(|| self.url(host), |name| self.url(&format!("{name}:{port}")));
        let client = match &self.certificates {
            Some(certificates) => Client::build_with_tls(url, certificates.clone()),
            None => Client::open(url),
        };
        Ok(Place { client: client?, host: self.name.is_some().then(|| bare.to_owned()) })
    }
}

impl Address {
    pub(crate) fn parse(url: &str, access: Access) -> Result<Address, Error> {
        let fault = |why: &str| Error::from(Kind::Address(why.to_owned()));
        let refused = |error: redis::RedisError| fault(&error.to_string());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| fault(SCHEMES))?;
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let login = access.password.map_or_else(|| login.to_owned(), |password| with_password(login, &password));
        let login = if login.is_empty() { login } else { login + "@" };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let is_tls = scheme.starts_with("rediss");
        if is_tls {
            // Somebody may have chosen another one for this process: theirs is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        } else if access.certificates.is_some() || access.server_name.is_some() {
            return Err(fault("there are certificates, but it says nothing of TLS: write rediss://"));
        }
        let kind = scheme.replacen("rediss", "redis", 1);
        let (master, database) = match kind.as_str() {
            "redis+sentinel" => path.split_once('/').unwrap_or((path, "")),
            _ => ("", path),
        };
        let scheme = if is_tls { "rediss" } else { "redis" };
        let server = Server { scheme, login, database: database.to_owned(), certificates: access.certificates, name: access.server_name };
        let servers =
            |server: &Server, port| hosts.split(',').map(|host| server.at(&with_port(host, port))).collect::<RedisResult<Vec<_>>>();
        match kind.as_str() {
            "redis" if hosts.contains(',') => {
                Err(fault("several servers are those of a Cluster, redis+cluster://…, or Sentinels, redis+sentinel://…/master"))
            }
            "redis" => Ok(Address::Direct(servers(&server, PORT).map_err(refused)?.remove(0))),
            "redis+sentinel" if master.is_empty() => Err(fault("the name of the master is missing: redis+sentinel://host:port/master")),
            "redis+sentinel" => {
                let login = access.sentinel.map_or_else(String::new, |(user, password)| with_password(&user, &password) + "@");
                let sentinel = Server { login, database: String::new(), ..server.clone() };
                server.at("localhost:1").map_err(refused)?; // what is wrong with it is said now
                Ok(Address::Sentinel {
                    sentinels: servers(&sentinel, SENTINEL_PORT).map_err(refused)?,
                    master: master.to_owned(),
                    primary: server,
                })
            }
            "redis+cluster" if !["", "0"].contains(&database) => Err(fault("a Redis Cluster has no databases but 0")),
            "redis+cluster" if server.name.is_some() => Err(fault(
                "the servers of a Cluster name each other: have them announce what is in their certificates (cluster-announce-hostname)",
            )),
            "redis+cluster" => {
                let urls: Vec<_> = hosts.split(',').map(|host| server.url(&with_port(host, PORT))).collect();
                let client = ClusterClientBuilder::new(urls).connection_timeout(CONNECT).response_timeout(CLUSTER_REPLY);
                let client = client.retries(CLUSTER_RETRIES);
                let client = match &server.certificates {
                    Some(certificates) => client.certs(certificates.clone()),
                    None => client,
                };
                Ok(Address::Cluster {
                    client: Box::new(client.build().map_err(refused)?),
                    servers: servers(&server, PORT).map_err(refused)?,
                })
            }
            _ => Err(fault(SCHEMES)),
        }
    }

    /// Its callers have deadlines of their own.
    pub(crate) async fn connect(&self) -> Result<Connection, Error> {
        let connecting = async {
            if let Address::Cluster { client, .. } = self {
                return Ok(Connection::Cluster(client.get_async_connection().await?));
            }
            Ok(Connection::Server(self.server(0).await?.connect().await?))
        };
        timeout(2 * CONNECT, connecting).await.unwrap_or_else(|_| Err(Kind::Timeout.into()))
    }

    /// `attempt` counts: of a Cluster each is made at another server.
    pub(crate) async fn subscriber(&self, attempt: usize) -> Result<Subscriber, Error> {
        let connecting = async { Ok(self.server(attempt).await?.subscriber().await?) };
        timeout(2 * CONNECT, connecting).await.unwrap_or_else(|_| Err(Kind::Timeout.into()))
    }

    /// Servers that are worth a try for the same: those of a Cluster.
    pub(crate) fn servers(&self) -> usize {
        if let Address::Cluster { servers, .. } = self { servers.len() } else { 1 }
    }

    /// The primary, as it is now; of a Cluster any server.
    async fn server(&self, attempt: usize) -> Result<Place, Error> {
        match self {
            Address::Direct(place) => Ok(place.clone()),
            Address::Cluster { servers, .. } => Ok(servers[attempt % servers.len()].clone()),
            Address::Sentinel { sentinels, master, primary } => {
                for sentinel in sentinels {
                    if let Ok(Ok(Some((host, port)))) = timeout(CONNECT, ask(sentinel, master)).await {
                        return Ok(primary.at(&with_port(&host, port))?);
                    }
                }
                Err(Kind::NoPrimary.into())
            }
        }
    }
}

const SCHEMES: &str = "it begins with redis://, redis+sentinel:// or redis+cluster://, or with rediss for TLS";

async fn ask(sentinel: &Place, master: &str) -> RedisResult<Option<(String, u16)>> {
    let mut connection = sentinel.connect().await?;
    redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await
}

/// Whether a host has a port is not to be taken from the colons of an IPv6 address, which stand in brackets, or should.
fn with_port(host: &str, port: u16) -> String {
    match host.rsplit_once(']').map_or(host, |(_, rest)| rest).matches(':').count() {
        0 => format!("{host}:{port}"),
        1 => host.to_owned(),
        _ => format!("[{host}]:{port}"),
    }
}

/// The login of a URL with this password in the place that it has for one.
fn with_password(login: &str, password: &str) -> String {
    use std::fmt::Write;
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    let mut with = format!("{user}:");
    for byte in password.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => with.push(char::from(byte)),
            false => _ = write!(with, "%{byte:02X}"), // a String takes everything
        }
    }
    with
}

/// A connection for commands. In a Cluster each goes where its key is; all keys of a pipeline are at one place.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// All commands in one round trip; the first refusal is the error.
    pub(crate) async fn send<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> RedisResult<T> {
        match self {
            Connection::Server(connection) => pipeline.query_async(connection).await,
            Connection::Cluster(connection) => pipeline.query_async(connection).await,
        }
    }

    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Connection::Server(connection) => command.query_async(connection).await,
            Connection::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_redis_is() {
        let good = ["redis://127.0.0.1", "redis://:secret@[::1]:7000/2", "redis+sentinel://a,b:2/main/1", "rediss://127.0.0.1"];
        let good = good.into_iter().chain(["redis+cluster://a:1,b", "rediss+cluster://user:secret@a", "rediss+sentinel://a/main"]);
        for url in good {
            assert!(Address::parse(url, Access::default()).is_ok(), "{url}");
        }
        for url in [
            "127.0.0.1",
            "http://a",
            "redis://a,b",
            "redis://a/b",
            "redis+sentinel://a",
            "redis+sentinel://a/main/x",
            "redis+cluster://a/1",
        ] {
            let refused = Address::parse(url, Access::default()).err().unwrap_or_else(|| panic!("{url} is no address"));
            assert!(refused.is_configuration(), "{url}: {refused}");
        }
        let access = Access { certificates: Some(TlsCertificates { client_tls: None, root_cert: None }), ..Access::default() };
        assert!(Address::parse("redis://a", access).is_err_and(|error| error.to_string().contains("rediss://")));
        let named = || Access { server_name: Some("redis.example".to_owned()), ..Access::default() };
        assert!(Address::parse("redis://a", named()).is_err_and(|error| error.to_string().contains("rediss://")));
        assert!(Address::parse("rediss+cluster://a", named()).is_err_and(|error| error.to_string().contains("announce")));
        let Ok(Address::Direct(place)) = Address::parse("rediss://[::1]:7000", named()) else { panic!("an address") };
        assert_eq!(
            (place.client.get_connection_info().addr().to_string(), place.host.as_deref()),
            ("redis.example:7000".to_owned(), Some("::1"))
        );
    }

    #[test]
    fn a_password_may_come_by_itself() {
        for (login, expected) in [("", ":p%40%2Fs%C3%A9"), ("user", "user:p%40%2Fs%C3%A9"), ("user:other", "user:p%40%2Fs%C3%A9")] {
            assert_eq!(with_password(login, "p@/sé"), expected);
        }
        let access = || Access { password: Some("p@/sé".to_owned()), ..Access::default() };
        for url in ["redis://host/2", "redis+sentinel://user:other@a,b/main", "redis+cluster://user@a,b"] {
            assert!(Address::parse(url, access()).is_ok(), "{url}");
        }
        let Ok(Address::Direct(place)) = Address::parse("redis://host", access()) else { panic!("an address") };
        assert_eq!(place.client.get_connection_info().redis_settings().password(), Some("p@/sé"));
    }

    #[test]
    fn a_port_is_added_where_there_is_none() {
        for (host, expected) in [("a", "a:1"), ("a:2", "a:2"), ("[::1]", "[::1]:1"), ("[::1]:2", "[::1]:2"), ("fe80::1", "[fe80::1]:1")] {
            assert_eq!(with_port(host, 1), expected);
        }
    }
}
