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
    Redis(redis::RedisError),
    /// Its code, and what it said.
    Refused(String, String),
    Timeout,
    NoPrimary,
    Io(std::io::Error),
}

impl Error {
    /// The builder was given something that cannot work; trying again does not help.
    pub fn is_configuration(&self) -> bool {
        matches!(self.0, Kind::Filter(_) | Kind::NoRoute | Kind::Address(_))
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
            Kind::Filter(filter) => write!(f, "{filter:?} is no Topic Filter"),
            Kind::NoRoute => f.write_str("a worker needs at least one route"),
            Kind::Address(why) => write!(f, "the address of Redis: {why}"),
            Kind::Redis(error) => write!(f, "Redis: {error}"),
            Kind::Refused(_, text) => write!(f, "Redis: {text}"),
            Kind::Timeout => f.write_str("Redis does not answer"),
            Kind::NoPrimary => f.write_str("no Sentinel knows the primary"),
            Kind::Io(error) => error.fmt(f),
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
