//! The index of wills and expiries by their time.
//!
//! It is only changed by who holds the lock of the Session concerned, together with that Session's own note of it. So it never
//! holds a stale item, and its first key is exact.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::lock;
use crate::packet::connect::ClientId;
use crate::time::Time;

/// At the same moment a will comes before the end of its Session (section 3.1.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Will,
    End,
}

#[derive(Debug, Default)]
pub(super) struct Index(Mutex<BTreeSet<Key>>);

pub(super) type Key = (Time, Kind, ClientId);

impl Index {
    pub(super) fn add(&self, at: Time, kind: Kind, client_id: &ClientId) {
        lock(&self.0).insert((at, kind, client_id.clone()));
    }

    pub(super) fn remove(&self, at: Time, kind: Kind, client_id: &ClientId) {
        lock(&self.0).remove(&(at, kind, client_id.clone()));
    }

    /// The first items whose time has come.
    pub(super) fn until(&self, now: Time, limit: usize) -> Vec<Key> {
        lock(&self.0).iter().take_while(|key| key.0 <= now).take(limit).cloned().collect()
    }

    pub(super) fn next(&self) -> Option<Time> {
        lock(&self.0).iter().next().map(|key| key.0)
    }
}
