//! What opens the REST API to other machines: a token, which may be another after a SIGHUP.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::admin::Token;
use crate::config::Config;
use crate::config::user::read_secret;

/// Tells the API of a node which token holds.
#[derive(Clone, Debug)]
pub struct Opener(Arc<watch::Sender<Option<Token>>>);

impl Opener {
    /// # Errors
    /// As [`Opener::renew`].
    pub(super) fn new(config: &Config) -> io::Result<Opener> {
        Ok(Opener(Arc::new(watch::Sender::new(token(config)?))))
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<Token>> {
        self.0.subscribe()
    }

    /// # Errors
    /// As [`Opener::renew`].
    pub(crate) fn check(config: &Config) -> io::Result<()> {
        token(config).map(drop)
    }

    /// From now on the token of this configuration holds; its file is read again.
    ///
    /// # Errors
    /// There are two, or the file cannot be read, or it is empty: then nothing changes.
    pub fn renew(&self, config: &Config) -> io::Result<()> {
        self.0.send_replace(token(config)?);
        Ok(())
    }
}

fn token(config: &Config) -> io::Result<Option<Token>> {
    let token = match (&config.api.token, &config.api.token_file) {
        (Some(_), Some(_)) => return Err(io::Error::other("both api.token and api.token_file are set; keep one")),
        (Some(token), None) => Some(token.reveal().to_owned()),
        (None, Some(file)) => Some(read_secret(Path::new(file)).map_err(io::Error::other)?),
        (None, None) => None,
    };
    match token {
        Some(token) if token.trim().is_empty() => Err(io::Error::other("the token of the API is empty")),
        token => Ok(token.map(Token)),
    }
}
