//! All Sessions: who owns them, what is owed to them, and when they end.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bounds::Bounds;
use super::due::{Index, Kind};
use super::lock;
use super::record::{Durable, Hold, Record, Waiting};
use crate::packet::connect::ClientId;
use crate::session::state::{Sequence, first_packet_id_is_one};
use crate::store::{Close, Closed, DUE_LEASE, Due, Lease, Open, Opened, StoreError, Stored};
use crate::subscription::{Selector, Subscription};
use crate::time::Time;

/// So many that two cores rarely meet in one. A power of two.
const SHARDS: usize = 64;

type Shard = HashMap<ClientId, Arc<Mutex<Record>>>;

#[derive(Debug)]
pub(super) struct Sessions {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
    bounds: Arc<Bounds>,
    due: Index,
    /// The last epoch that was given out. One count for all Sessions, so that an epoch is not used twice even after a purge.
    epochs: AtomicU64,
    /// The highest sequence of a Session that has ended: the next one with that name begins above it.
    sequences: AtomicU64,
}

impl Sessions {
    pub(super) fn new(bounds: Arc<Bounds>) -> Sessions {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Sessions {
            shards,
            hasher: RandomState::new(),
            bounds,
            due: Index::default(),
            epochs: AtomicU64::new(0),
            sequences: AtomicU64::new(0),
        }
    }

    pub(super) fn open(&self, client_id: &ClientId, open: Open, now: Time) -> Result<Opened, StoreError> {
        let mut shard = self.shard_mut(client_id);
        let record = match shard.get(client_id) {
            Some(record) => record.clone(),
            None if self.bounds.admit_session() => {
                shard.entry(client_id.clone()).or_insert_with(|| Arc::new(Mutex::new(Record::new()))).clone()
            }
            None => return Err(StoreError::Full),
        };
        let mut record = lock(&record);
        if let Hold::Offline(waiting) = record.hold {
            self.forget_due(client_id, waiting);
        }
        // Microseconds, so that a store that forgets its past (Redis after a fail-over) also goes on above it.
        let before = record.durable.as_ref().map_or(0, |durable| durable.last);
        let above = now.0.saturating_mul(1000).max(before).max(self.sequences.load(Relaxed)) + 1;
        let base = first_packet_id_is_one(above);
        let epoch = self.epochs.fetch_add(1, Relaxed) + 1;
        let taken = record.take(open, epoch, base, now);
        let ended = taken.ended.map(|durable| self.release(*durable)).unwrap_or_default();
        let state = record.durable.as_ref().filter(|_| taken.resumed).map(|durable| durable.state());
        Ok(Opened { epoch, state, was_owned: taken.was_owned, due_will: taken.due_will, ended, ..Opened::default() })
    }

    pub(super) fn close(&self, lease: &Lease, close: Close, now: Time) -> Closed {
        let mut shard = self.shard_mut(&lease.client_id);
        let Some(record) = shard.get(&lease.client_id).cloned() else { return Closed::default() };
        let mut record = lock(&record);
        if !record.is_owned_by(lease) {
            return Closed::default();
        }
        let due_will = record.let_go(close, now);
        match record.hold {
            Hold::Offline(waiting) => {
                let keys = [(waiting.end_key, Kind::End), (waiting.will_key, Kind::Will)];
                keys.into_iter().for_each(|(at, kind)| self.move_due(&lease.client_id, kind, None, at));
                Closed { was_owner: true, due_will, ended: false }
            }
            _ => {
                self.end(&mut shard, &lease.client_id, &mut record);
                Closed { was_owner: true, due_will, ended: true }
            }
        }
    }

    pub(super) fn subscribe(&self, lease: &Lease, subscriptions: &[Subscription]) {
        self.with(lease, |durable| {
            let entries =
                subscriptions.iter().cloned().map(|subscription| (subscription.selector, (subscription.options, subscription.id)));
            durable.subscriptions.extend(entries);
        });
    }

    pub(super) fn unsubscribe(&self, lease: &Lease, selectors: &[Selector]) {
        self.with(lease, |durable| {
            for selector in selectors {
                durable.subscriptions.remove(selector);
            }
        });
    }

    pub(super) fn read(&self, lease: &Lease, after: Sequence, limit: usize, now: Time) -> Vec<Stored> {
        let Some(record) = self.find(&lease.client_id) else { return Vec::new() };
        let record = &mut *lock(&record);
        // Not only its owner: what the queue of an expired Session owes to others is read before it is purged.
        let durable = record.durable.as_deref_mut().filter(|_| record.epoch == lease.epoch);
        let page = durable.map(|durable| {
            let (page, expired) = durable.queue.read(after, limit, durable.sent, now);
            durable.handed = page.last().map_or(durable.handed, |last| durable.handed.max(last.sequence));
            let freed = expired.iter().filter_map(|sequence| durable.queue.remove(*sequence)).sum();
            self.bounds.release_messages(expired.len() as u64, freed);
            self.bounds.expired.fetch_add(expired.len() as u64, Relaxed);
            page
        });
        page.unwrap_or_default()
    }

    pub(super) fn due(&self, now: Time, limit: usize) -> Vec<Due> {
        let mut found = Vec::new();
        // Each round moves every item that it saw beyond `now`, or finds that somebody else just did.
        while found.len() < limit {
            let keys = self.due.until(now, limit - found.len());
            if keys.is_empty() {
                break;
            }
            for (at, kind, client_id) in keys {
                let Some(record) = self.find(&client_id) else { continue };
                found.extend(self.lease_due(&client_id, &mut lock(&record), kind, at, now));
            }
        }
        found
    }

