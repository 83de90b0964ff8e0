//! Why a command has no reply. No I/O.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// Redis cannot be reached or serves nobody now; nothing was done.
    Unavailable,
    /// Another Redis answers than when this was made, which has to be thought of again; nothing was done.
    Stale,
    /// Redis is there but serves nobody now, and says why (`READONLY`, `NOREPLICAS`, `MISCONF`…); nothing was done.
    Refused(String),
    /// The connection was lost, or the deadline passed, after the commands were handed to it: they may have been done or not, or partly,
    /// and may still be done. Only who asked knows whether asking again does harm, so the link never does.
    Unknown,
    /// It was done, but too few replicas had it in time: a failover may lose it.
    NotReplicated,
    /// Redis is at its `maxmemory`; the command was refused.
    Full,
    /// Redis refused the command, or a function of ours ended with this error.
    Script(String),
}

/// The replies with which a server says that it cannot serve now, though a later or another one will.
const UNAVAILABLE: &[&str] =
    &["LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MISCONF", "NOREPLICAS", "MOVED", "ASK"];

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> LinkError {
        match (error.code(), error.kind()) {
            (Some("OOM"), _) => LinkError::Full,
            (Some(code), _) if UNAVAILABLE.contains(&code) => LinkError::Refused(error.to_string()),
            // The reply never came, or could not be read.
            (None, ErrorKind::Io | ErrorKind::Parse) => LinkError::Unknown,
            // A command inside a function was refused: the text tells why, its code is that of the function.
            _ if error.detail().is_some_and(|detail| detail.contains("OOM command not allowed")) => LinkError::Full,
            _ => LinkError::Script(error.to_string()),
        }
    }
}

/// This server has become a replica: the primary is somewhere else, and this connection is of no use.
pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// Another server has to do this, or this one a little later: it was not done.
pub(super) fn is_redirect(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, Moved, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Moved | Ask | TryAgain | ClusterDown))
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> StoreError {
        match error {
            LinkError::Full => StoreError::Full,
            LinkError::Unavailable
            | LinkError::Stale
            | LinkError::Refused(_)
            | LinkError::Unknown
            | LinkError::NotReplicated
            | LinkError::Script(_) => StoreError::Unavailable,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkError::Unavailable => f.write_str("Redis cannot be reached"),
            LinkError::Stale => f.write_str("Redis was restarted or has another primary"),
            LinkError::Refused(text) => write!(f, "Redis serves nobody now: {text}"),
            LinkError::Unknown => f.write_str("Redis did not answer: it is not known what was done"),
            LinkError::NotReplicated => f.write_str("too few replicas of Redis have it"),
            LinkError::Full => f.write_str("Redis is at its maxmemory"),
            LinkError::Script(text) => write!(f, "Redis refused: {text}"),
        }
    }
}

impl std::error::Error for LinkError {}
