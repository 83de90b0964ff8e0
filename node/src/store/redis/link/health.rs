//! Whether Redis answers, and whether it is still the one it was.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::time::Instant;

use super::address::Address;
use super::settings::Settings;
use super::wire::{DialError, Server, Wire};

/// What the link knows of Redis now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Since when at least one of the standing connections is down; `None`: all are up.
    pub down_since: Option<Instant>,
    /// Goes up when a connection finds another Redis than before: restarted, or another primary. What was confirmed last may be lost
    /// then, and sequences may be lower than those already seen (REDIS.md 3.2). It is raised before the first command on that connection.
    pub generation: u64,
}

impl State {
    pub fn is_healthy(&self) -> bool {
        self.down_since.is_none()
    }
}

/// Makes connections and keeps the tally of them.
#[derive(Debug)]
pub(super) struct Health {
    address: Address,
    pub(super) settings: Settings,
    tally: Mutex<Tally>,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Standing connections that are down.
    down: usize,
    /// `run_id` and replication id of the server that was reached last.
    server: Option<(String, String)>,
}

impl Health {
    pub(super) fn new(address: Address, settings: Settings) -> Health {
        let state = watch::Sender::new(State { down_since: None, generation: 0 });
        Health { address, settings, tally: Mutex::default(), state }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// One attempt.
    pub(super) async fn dial(&self) -> Result<Wire, DialError> {
        let wire = Wire::dial(&self.address, self.settings.connect_deadline).await?;
        self.recognise(&wire.server);
        Ok(wire)
    }

    /// Makes a standing connection again that is lost, for this reason. Returns when there is one, however long that takes.
    pub(super) async fn redial(&self) -> Wire {
        let mut delay = self.settings.backoff_min;
        loop {
            match self.dial().await {
                Ok(wire) => {
                    self.gained();
                    return wire;
                }
                Err(error) => tracing::debug!(%error, "Redis cannot be reached yet"),
            }
            #[allow(clippy::disallowed_methods, reason = "nothing tells when a server is worth another attempt")]
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(self.settings.backoff_max);
        }
    }

    /// A standing connection is lost. Said once for each outage.
    pub(super) fn lost(&self, why: &str) {
        let mut tally = self.tally();
        tally.down += 1;
        if tally.down == 1 {
            tracing::warn!(address = %self.address, why, "Redis is lost; trying to reach it again");
            self.state.send_modify(|state| state.down_since = Some(Instant::now()));
        }
    }

    fn gained(&self) {
        let mut tally = self.tally();
        tally.down -= 1;
        if tally.down == 0 {
            self.state.send_modify(|state| {
                let down_ms = state.down_since.take().map_or(0, |since| since.elapsed().as_millis() as u64);
                tracing::info!(address = %self.address, down_ms, generation = state.generation, "Redis is back");
            });
        }
    }

    fn recognise(&self, server: &Server) {
        let mut tally = self.tally();
        let found = (server.run_id.clone(), server.replication_id.clone());
        if tally.server.as_ref() == Some(&found) {
            return;
        }
        if tally.server.replace(found).is_some() {
            tracing::warn!(address = %self.address, "Redis was restarted or has another primary: what it confirmed last may be lost");
        }
        self.state.send_modify(|state| state.generation += 1);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics while it holds the tally")
    }
}
