//! One connection to the primary, and how it is made.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value, cmd};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::address::{Address, Host};
use super::find;
use super::tls::{Socket, Tls};

/// Requests between a caller and the socket; more than the batches of a lane that are out, so that a batch is in line when its future
/// was polled once.
const REQUESTS_MAX: usize = 64;

/// Bytes that are encoded before the socket is waited for.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// A connection whose end is seen at once. Dropping it closes the socket; whoever waits for a reply on it gets an I/O error.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) redis: MultiplexedConnection,
    pub(super) server: Server,
    driver: JoinHandle<()>,
}

/// What a server says of itself (INFO).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) version: String,
    /// Changes with every start of the server.
    pub(super) run_id: String,
    /// Names the history of the data: changes when a replica is promoted.
    pub(super) replication_id: String,
    role: String,
    pub(super) maxmemory_policy: String,
    pub(super) is_append_only: bool,
    pub(super) is_cluster: bool,
}

#[derive(Debug)]
pub(super) enum DialError {
    Unreachable(String),
    /// The user name or the password is wrong, or the user may not do what the link needs.
    Denied(String),
    /// A replica, or a primary that is still loading its data.
    NotReady(String),
    /// TLS did not come about: a certificate, its name, or the files of this node.
    Untrusted(String),
    /// It would not keep what the durability of the Store promises.
    Weak(String),
}

impl Wire {
    /// Connects to the primary, as far as a reply to INFO and PING; gives up after `deadline`.
    pub(super) async fn dial(address: &Address, deadline: Duration) -> Result<Wire, DialError> {
        let dialed = timeout(deadline, async {
            let mut why = DialError::NotReady("no Sentinel knows a primary".to_owned());
            // Where Sentinels disagree, only the hosts themselves know which of them is the primary.
            for host in find::primaries(address, deadline / 2).await? {
                match Wire::to(&host, address).await {
                    Ok(wire) => return Ok(wire),
                    Err(error) => why = error,
                }
            }
            Err(why)
        });
        dialed.await.unwrap_or_else(|_| Err(DialError::Unreachable(format!("no answer within {deadline:?}"))))
    }

    async fn to(host: &Host, address: &Address) -> Result<Wire, DialError> {
        let mut wire = Wire::open(host, login(address), address.tls.as_ref()).await?;
        wire.server = wire.ask().await?;
        Ok(wire)
    }

    /// As [`Wire::dial`], to this primary of a Redis Cluster.
    pub(super) async fn dial_host(host: &Host, address: &Address, deadline: Duration) -> Result<Wire, DialError> {
        let dialed = timeout(deadline, Wire::to(host, address)).await;
        dialed.unwrap_or_else(|_| Err(DialError::Unreachable(format!("no answer within {deadline:?}"))))
    }

    /// Any server, whatever its state.
    pub(super) async fn open(host: &Host, login: RedisConnectionInfo, tls: Option<&Tls>) -> Result<Wire, DialError> {
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None) // the link has deadlines of its own, which close what does not answer
            .set_pipeline_buffer_size(REQUESTS_MAX)
            .set_write_backpressure_boundary(WRITE_BUFFER_BYTES);
        let (redis, driver) = MultiplexedConnection::new_with_config(&login, connect(host, tls).await?, config).await?;
        Ok(Wire { redis, server: Server::default(), driver: tokio::spawn(driver) })
    }

    async fn ask(&mut self) -> Result<Server, DialError> {
        let mut server = Server::default();
        for section in ["server", "replication", "memory", "persistence", "cluster"] {
            if let Value::BulkString(text) = self.query(cmd("INFO").arg(section)).await? {
                server.read(&String::from_utf8_lossy(&text));
            }
        }
        self.query(&cmd("PING")).await?; // refused while the data is loaded
        if server.role == "slave" { Err(DialError::NotReady("it is a replica".to_owned())) } else { Ok(server) }
    }

    pub(super) async fn query(&mut self, cmd: &Cmd) -> Result<Value, RedisError> {
        self.redis.send_packed_command(cmd).await?.extract_error()
    }

    /// Returns when the connection has ended, whoever ended it.
    pub(super) async fn closed(&mut self) {
        // A driver that panicked has ended too.
        let _ = (&mut self.driver).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    fn read(&mut self, info: &str) {
        for (name, value) in info.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match name {
                "redis_version" => self.version = value.to_owned(),
                "run_id" => self.run_id = value.to_owned(),
                "master_replid" => self.replication_id = value.to_owned(),
                "role" => self.role = value.to_owned(),
                "maxmemory_policy" => self.maxmemory_policy = value.to_owned(),
                "cluster_enabled" => self.is_cluster = value == "1",
                "aof_enabled" => self.is_append_only = value == "1",
                _ => {}
            }
        }
    }
}

pub(super) fn login(address: &Address) -> RedisConnectionInfo {
    let login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_db(address.database);
    with_login(login, &address.username, &address.password)
}

/// How a Sentinel is asked.
pub(super) fn sentinel_login(address: &Address) -> RedisConnectionInfo {
    with_login(RedisConnectionInfo::default(), &address.sentinel.0, &address.sentinel.1)
}

fn with_login(mut login: RedisConnectionInfo, username: &Option<String>, password: &Option<String>) -> RedisConnectionInfo {
    if let Some(username) = username {
        login = login.set_username(username);
    }
    match password {
        Some(password) => login.set_password(password),
        None => login,
    }
}

pub(super) async fn connect(host: &Host, tls: Option<&Tls>) -> Result<Box<dyn Socket>, DialError> {
    let stream = TcpStream::connect((host.name.as_str(), host.port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?; // a batch is written at once and waits for no other
    match tls {
        Some(tls) => tls.wrap(host, stream).await,
        None => Ok(Box::new(stream)),
    }
}

fn unreachable(error: std::io::Error) -> DialError {
    DialError::Unreachable(error.to_string())
}

impl From<RedisError> for DialError {
    fn from(error: RedisError) -> DialError {
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => DialError::Denied(error.to_string()),
            (_, Some(_)) => DialError::NotReady(error.to_string()),
            (_, None) => DialError::Unreachable(error.to_string()),
        }
    }
}

impl std::fmt::Display for DialError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DialError::Unreachable(text)
            | DialError::Denied(text)
            | DialError::NotReady(text)
            | DialError::Untrusted(text)
            | DialError::Weak(text) => f.write_str(text),
        }
    }
}