    /// Leases an item that the index had, unless it is not there any more or has to wait for another.
    fn lease_due(&self, client_id: &ClientId, record: &mut Record, kind: Kind, at: Time, now: Time) -> Option<Due> {
        let Hold::Offline(waiting) = &mut record.hold else { return None };
        let lease = Lease { client_id: client_id.clone(), epoch: record.epoch };
        let until = now + DUE_LEASE;
        match kind {
            Kind::Will if waiting.will_key == Some(at) => {
                self.move_due(client_id, kind, Some(at), Some(until));
                waiting.will_key = Some(until);
                record.will.as_deref().map(|will| Due::Will { lease, will: will.clone() })
            }
            Kind::End if waiting.end_key == Some(at) => {
                // While somebody publishes the will, the Session's end has to wait for it, or the will would be published twice.
                let published_until = waiting.will_key.filter(|leased| *leased > now);
                let to = published_until.unwrap_or(until);
                self.move_due(client_id, kind, Some(at), Some(to));
                waiting.end_key = Some(to);
                let selectors = record.durable.as_ref().map(|durable| durable.selectors()).unwrap_or_default();
                published_until.is_none().then(|| Due::Expired { lease, will: record.will.as_deref().cloned(), selectors })
            }
            _ => None,
        }
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.next()
    }

    pub(super) fn will_done(&self, lease: &Lease) {
        let Some(record) = self.find(&lease.client_id) else { return };
        let record = &mut *lock(&record);
        let Hold::Offline(waiting) = &mut record.hold else { return };
        if record.epoch != lease.epoch {
            return;
        }
        record.will = None;
        waiting.will_at = None;
        if let Some(at) = waiting.will_key.take() {
            self.due.remove(at, Kind::Will, &lease.client_id);
            // The end may have been put off because of the will.
            self.move_due(&lease.client_id, Kind::End, waiting.end_key, waiting.ends_at);
            waiting.end_key = waiting.ends_at;
        }
    }

    pub(super) fn purge(&self, lease: &Lease) -> bool {
        let mut shard = self.shard_mut(&lease.client_id);
        let Some(record) = shard.get(&lease.client_id).cloned() else { return false };
        let mut record = lock(&record);
        let Hold::Offline(waiting) = record.hold else { return false };
        if record.epoch != lease.epoch {
            return false;
        }
        self.forget_due(&lease.client_id, waiting);
        self.end(&mut shard, &lease.client_id, &mut record);
        true
    }

    pub(super) fn find(&self, client_id: &ClientId) -> Option<Arc<Mutex<Record>>> {
        self.shard(client_id).get(client_id).cloned()
    }

    /// Of the Sessions that are wanted, in no order.
    pub(super) fn names(&self, wanted: impl Fn(&ClientId) -> bool) -> Vec<ClientId> {
        let shards = self.shards.iter().map(|shard| shard.read().expect("nothing panics while it holds a shard"));
        shards.flat_map(|shard| shard.keys().filter(|name| wanted(name)).cloned().collect::<Vec<_>>()).collect()
    }

    /// Works on what is durable of the Session that this lease owns, if it does and something is.
    fn with(&self, lease: &Lease, work: impl FnOnce(&mut Durable)) {
        let Some(record) = self.find(&lease.client_id) else { return };
        let record = &mut *lock(&record);
        let is_owner = record.is_owned_by(lease);
        if let Some(durable) = record.durable.as_deref_mut().filter(|_| is_owner) {
            work(durable);
        }
    }

    /// Takes the Session out of the store. Its times are out of the index already.
    fn end(&self, shard: &mut Shard, client_id: &ClientId, record: &mut Record) {
        record.hold = Hold::Gone;
        record.will = None;
        if let Some(durable) = record.durable.take() {
            self.release(*durable);
        }
        shard.remove(client_id);
        self.bounds.sessions.fetch_sub(1, Relaxed);
    }

    /// Gives back what a Session held that has ended; its filters.
    fn release(&self, durable: Durable) -> Vec<Selector> {
        self.sequences.fetch_max(durable.last, Relaxed);
        self.bounds.release_messages(durable.queue.messages, durable.queue.bytes);
        durable.subscriptions.into_keys().collect()
    }

    fn forget_due(&self, client_id: &ClientId, waiting: Waiting) {
        self.move_due(client_id, Kind::End, waiting.end_key, None);
        self.move_due(client_id, Kind::Will, waiting.will_key, None);
    }

    fn move_due(&self, client_id: &ClientId, kind: Kind, from: Option<Time>, to: Option<Time>) {
        from.into_iter().for_each(|at| self.due.remove(at, kind, client_id));
        to.into_iter().for_each(|at| self.due.add(at, kind, client_id));
    }

    fn shard(&self, client_id: &ClientId) -> RwLockReadGuard<'_, Shard> {
        self.place(client_id).read().expect("nothing panics while it holds a shard")
    }

    fn shard_mut(&self, client_id: &ClientId) -> RwLockWriteGuard<'_, Shard> {
        self.place(client_id).write().expect("nothing panics while it holds a shard")
    }

    fn place(&self, client_id: &ClientId) -> &RwLock<Shard> {
        &self.shards[self.hasher.hash_one(client_id) as usize % SHARDS]
    }
}
