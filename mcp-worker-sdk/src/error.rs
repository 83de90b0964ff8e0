//! Why a worker cannot begin, or had to end.

use std::fmt;

/// Why a worker cannot begin, or had to end. Redis that goes away is no reason: the worker connects again.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    Filter(String),
    NoRoute,
    Address(String),
    /// Of an MCP server.
    #[cfg(feature = "rmcp-http")]
    Url(String, String),
    Redis(redis::RedisError),
    /// Its code, and what it said.
    Refused(String, String),
    Timeout,
    NoPrimary,
    Io(std::io::Error),
    /// The task of a worker, with what was said of it.
    Ended(String),
}

impl Error {
    /// The builder was given something that cannot work; trying again does not help.
    pub fn is_configuration(&self) -> bool {
        match self.0 {
            Kind::Filter(_) | Kind::NoRoute | Kind::Address(_) => true,
            #[cfg(feature = "rmcp-http")]
            Kind::Url(..) => true,
            _ => false,
        }
    }

    /// Redis could not be reached, or refused.
    pub fn is_redis(&self) -> bool {
        matches!(self.0, Kind::Redis(_) | Kind::Refused(..) | Kind::Timeout | Kind::NoPrimary)
    }

    /// The code with which a command was refused that got there: the connection is good.
    pub(crate) fn refusal(&self) -> Option<&str> {
        if let Kind::Refused(code, _) = &self.0 { Some(code) } else { None }
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Error {
        Error(kind)
    }
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Error {
        match error.clone().into_server_errors().as_deref() {
            Some([(_, first), ..]) => Error(Kind::Refused(first.code().to_owned(), error.to_string())),
            _ => Error(Kind::Redis(error)),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error(Kind::Io(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Filter(filter) => write!(f, "{filter:?} is no Topic Filter: # stands only at the end, and # and + only for whole levels"),
            Kind::NoRoute => f.write_str("a worker needs at least one route: .route(\"devices/+/echo\", handler)"),
            Kind::Address(why) => write!(f, "the address of Redis: {why}"),
            #[cfg(feature = "rmcp-http")]
            Kind::Url(url, why) => write!(f, "the address of an MCP server, {url:?}: {why}"),
            Kind::Redis(error) => write!(f, "Redis: {error}"),
            Kind::Refused(_, text) => write!(f, "Redis: {text}"),
            Kind::Timeout => f.write_str("Redis does not answer in time: is it there, and is nothing between that swallows packets?"),
            Kind::NoPrimary => f.write_str("no Sentinel that answers knows the primary: are its name and their addresses right?"),
            Kind::Io(error) => error.fmt(f),
            Kind::Ended(how) => write!(f, "the worker has ended in the middle of its work: {how}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Redis(error) => Some(error),
            Kind::Io(error) => Some(error),
            _ => None,
        }
    }
}
