//! The connection for everything that does not block: answers, acknowledgements, heartbeats. It is made again when it is lost.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::worker::address::{Address, Connection};

/// How long a reply may take before the connection is taken for lost.
pub(crate) const REPLY: Duration = Duration::from_secs(5);

/// The pause before something is tried again; doubled up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

pub(crate) struct Line {
    address: Address,
    /// With its number, so that nobody drops the one that came after it.
    connection: Mutex<(u64, Option<Connection>)>,
}

impl Line {
    pub(crate) fn new(address: Address) -> Line {
        Line { address, connection: Mutex::new((0, None)) }
    }

    async fn connection(&self) -> Result<(u64, Connection), Error> {
        let mut place = self.connection.lock().await;
        if let (number, Some(connection)) = &*place {
            return Ok((*number, connection.clone()));
        }
        let connection = self.address.connect().await?;
        *place = (place.0 + 1, Some(connection.clone()));
        Ok((place.0, connection))
    }

    async fn lost(&self, number: u64) {
        let mut place = self.connection.lock().await;
        if place.0 == number {
            place.1 = None;
        }
    }

    /// All commands in one round trip; the first refusal is the error. In a Cluster their keys are at one place.
    pub(crate) async fn send<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        let (number, mut connection) = self.connection().await?;
        let sent = match timeout(REPLY, connection.send(pipeline)).await {
            Ok(sent) => sent.map_err(Error::from),
            Err(_) => Err(Kind::Timeout.into()),
        };
        if let Err(error) = &sent
            && error.refusal().is_none_or(is_elsewhere)
        {
            self.lost(number).await;
        }
        sent
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, Error> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        let (reply,): (T,) = self.send(&pipeline).await?;
        Ok(reply)
    }

    /// The same until it is done, however long Redis is away. What Redis refuses is not tried again.
    pub(crate) async fn insist(&self, pipeline: &Pipeline) -> Result<(), Error> {
        let mut backoff = Backoff::default();
        loop {
            match self.send::<Vec<redis::Value>>(pipeline).await {
                Err(error) if error.refusal().is_none_or(is_passing) => {
                    tracing::debug!(%error, "tried again");
                    backoff.pause().await;
                }
                sent => return sent.map(drop),
            }
        }
    }
}

/// A replica, or a server of a Cluster that the keys have left: they are somewhere else.
fn is_elsewhere(code: &str) -> bool {
    ["READONLY", "MASTERDOWN", "MOVED", "ASK", "CLUSTERDOWN"].contains(&code)
}

pub(crate) fn is_passing(code: &str) -> bool {
    is_elsewhere(code) || ["LOADING", "BUSY", "OOM", "TRYAGAIN", "MISCONF"].contains(&code)
}

/// Longer and longer pauses.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(PAUSE_MIN)
    }
}

impl Backoff {
    pub(crate) async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

#[allow(clippy::disallowed_methods, reason = "what is waited for is time")]
pub(crate) async fn sleep(span: Duration) {
    tokio::time::sleep(span).await;
}
