//! What is wrong with a configuration, each with where it was said.

use std::fmt;

use super::key::Key;
use super::load::Origin;
use super::suggest::unknown;
use super::value::{Refusal, Value};

/// Everything that is wrong, in the order of the layers.
#[derive(Debug)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

#[derive(Debug)]
pub(super) struct ConfigError {
    pub(super) origin: Option<Origin>,
    pub(super) text: String,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            let end = if i + 1 < self.0.len() { "\n" } else { "" };
            match &error.origin {
                Some(origin) => write!(f, "{origin}: {}{end}", error.text)?,
                None => write!(f, "{}{end}", error.text)?,
            }
        }
        Ok(())
    }
}

impl ConfigErrors {
    /// One more rule than the table knows, broken by what `origin` says for `key`.
    pub fn refused(origin: &Origin, key: &str, value: &str, reason: &str) -> ConfigErrors {
        ConfigErrors(vec![ConfigError { origin: Some(origin.clone()), text: format!("{key} = {value:?}: {reason}") }])
    }
}

impl ConfigError {
    pub(super) fn new(origin: Origin, text: impl Into<String>) -> ConfigError {
        ConfigError { origin: Some(origin), text: text.into() }
    }

    /// Errors that name their place themselves.
    pub(super) fn plain(text: impl Into<String>) -> ConfigError {
        ConfigError { origin: None, text: text.into() }
    }

    pub(super) fn refused(origin: Origin, key: &Key, value: &Value, refusal: Refusal) -> ConfigError {
        let (path, shown, allowed) = (key.path(), key.shown(value), key.allowed);
        let text = match refusal {
            Refusal::NotAllowed => format!("{path} = {shown} is not allowed; allowed: {allowed}"),
            Refusal::Because(reason) => format!("{path} = {shown}: {reason}; allowed: {allowed}"),
        };
        ConfigError::new(origin, text)
    }

    pub(super) fn unknown_key(origin: Origin, path: &str) -> ConfigError {
        ConfigError::new(origin, unknown(path))
    }
}
