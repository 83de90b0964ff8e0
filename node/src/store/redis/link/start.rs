//! What Redis has to be before a node relies on it, and what to do when it is not.

use std::fmt;

use redis::{Value, cmd};

use super::acl;
use super::address::{Address, Place};
use super::settings::{Durability, Settings};
use super::wire::{DialError, Server, Wire};

/// Functions and `XADD` as this house uses them came with 7.0.
const VERSION_MIN: u64 = 7;

/// Bytes of a node of a stream above which a queue with one short message costs kilobytes (REDIS.md, trap 2).
const STREAM_NODE_BYTES_MAX: u64 = 1024;
const STREAM_NODE_BYTES: u64 = 512;

/// What waits for a node that does not read Pub/Sub for a moment has room in this.
const PUBSUB_BYTES_MIN: u64 = 64 << 20;

/// Why a node cannot begin. Its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The URL cannot be read.
    Address(String),
    Unreachable(String),
    Denied(String),
    /// The user lacks these commands, keys or channels; this is the whole line of rules that it needs.
    Acl {
        user: String,
        denied: String,
        rules: String,
    },
    NotReady(String),
    /// TLS did not come about.
    Tls(String),
    /// It would not keep what `store.durability` promises.
    Durability(String),
    /// Too old; this version was found.
    Version(String),
    /// Redis would throw data away when its memory is full; this policy was found.
    Eviction(String),
}

/// What is not as it should be, but no reason not to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    NotAppendOnly,
    /// `stream-node-max-bytes` is too large and could not be changed, for this reason.
    StreamNodes(String),
    /// A primary that is cut off from its replicas goes on confirming what a failover forgets.
    NoMinReplicas,
    /// Redis cuts a node off that does not read Pub/Sub for a moment: `client-output-buffer-limit` for it, in bytes.
    PubSubBuffer(u64),
}

/// Looks at the server behind a new connection, and sets what may be set.
pub(super) async fn check(wire: &mut Wire, address: &Address, settings: &Settings) -> Result<Vec<Warning>, StartError> {
    let Server { version, maxmemory_policy, is_append_only, is_cluster, .. } = wire.server.clone();
    let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    if major.is_none_or(|major| major < VERSION_MIN) {
        return Err(StartError::Version(version));
    }
    if maxmemory_policy != "noeviction" {
        return Err(StartError::Eviction(maxmemory_policy));
    }
    if is_cluster && !address.is_cluster() {
        return Err(StartError::Address("this Redis is a node of a Cluster: write redis+cluster://".to_owned()));
    }
    acl::check(wire, settings, is_cluster).await?;
    let mut warnings = Vec::new();
    if !is_append_only {
        warnings.push(Warning::NotAppendOnly);
    }
    if let Err(why) = shrink_stream_nodes(wire).await {
        warnings.push(Warning::StreamNodes(why));
    }
    // Where CONFIG is not allowed, nothing is known, and StreamNodes has said so.
    if let Ok(limits) = config(wire, "client-output-buffer-limit").await
        && let Some(hard) = pubsub_limit(&limits)
        && (1..PUBSUB_BYTES_MIN).contains(&hard)
    {
        warnings.push(Warning::PubSubBuffer(hard));
    }
    if !matches!(address.place, Place::Standalone(_)) && config(wire, "min-replicas-to-write").await.is_ok_and(|found| found == "0") {
        warnings.push(Warning::NoMinReplicas);
    }
    Ok(warnings)
}

/// Whether this server keeps what is promised. Asked again whenever another one takes its place.
pub(super) async fn check_durability(wire: &mut Wire, durability: Durability) -> Result<(), DialError> {
    if durability != Durability::Fsync {
        return Ok(());
    }
    let weak = |why: String| Err(DialError::Weak(format!("store.durability = fsync does not hold here: {why}")));
    if !wire.server.is_append_only {
        return weak("set appendonly yes and appendfsync always in Redis".to_owned());
    }
    match config(wire, "appendfsync").await {
        Ok(found) if found == "always" => Ok(()),
        Ok(found) => weak(format!("appendfsync is {found}: set appendfsync always in Redis")),
        Err(why) => weak(format!("appendfsync cannot be read ({why}): let the user do `+config|get`")),
    }
}

