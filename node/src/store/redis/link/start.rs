//! What Redis has to be before a node relies on it, and what to do when it is not.

use std::fmt;

use redis::{Value, cmd};

use super::wire::{DialError, Server, Wire};

/// Functions and `XADD` as this house uses them came with 7.0.
const VERSION_MIN: u64 = 7;

/// Bytes of a node of a stream above which a queue with one short message costs kilobytes (REDIS.md, trap 2).
const STREAM_NODE_BYTES_MAX: u64 = 1024;
const STREAM_NODE_BYTES: u64 = 512;

/// Why a node cannot begin. Its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The URL cannot be read.
    Address(String),
    Unreachable(String),
    Denied(String),
    NotReady(String),
    NotBuilt(&'static str),
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
}

/// Looks at the server behind a new connection, and sets what may be set.
pub(super) async fn check(wire: &mut Wire) -> Result<Vec<Warning>, StartError> {
    let Server { version, maxmemory_policy, is_append_only, .. } = &wire.server;
    let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    if major.is_none_or(|major| major < VERSION_MIN) {
        return Err(StartError::Version(version.clone()));
    }
    if maxmemory_policy != "noeviction" {
        return Err(StartError::Eviction(maxmemory_policy.clone()));
    }
    let mut warnings = Vec::new();
    if !is_append_only {
        warnings.push(Warning::NotAppendOnly);
    }
    if let Err(why) = shrink_stream_nodes(wire).await {
        warnings.push(Warning::StreamNodes(why));
    }
    Ok(warnings)
}

/// Makes the setting small for the whole instance, unless it already is.
async fn shrink_stream_nodes(wire: &mut Wire) -> Result<(), String> {
    const NAME: &str = "stream-node-max-bytes";
    let found = wire.query(cmd("CONFIG").arg("GET").arg(NAME)).await.map_err(|error| error.to_string())?;
    if number_in(&found).is_some_and(|bytes| (1..=STREAM_NODE_BYTES_MAX).contains(&bytes)) {
        return Ok(());
    }
    wire.query(cmd("CONFIG").arg("SET").arg(NAME).arg(STREAM_NODE_BYTES)).await.map(drop).map_err(|error| error.to_string())
}

/// The value in a reply to CONFIG GET.
fn number_in(reply: &Value) -> Option<u64> {
    let Value::Array(pair) = reply else { return None };
    let Value::BulkString(value) = pair.get(1)? else { return None };
    str::from_utf8(value).ok()?.parse().ok()
}

impl From<DialError> for StartError {
    fn from(error: DialError) -> StartError {
        match error {
            DialError::Unreachable(why) => StartError::Unreachable(why),
            DialError::Denied(why) => StartError::Denied(why),
            DialError::NotReady(why) => StartError::NotReady(why),
            DialError::NotBuilt(why) => StartError::NotBuilt(why),
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
                write!(f, "Redis lets this user do too little ({why}): check user name and password in the URL, and the user's ACL")
            }
            StartError::NotReady(why) => write!(f, "Redis is not ready ({why}): give the URL of the primary, or wait until it is one"),
            StartError::NotBuilt(why) => f.write_str(why),
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
            Warning::NotAppendOnly => f.write_str("Redis forgets what was acknowledged when it restarts: set appendonly yes"),
            Warning::StreamNodes(why) => {
                write!(f, "short queues take up to 4 KiB each: set stream-node-max-bytes {STREAM_NODE_BYTES} in Redis ({why})")
            }
        }
    }
}
