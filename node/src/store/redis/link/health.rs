//! Whether Redis answers, and whether it is still the one it was.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::time::Instant;

use super::address::Address;
use super::settings::Settings;

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

/// What all connections of a link share.
#[derive(Debug)]
pub(super) struct Health {
    address: Address,
    pub(super) settings: Settings,
    /// Standing connections that are down.
    down: Mutex<usize>,
    state: watch::Sender<State>,
    /// Whether the last batch that was to be on replicas was.
    is_replicated: AtomicBool,
}

impl Health {
    pub(super) fn new(address: Address, settings: Settings) -> Health {
        let state = watch::Sender::new(State { down_since: None, generation: 0 });
        Health { address, settings, down: Mutex::default(), state, is_replicated: AtomicBool::new(true) }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// A standing connection is not there yet.
    pub(super) fn wanted(&self) {
        let mut down = self.down();
        *down += 1;
        if *down == 1 {
            self.state.send_modify(|state| state.down_since = Some(Instant::now()));
        }
    }

    /// A standing connection is lost. Said once for each outage.
    pub(super) fn lost(&self, why: &str) {
        let mut down = self.down();
        *down += 1;
        if *down == 1 {
            tracing::warn!(address = %self.address, why, "Redis is lost; trying to reach it again");
            self.state.send_modify(|state| state.down_since = Some(Instant::now()));
        }
    }

    /// One that was lost or wanted is there, or is wanted no more.
    pub(super) fn gained(&self) {
        let mut down = self.down();
        *down -= 1;
        if *down == 0 {
            self.state.send_modify(|state| {
                let down_ms = state.down_since.take().map_or(0, |since| since.elapsed().as_millis() as u64);
                tracing::info!(address = %self.address, down_ms, generation = state.generation, "Redis is back");
            });
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.state.borrow().generation
    }

    pub(super) fn raise_generation(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// How many replicas have what was written, of so many that are wanted. Said when it changes.
    pub(super) fn note_replicas(&self, found: u64, wanted: u64) {
        let is_replicated = found >= wanted;
        if self.is_replicated.swap(is_replicated, Relaxed) == is_replicated {
            return;
        }
        if is_replicated {
            tracing::info!(address = %self.address, found, "what is written is on enough replicas again");
        } else {
            tracing::error!(address = %self.address, found, wanted, "too few replicas have what is written: it is not acknowledged");
        }
    }

    fn down(&self) -> MutexGuard<'_, usize> {
        self.down.lock().expect("nothing panics while it holds the tally")
    }
}
