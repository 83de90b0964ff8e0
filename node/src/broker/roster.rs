//! The Sessions that this node knows, by Client Identifier and by the key under which the router has them.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::broker::mailbox::{Mailbox, Owner};
use crate::hook::client::Client;
use crate::hook::{Guard, KnownUser, Recipient};
use crate::packet::connect::ClientId;
use crate::router::route::Key;
use crate::session::state::Epoch;
use crate::store::cluster::NodeId;
use crate::topic::name::TopicName;

/// Where the messages of a subscriber go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To its mailbox, and above QoS 0 to its queue in the Store if it is durable, whatever node it is connected to.
    Here,
    /// To the node that it is connected to, and ends with: a member of a share group.
    Member(NodeId),
    /// To a node, which gives them to all its Sessions whose filters match. It has no Client Identifier.
    Node(NodeId),
}

/// A Session as this node sees it: where its mail goes. What it subscribes to is in the [`Table`](crate::broker::routes::Table).
///
/// In a cluster a node knows all durable Sessions, wherever they are, so this is small.
#[derive(Debug)]
pub struct Subscriber {
    pub key: Key,
    /// Messages above QoS 0 go to its queue in the Store.
    durable: AtomicBool,
    /// The Session has ended, and subscribes to nothing any more: its key may be another's by now.
    ended: AtomicBool,
    pub client_id: ClientId,
    pub place: Place,
    pub mailbox: Mailbox,
}

impl Subscriber {
    /// Who is connected.
    pub fn client(&self) -> Option<Arc<Client>> {
        match self.mailbox.owner() {
            Owner::Here(client) => Some(client),
            _ => None,
        }
    }

