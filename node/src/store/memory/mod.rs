//! The embedded store, and the model that every other store is held against. No I/O, reads no clock, awaits nothing.
//!
//! Locks, in the order in which they may be taken: a shard of [`sessions`], one Session in it, the index of what is [`due`].
//! Messages for different Sessions meet in no lock: a shard is only read to find a Session.

mod bans;
mod bounds;
mod cursors;
mod due;
mod look;
mod queue;
mod record;
mod retained;
mod sessions;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use super::{Close, Closed, Due, Lease, Open, Opened, Page, Stats, StoreError, Stored, Write, Written};
use crate::message::Run;
use crate::packet::connect::ClientId;
use crate::session::state::Sequence;
use crate::store::bans::{Ban, Banned};
use crate::subscription::{Selector, Subscription};
use crate::time::Time;
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;
pub use bounds::Limits;

/// The truth in the memory of this process: it ends with it.
#[derive(Debug)]
pub struct Memory {
    bounds: Arc<bounds::Bounds>,
    sessions: sessions::Sessions,
    retained: retained::Retained,
    cursors: cursors::Cursors,
    bans: bans::Bans,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(Limits::default())
    }
}

impl Memory {
    pub fn new(limits: Limits) -> Memory {
        let bounds = Arc::new(bounds::Bounds::new(limits));
        Memory {
            sessions: sessions::Sessions::new(bounds.clone()),
            retained: retained::Retained::new(bounds.clone()),
            cursors: cursors::Cursors::default(),
            bans: bans::Bans::default(),
            bounds,
        }
    }

    /// What it holds now and what it has dropped so far.
    pub fn stats(&self) -> Stats {
        self.bounds.stats()
    }

    pub fn open(&self, client_id: &ClientId, open: Open, now: Time) -> Result<Opened, StoreError> {
        self.sessions.open(client_id, open, now)
    }

    pub fn close(&self, lease: &Lease, close: Close, now: Time) -> Result<Closed, StoreError> {
        Ok(self.sessions.close(lease, close, now))
    }

    pub fn subscribe(&self, lease: &Lease, subscriptions: &[Subscription]) -> Result<(), StoreError> {
        self.sessions.subscribe(lease, subscriptions);
        Ok(())
    }

    pub fn unsubscribe(&self, lease: &Lease, selectors: &[Selector]) -> Result<(), StoreError> {
        self.sessions.unsubscribe(lease, selectors);
        Ok(())
    }

    pub fn write(&self, writes: Vec<Write>, now: Time) -> Result<Vec<Written>, StoreError> {
        Ok(write::write(&self.sessions, &self.bounds, &writes, now))
    }

    pub fn read(&self, lease: &Lease, after: Sequence, limit: usize, now: Time) -> Result<Vec<Stored>, StoreError> {
        Ok(self.sessions.read(lease, after, limit, now))
    }

    pub fn retain(&self, topic: &TopicName, message: Option<Arc<Run>>, now: Time) -> Result<(), StoreError> {
        match message {
            Some(run) => self.retained.set(topic, &run, now),
            None => {
                self.retained.remove(topic);
                Ok(())
            }
        }
    }

    pub fn retained(&self, filter: &TopicFilter, after: Option<&TopicName>, limit: usize, now: Time) -> Result<Page, StoreError> {
        Ok(self.retained.page(filter, after, limit, now))
    }

    pub fn cursor(&self, share: &ShareName, filter: &TopicFilter, count: u64) -> Result<u64, StoreError> {
        Ok(self.cursors.lease(share, filter, count))
    }

    pub fn due(&self, now: Time, limit: usize) -> Result<Vec<Due>, StoreError> {
        Ok(self.sessions.due(now, limit))
    }

    pub fn next_due(&self) -> Result<Option<Time>, StoreError> {
        Ok(self.sessions.next_due())
    }

    pub fn will_done(&self, lease: &Lease) -> Result<(), StoreError> {
        self.sessions.will_done(lease);
        Ok(())
    }

    pub fn purge(&self, lease: &Lease) -> Result<bool, StoreError> {
        Ok(self.sessions.purge(lease))
    }

    pub fn ban(&self, ban: Ban) -> Result<(), StoreError> {
        self.bans.ban(ban)
    }

    pub fn unban(&self, who: &Banned) -> Result<bool, StoreError> {
        Ok(self.bans.unban(who))
    }

    pub fn bans(&self) -> Result<(u64, Vec<Ban>), StoreError> {
        Ok(self.bans.all())
    }

    pub fn bans_version(&self) -> Result<u64, StoreError> {
        Ok(self.bans.version())
    }
}

/// Every lock of this store is held for a few steps that cannot fail, so a poisoned one is a bug and not a state to go on from.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock of the store")
}