/// `CONFIG GET` of one setting.
async fn config(wire: &mut Wire, name: &str) -> Result<String, String> {
    let found = wire.query(cmd("CONFIG").arg("GET").arg(name)).await.map_err(|error| error.to_string())?;
    let Value::Array(pair) = found else { return Err("no answer".to_owned()) };
    match pair.get(1) {
        Some(Value::BulkString(value)) => Ok(String::from_utf8_lossy(value).into_owned()),
        _ => Err("it has no such setting".to_owned()),
    }
}

/// The hard limit of Pub/Sub clients in bytes, out of `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60`.
fn pubsub_limit(limits: &str) -> Option<u64> {
    limits.split_once("pubsub ")?.1.split(' ').next()?.parse().ok()
}

/// Makes the setting small for the whole instance, unless it already is.
async fn shrink_stream_nodes(wire: &mut Wire) -> Result<(), String> {
    const NAME: &str = "stream-node-max-bytes";
    let found = config(wire, NAME).await?;
    if found.parse().is_ok_and(|bytes: u64| (1..=STREAM_NODE_BYTES_MAX).contains(&bytes)) {
        return Ok(());
    }
    wire.query(cmd("CONFIG").arg("SET").arg(NAME).arg(STREAM_NODE_BYTES)).await.map(drop).map_err(|error| error.to_string())
}

impl From<DialError> for StartError {
    fn from(error: DialError) -> StartError {
        match error {
            DialError::Unreachable(why) => StartError::Unreachable(why),
            DialError::Denied(why) => StartError::Denied(why),
            DialError::NotReady(why) => StartError::NotReady(why),
            DialError::Untrusted(why) => StartError::Tls(why),
            DialError::Weak(why) => StartError::Durability(why),
        }
    }
}

impl StartError {
    /// It may be otherwise in a moment, without anybody doing anything to this node or its configuration.
    pub fn passes(&self) -> bool {
        matches!(self, StartError::Unreachable(_) | StartError::NotReady(_))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Address(why) => write!(f, "the URL of Redis cannot be read: {why}"),
            StartError::Unreachable(why) => write!(f, "Redis cannot be reached ({why}): is it running, and is the URL right?"),
            StartError::Denied(why) => {
                write!(f, "Redis lets this user do too little ({why}): check user name and password, and the user's ACL")
            }
            StartError::Acl { user, denied, rules } => write!(
                f,
                "the user {user} of Redis may not do what a node does ({denied}): as an administrator of Redis, ACL SETUSER {user} {rules}"
            ),
            StartError::NotReady(why) => write!(f, "Redis is not ready ({why}): give the URL of the primary, or wait until it is one"),
            StartError::Tls(why) => write!(
                f,
                "no TLS with Redis ({why}): does store.tls_ca hold the authority of its certificate, is the certificate for this host \
                 (else store.tls_server_name), and does it ask for one of ours (store.tls_certificate, store.tls_key)?"
            ),
            StartError::Durability(why) => f.write_str(why),
            StartError::Version(found) => write!(f, "Redis {found} is too old: use 7.0 or newer, or Valkey 7.2 or newer"),
            StartError::Eviction(found) => {
                write!(f, "Redis would throw Sessions away when it is full (maxmemory-policy {found}): set maxmemory-policy noeviction")
            }
        }
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NoMinReplicas => f.write_str(
                "a primary that is cut off from its replicas goes on confirming what a failover forgets: \
                 set min-replicas-to-write 1 and min-replicas-max-lag 2 in Redis",
            ),
            Warning::PubSubBuffer(found) => write!(
                f,
                "Redis cuts a node off that has {found} bytes of Pub/Sub to read: set client-output-buffer-limit pubsub 64mb 64mb 60 in Redis"
            ),
            Warning::NotAppendOnly => f.write_str("Redis forgets what was acknowledged when it restarts: set appendonly yes"),
            Warning::StreamNodes(why) => {
                write!(f, "short queues take up to 4 KiB each: set stream-node-max-bytes {STREAM_NODE_BYTES} in Redis ({why})")
            }
        }
    }
}
