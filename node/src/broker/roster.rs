//! The Sessions that this node knows, by Client Identifier and by the key under which the router has them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytestring::ByteString;

use crate::broker::mailbox::Mailbox;
use crate::hook::client::Client;
use crate::hook::{Guard, KnownUser, Recipient};
use crate::packet::connect::ClientId;
use crate::session::outbound::Delivery;
use crate::session::state::Epoch;
use crate::store::cluster::NodeId;
use crate::subscription::Selector;
use crate::topic::name::TopicName;

/// Stands for a subscriber in the routing table: four bytes there, whatever the length of the Client Identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u32);

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

/// A Session as this node sees it: where its mail goes, and what it subscribes to.
#[derive(Debug)]
pub struct Subscriber {
    pub key: Key,
    pub client_id: ClientId,
    pub place: Place,
    pub mailbox: Mailbox,
    owner: Mutex<Owner>,
    /// Messages above QoS 0 go to its queue in the Store.
    durable: AtomicBool,
    /// `None`: the Session has ended, and subscribes to nothing any more.
    selectors: Mutex<Option<BTreeSet<Selector>>>,
}

/// Whose Session it is, as far as this node knows.
#[derive(Debug, Default)]
enum Owner {
    #[default]
    Unknown,
    Here(Arc<Client>),
    /// It was here, and had this User Name.
    Left(Option<ByteString>),
}

impl Subscriber {
    /// Who is connected.
    pub fn client(&self) -> Option<Arc<Client>> {
        match &*self.owner() {
            Owner::Here(client) => Some(client.clone()),
            _ => None,
        }
    }

    /// Whether its messages of this Topic Name are its to have. What stands for a node has its own guard there.
    pub fn may_receive(&self, topic: &TopicName, guard: &dyn Guard) -> bool {
        if matches!(self.place, Place::Node(_)) {
            return true;
        }
        let owner = self.owner();
        let user = match &*owner {
            Owner::Unknown => KnownUser::No,
            Owner::Here(client) => return guard.receive(Recipient::of(client), topic),
            Owner::Left(user) => KnownUser::Yes(user.as_deref()),
        };
        guard.receive(Recipient { client_id: &self.client_id, user }, topic)
    }

    /// The connection of this epoch has ended; what it did not take is returned.
    pub fn leave(&self, epoch: Epoch) -> VecDeque<Delivery> {
        let mut owner = self.owner();
        if self.mailbox.epoch() == epoch
            && let Owner::Here(client) = &*owner
        {
            *owner = Owner::Left(client.user.clone());
        }
        self.mailbox.detach(epoch)
    }

    fn owner(&self) -> std::sync::MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
    by_id: HashMap<ClientId, Arc<Subscriber>>,
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
        let known = members.by_id.get(client_id).cloned();
        if let Some(subscriber) = known.as_ref().filter(|known| known.place == Place::Here) {
            if !subscriber.mailbox.attach(epoch) {
                return None;
            }
            if resumed {
                subscriber.durable.store(durable, Ordering::Relaxed);
                *subscriber.owner() = Owner::Here(client.clone());
                return Some(Entered { subscriber: subscriber.clone(), ended: None });
            }
        }
        let subscriber = members.add(client_id.clone(), Place::Here, durable);
        *subscriber.owner() = Owner::Here(client.clone());
        subscriber.mailbox.attach(epoch);
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
        let known = members.by_id.get(client_id).cloned();
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
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.by_id.values().chain(members.nodes.values()).filter(|subscriber| !subscriber.mailbox.is_online()).cloned().collect()
    }

    /// What stands for a node, and who lives and dies with it.
    pub fn of_node(&self, node: &NodeId) -> Vec<Arc<Subscriber>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let place = Place::Member(node.clone());
        members.nodes.get(node).into_iter().chain(members.by_id.values().filter(|known| known.place == place)).cloned().collect()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Members> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Session has ended and its subscriptions are gone: its key is free.
    pub fn remove(&self, subscriber: &Arc<Subscriber>) {
        let mut members = self.write();
        let Key(key) = subscriber.key;
        let place = &mut members.by_key[key as usize];
        if place.as_ref().is_some_and(|other| Arc::ptr_eq(other, subscriber)) {
            *place = None;
            members.free.push(key);
        }
        if let Place::Node(node) = &subscriber.place {
            members.nodes.remove(node);
        } else if members.by_id.get(&subscriber.client_id).is_some_and(|other| Arc::ptr_eq(other, subscriber)) {
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

    /// Everyone who is known, but for what stands for other nodes.
    pub fn all(&self) -> Vec<Arc<Subscriber>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).by_id.values().cloned().collect()
    }

    /// Everyone who is connected now.
    pub fn online(&self) -> Vec<Arc<Subscriber>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.by_id.values().filter(|subscriber| subscriber.mailbox.is_online()).cloned().collect()
    }
}

impl Members {
    /// A subscriber under a key of its own.
    fn add(&mut self, client_id: ClientId, place: Place, durable: bool) -> Arc<Subscriber> {
        let key = self.free.pop().unwrap_or(self.by_key.len() as u32);
        let (mailbox, durable, selectors) = (Mailbox::default(), durable.into(), Mutex::new(Some(BTreeSet::new())));
        let subscriber = Arc::new(Subscriber { key: Key(key), client_id, place, mailbox, owner: Mutex::default(), durable, selectors });
        let at = key as usize;
        if at == self.by_key.len() {
            self.by_key.push(None);
        }
        self.by_key[at] = Some(subscriber.clone());
        match &subscriber.place {
            Place::Node(node) => self.nodes.insert(node.clone(), subscriber.clone()),
            _ => self.by_id.insert(subscriber.client_id.clone(), subscriber.clone()),
        };
        subscriber
    }
}
