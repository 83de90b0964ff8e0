//! The Sessions that this node knows, by Client Identifier and by the key under which the router has them.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::broker::mailbox::Mailbox;
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::subscription::Selector;

/// Stands for a subscriber in the routing table: four bytes there, whatever the length of the Client Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u32);

/// A Session as this node sees it: where its mail goes, and what it subscribes to.
#[derive(Debug)]
pub struct Subscriber {
    pub key: Key,
    pub client_id: ClientId,
    pub mailbox: Mailbox,
    /// Messages above QoS 0 go to its queue in the Store.
    durable: AtomicBool,
    /// `None`: the Session has ended, and subscribes to nothing any more.
    selectors: Mutex<Option<BTreeSet<Selector>>>,
}

impl Subscriber {
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    pub fn selectors(&self) -> std::sync::MutexGuard<'_, Option<BTreeSet<Selector>>> {
        self.selectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub struct Roster {
    members: RwLock<Members>,
}

#[derive(Debug, Default)]
struct Members {
    by_id: HashMap<ClientId, Arc<Subscriber>>,
    by_key: Vec<Option<Arc<Subscriber>>>,
    free: Vec<u32>,
}

/// The place of a connection on the roster.
#[derive(Debug)]
pub struct Entered {
    pub subscriber: Arc<Subscriber>,
    /// The Session of the same Client Identifier that this one ended; its subscriptions are to be removed.
    pub ended: Option<Arc<Subscriber>>,
}

impl Roster {
    /// Enters a connection that the Store gave this epoch. `None` when a later connection is there already.
    pub fn enter(&self, client_id: &ClientId, epoch: Epoch, resumed: bool, durable: bool) -> Option<Entered> {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let known = members.by_id.get(client_id).cloned();
        if let Some(subscriber) = known.as_ref() {
            if !subscriber.mailbox.attach(epoch) {
                return None;
            }
            if resumed {
                subscriber.durable.store(durable, Ordering::Relaxed);
                return Some(Entered { subscriber: subscriber.clone(), ended: None });
            }
        }
        let key = members.free.pop().unwrap_or(members.by_key.len() as u32);
        let (mailbox, durable, selectors) = (Mailbox::default(), durable.into(), Mutex::new(Some(BTreeSet::new())));
        let subscriber = Arc::new(Subscriber { key: Key(key), client_id: client_id.clone(), mailbox, durable, selectors });
        subscriber.mailbox.attach(epoch);
        let at = key as usize;
        if at == members.by_key.len() {
            members.by_key.push(None);
        }
        members.by_key[at] = Some(subscriber.clone());
        members.by_id.insert(client_id.clone(), subscriber.clone());
        Some(Entered { subscriber, ended: known })
    }

    /// The Session has ended and its subscriptions are gone: its key is free.
    pub fn remove(&self, subscriber: &Arc<Subscriber>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let Key(key) = subscriber.key;
        let place = &mut members.by_key[key as usize];
        if place.as_ref().is_some_and(|other| Arc::ptr_eq(other, subscriber)) {
            *place = None;
            members.free.push(key);
        }
        if members.by_id.get(&subscriber.client_id).is_some_and(|other| Arc::ptr_eq(other, subscriber)) {
            members.by_id.remove(&subscriber.client_id);
        }
    }

    pub fn get(&self, client_id: &ClientId) -> Option<Arc<Subscriber>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).by_id.get(client_id).cloned()
    }

    /// The subscribers behind these keys, in one look.
    pub fn resolve<T, R>(
        &self,
        targets: impl Iterator<Item = T>,
        key: impl Fn(&T) -> Key,
        make: impl Fn(T, Arc<Subscriber>) -> R,
    ) -> Vec<R> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        targets
            .filter_map(|target| {
                let Key(at) = key(&target);
                let subscriber = members.by_key.get(at as usize)?.clone()?;
                Some(make(target, subscriber))
            })
            .collect()
    }

    /// Everyone who is connected now.
    pub fn online(&self) -> Vec<Arc<Subscriber>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.by_id.values().filter(|subscriber| subscriber.mailbox.is_online()).cloned().collect()
    }
}