    /// Whether its messages of this Topic Name are its to have. What stands for a node has its own guard there.
    pub fn may_receive(&self, topic: &TopicName, guard: &dyn Guard) -> bool {
        if matches!(self.place, Place::Node(_)) {
            return true;
        }
        let owner = self.mailbox.owner();
        let user = match &owner {
            Owner::Unknown => KnownUser::No,
            Owner::Here(client) => return guard.receive(Recipient::of(client), topic),
            Owner::Left(user) => KnownUser::Yes(user.as_deref()),
        };
        guard.receive(Recipient { client_id: &self.client_id, user }, topic)
    }

    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// By the routing table alone, while nobody else may change it. False: it had ended before.
    pub(super) fn end(&self) -> bool {
        !self.ended.swap(true, Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Roster {
    members: RwLock<Members>,
    opening: Mutex<HashMap<ClientId, Heard>>,
}

/// What is heard of a Session while connections here open it.
#[derive(Debug, Default)]
struct Heard {
    connections: usize,
    /// The latest that another node has begun.
    epoch: Epoch,
}

/// A connection is opening its Session. A node that takes the Session over meanwhile may be faster with its word than this one with the
/// roster.
#[derive(Debug)]
pub struct Opening<'a> {
    roster: &'a Roster,
    client_id: &'a ClientId,
}

impl Opening<'_> {
    /// The latest epoch that another node has begun meanwhile.
    pub fn heard(&self) -> Epoch {
        self.roster.opening().get(self.client_id).map_or(0, |heard| heard.epoch)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut opening = self.roster.opening();
        if let Some(heard) = opening.get_mut(self.client_id) {
            heard.connections -= 1;
            if heard.connections == 0 {
                opening.remove(self.client_id);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Members {
    /// The keys of all but those that stand for nodes, hashed by their Client Identifiers.
    by_id: HashTable<Key>,
    hasher: RandomState,
    nodes: BTreeMap<NodeId, Arc<Subscriber>>,
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
    pub fn enter(&self, client: &Arc<Client>, client_id: &ClientId, epoch: Epoch, resumed: bool, durable: bool) -> Option<Entered> {
        let mut members = self.write();
        let known = members.get(client_id).cloned();
        if let Some(subscriber) = known.as_ref().filter(|known| known.place == Place::Here) {
            if !subscriber.mailbox.attach(epoch, client.clone()) {
                return None;
            }
            if resumed {
                subscriber.durable.store(durable, Ordering::Relaxed);
                return Some(Entered { subscriber: subscriber.clone(), ended: None });
            }
        }
        let subscriber = members.add(client_id.clone(), Place::Here, durable);
        subscriber.mailbox.attach(epoch, client.clone());
        Some(Entered { subscriber, ended: known })
    }

    /// From before the Store is asked until the connection is entered.
    pub fn open<'a>(&'a self, client_id: &'a ClientId) -> Opening<'a> {
        self.opening().entry(client_id.clone()).or_default().connections += 1;
        Opening { roster: self, client_id }
    }

    /// Whether a connection here is opening the Session of this Client.
    pub fn is_opening(&self, client_id: &ClientId) -> bool {
        self.opening().contains_key(client_id)
    }

    /// A node has begun this epoch of the Session: connections here that have an earlier one end, also those that are not entered yet.
    pub fn kick_before(&self, client_id: &ClientId, epoch: Epoch) {
        if let Some(heard) = self.opening().get_mut(client_id) {
            heard.epoch = heard.epoch.max(epoch);
        }
        self.get(client_id).into_iter().for_each(|subscriber| subscriber.mailbox.kick_before(epoch));
    }

    fn opening(&self) -> std::sync::MutexGuard<'_, HashMap<ClientId, Heard>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable Session of this Client, or a member of a share group elsewhere, as other nodes tell of them; the second is one of
    /// another kind that it takes the place of.
    pub fn elsewhere(&self, client_id: &ClientId, place: Place) -> (Arc<Subscriber>, Option<Arc<Subscriber>>) {
        let mut members = self.write();
        let known = members.get(client_id).cloned();
        match known {
            Some(known) if known.place == place && (known.place != Place::Here || known.is_durable()) => (known, None),
            known => (members.add(client_id.clone(), place, true), known),
        }
    }

    /// What stands for another node.
    pub fn node(&self, node: &NodeId) -> Arc<Subscriber> {
        let mut members = self.write();
        if let Some(known) = members.nodes.get(node) {
            return known.clone();
        }
        members.add(ClientId::new(""), Place::Node(node.clone()), false)
    }

    /// Everyone of whom other nodes told: all that are not connected here.
    pub fn told_of(&self) -> Vec<Arc<Subscriber>> {
        let members = self.read();
        members.sessions().chain(members.nodes.values()).filter(|subscriber| !subscriber.mailbox.is_online()).cloned().collect()
    }

    /// What stands for a node, and who lives and dies with it.
    pub fn of_node(&self, node: &NodeId) -> Vec<Arc<Subscriber>> {
        let (members, place) = (self.read(), Place::Member(node.clone()));
        members.nodes.get(node).into_iter().chain(members.sessions().filter(|known| known.place == place)).cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Members> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Session has ended and its subscriptions are gone: its key is free.
    pub fn remove(&self, subscriber: &Arc<Subscriber>) {
        let mut members = self.write();
        if !members.of(subscriber.key).is_some_and(|other| Arc::ptr_eq(other, subscriber)) {
            return;
        }
        match &subscriber.place {
            Place::Node(node) => drop(members.nodes.remove(node)),
            _ => members.unname(subscriber),
        }
        let Key(key) = subscriber.key;
        members.by_key[key as usize] = None;
        members.free.push(key);
    }

    pub fn get(&self, client_id: &ClientId) -> Option<Arc<Subscriber>> {
        self.read().get(client_id).cloned()
    }

    /// The subscribers behind these keys, in one look.
    pub fn resolve<T, R>(
        &self,
        targets: impl Iterator<Item = T>,
        key: impl Fn(&T) -> Key,
        make: impl Fn(T, Arc<Subscriber>) -> R,
    ) -> Vec<R> {
        let members = self.read();
        targets
            .filter_map(|target| {
                let Key(at) = key(&target);
                let subscriber = members.by_key.get(at as usize)?.clone()?;
                Some(make(target, subscriber))
            })
            .collect()
    }

    /// Everyone who is known, but for what stands for other nodes.
    pub fn all(&self) -> Vec<Arc<Subscriber>> {
        self.read().sessions().cloned().collect()
    }

    /// Everyone who is connected now.
    pub fn online(&self) -> Vec<Arc<Subscriber>> {
        self.read().sessions().filter(|subscriber| subscriber.mailbox.is_online()).cloned().collect()
    }
}

impl Members {
    /// All Sessions.
    fn sessions(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.by_id.iter().filter_map(|key| self.of(*key))
    }

    fn get(&self, client_id: &ClientId) -> Option<&Arc<Subscriber>> {
        let has_it = |key: &Key| self.of(*key).is_some_and(|known| known.client_id == *client_id);
        self.by_id.find(self.hasher.hash_one(client_id), has_it).and_then(|key| self.of(*key))
    }

    fn of(&self, Key(at): Key) -> Option<&Arc<Subscriber>> {
        self.by_key.get(at as usize)?.as_ref()
    }

    /// Takes the place of who has the same Client Identifier.
    fn name(&mut self, subscriber: &Subscriber) {
        let Members { by_id, by_key, hasher, .. } = self;
        let id_of = |key: &Key| by_key[key.0 as usize].as_ref().map(|known| &known.client_id);
        let hash = |key: &Key| id_of(key).map_or(0, |client_id| hasher.hash_one(client_id));
        let same = |key: &Key| id_of(key) == Some(&subscriber.client_id);
        match by_id.entry(hasher.hash_one(&subscriber.client_id), same, hash) {
            Entry::Occupied(mut entry) => *entry.get_mut() = subscriber.key,
            Entry::Vacant(entry) => drop(entry.insert(subscriber.key)),
        }
    }

    /// Gives its name up, if no other has taken it.
    fn unname(&mut self, subscriber: &Subscriber) {
        let hash = self.hasher.hash_one(&subscriber.client_id);
        if let Ok(entry) = self.by_id.find_entry(hash, |key| *key == subscriber.key) {
            entry.remove();
        }
    }

    /// A subscriber under a key of its own.
    fn add(&mut self, client_id: ClientId, place: Place, durable: bool) -> Arc<Subscriber> {
        let key = self.free.pop().unwrap_or(self.by_key.len() as u32);
        let (mailbox, durable, ended) = (Mailbox::default(), durable.into(), false.into());
        let subscriber = Arc::new(Subscriber { key: Key(key), durable, ended, client_id, place, mailbox });
        let at = key as usize;
        if at == self.by_key.len() {
            self.by_key.push(None);
        }
        self.by_key[at] = Some(subscriber.clone());
        match &subscriber.place {
            Place::Node(node) => drop(self.nodes.insert(node.clone(), subscriber.clone())),
            _ => self.name(&subscriber),
        }
        subscriber
    }
}
