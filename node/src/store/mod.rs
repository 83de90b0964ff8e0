//! The truth: Sessions and their queues, retained messages, cursors of Shared Subscriptions, wills and expiries that are due.
//! This file is the contract; one suite (`tests/it/store`) holds every store to it.
//!
//! Rules that a store keeps, whichever it is:
//! - `open` is one atomic step and raises the epoch, which is never used twice for a Client, not even after a `purge`.
//! - `close`, `purge`, `will_done`, `subscribe`, `unsubscribe`, `Receive` and `Forget` of an older epoch change nothing, and `read` finds nothing.
//! - Every other write of an owner that has lost its Session is harmless: sequences are never used twice.
//! - A Session without a connection whose expiry has passed is as good as purged: `open` makes a new one, and what `Append` still puts into it
//!   is gone with it.
//! - A Session that was new with an expiry of zero has no queue and keeps no subscriptions; its owner does all that in its own memory.
//!   One that is resumed with an expiry of zero keeps its queue until it ends with its connection.
//! - A message with a number (a QoS 2 message of a Session that lasts, in a store that several nodes share) is put into a queue once, by
//!   whomever and however often it is appended: the last numbers of so many publishers are kept with the queue for so long
//!   ([`redis::ONCE_PUBLISHERS_MAX`], [`redis::ONCE_KEPT`]). What is pending is kept with the publisher, so that somebody can go on with it.
//!   A store of one process has no use for this: whoever could go on ends with it.
//! - When a call returns `Ok`, what it wrote is as safe as this store can make it. When it returns an error, the outcome is unknown.
//! - `due` hands each item to one caller for the length of [`DUE_LEASE`], then to another if `will_done` or `purge` did not come.
//! - A will that `open` or `close` gave to be published now is kept too, under the epoch of its connection, and goes to another caller of
//!   `due` after a [`DUE_LEASE`] if `will_done` did not come. (A store of one process does not: whoever was given the will ends with it.)
//!   A will is published at least once: who opens a Session in the moment between `due` and `will_done` may get it too.

pub mod bans;
pub mod cluster;
pub mod health;
pub mod look;
pub mod memory;
pub mod redis;
mod seek;

use std::sync::Arc;

use crate::message::{InRun, Number, Run};
use crate::packet::PacketId;
use crate::packet::connect::ClientId;
use crate::session::state::{Epoch, Sequence, State, Will};
use crate::subscription::{Grant, Selector, ShareGroup, Subscription};
use crate::time::{Span, Time};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;

/// How long a due will or expiry belongs to the node that was given it.
pub const DUE_LEASE: Span = Span::seconds(30);

/// The store of this node. An enum, for the set is closed and wide.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a node has one Store")]
pub enum Store {
    Memory(memory::Memory),
    Redis(redis::joining::Joining),
}

/// Why the Store did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The Store cannot be reached or did not answer in time: Server unavailable (0x88).
    Unavailable,
    /// A limit of the whole store is reached: Quota exceeded (0x97).
    Full,
}

/// The ownership of a Session by one Network Connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub client_id: ClientId,
    pub epoch: Epoch,
}

#[derive(Clone, Debug)]
pub struct Open {
    pub clean_start: bool,
    /// How long the Session outlives its connection; zero: it ends with it. `None`: for ever.
    pub expiry: Option<Span>,
    pub will: Option<Will>,
}

#[derive(Clone, Debug, Default)]
pub struct Opened {
    pub epoch: Epoch,
    /// What is resumed; `None` for a new Session (Session Present = 0).
    pub state: Option<State>,
    /// Another connection owned the Session until now and must be told (0x8E).
    pub was_owned: bool,
    /// The will of the connection or Session that this step ended, to be published now (section 3.1.2.5): of a connection that was taken
    /// over, unless its will was to be delayed and the Session goes on; of a Session without one, when it ends now, or when the delay has
    /// passed and nobody has published it yet.
    pub due_will: Option<Will>,
    /// The epoch of the connection or Session that this step ended, for `will_done`.
    pub before: Option<Epoch>,
    /// Messages of this Client that an earlier connection may not have handed to all who get them, in their order.
    pub pending: Vec<(PacketId, Pending)>,
    /// What the queue of a Session that this step ended owes to share groups.
    pub left: Vec<(InRun, Arc<ShareGroup>)>,
    /// Filters of a Session that this step ended, by a clean start or because its time was over: they leave the routing table.
    pub ended: Vec<Selector>,
}

/// A QoS 2 message that has a number and may not have reached everybody who gets it.
#[derive(Clone, Debug)]
pub struct Pending {
    pub message: InRun,
    /// Whose turn it was in each share group that gets it.
    pub turns: Vec<(Arc<ShareGroup>, ClientId)>,
}

#[derive(Clone, Debug)]
pub struct Close {
    /// False: the will is void, as after DISCONNECT with 0x00, or there is none.
    pub keep_will: bool,
    /// Its delay is at least this: the client was sent away, and needs time to open the Session elsewhere.
    pub will_waits: Span,
    /// The Session Expiry Interval in force at the end, as in [`Open::expiry`]: a DISCONNECT may have changed it, but not from zero.
    pub expiry: Option<Span>,
    /// The last sequence that may have been sent. Lower than what `open` said: it stays as it was.
    pub sent: Sequence,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// False: the Session is not this lease's any more, and nothing was changed.
    pub was_owner: bool,
    /// The will, when it is to be published at once.
    pub due_will: Option<Will>,
    /// The Session ended with its connection; its filters leave the routing table.
    pub ended: bool,
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub enum Write {
    /// Put the messages of a run that are granted more than QoS 0 into the queue of a Session. Several that share a run share its memory.
    /// The store makes its own copy of the run, once for a batch.
    Append { to: ClientId, run: Arc<Run>, grant: Grant },
    /// PUBACK or a final PUBREC came: the message leaves the queue.
    Acknowledge { of: ClientId, sequence: Sequence },
    /// PUBREC came: the message leaves the queue and only its PUBREL is owed from now on.
    Release { of: ClientId, sequence: Sequence },
    /// PUBCOMP came: nothing is owed any more.
    Complete { of: ClientId, sequence: Sequence },
    /// A QoS 2 PUBLISH was taken from this Client; held until its PUBREL. With `pending` it is written before anybody gets the message.
    /// Ignored unless the lease is the newest.
    Receive { of: Lease, packet_id: PacketId, pending: Option<Box<Pending>> },
    /// What was pending under this Packet Identifier, with this number, has reached everybody.
    Settle { of: ClientId, packet_id: PacketId, number: Number },
    /// PUBREL came: the Packet Identifier is free again.
    /// Ignored unless the lease is the newest.
    Forget { of: Lease, packet_id: PacketId },
}

/// What became of one write of a batch. To acknowledge, release, complete or forget what is not there is harmless and `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// The queue of that Session is at its limit: the messages that did not fit are dropped and counted.
    QueueFull,
    /// The whole store is at its limit: messages of this write were dropped and counted.
    StoreFull,
    /// There is no such Session (any more), or it has no queue, or a `Receive` came from an older owner. Only `Append` and `Receive` say this.
    NoSession,
}

/// A message in the queue of a Session.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: Sequence,
    pub message: InRun,
    pub grant: Grant,
}

/// A page of retained messages, in the order of their Topic Names.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub messages: Vec<Arc<Run>>,
    /// Where to go on; `None` at the end.
    pub next: Option<TopicName>,
}

/// Something whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// A Will Delay has passed: publish it, then say `will_done`.
    Will { lease: Lease, will: Will },
    /// A Session has expired: its will, if it still has one, is published first (section 3.1.3.2.2), then `purge`.
    /// It has to wait while somebody has the `Will` of the Session: nobody is given a will twice within a lease.
    Expired { lease: Lease, will: Option<Will>, selectors: Vec<Selector> },
}

/// What the store holds now, and what it has dropped since it was made. For the metrics: each number is right, but
/// they need not be of the same moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Messages in all queues.
    pub queued_messages: u64,
    /// Bytes of all queues, as though each had its own copy of every message.
    pub queued_bytes: u64,
    pub retained: u64,
    /// Bytes of queued and retained runs, each counted once.
    pub held_bytes: u64,
    /// Messages that were not queued because a bound was reached.
    pub dropped_full: u64,
    /// Messages, queued or retained, that expired before they were sent.
    pub expired: u64,
}

impl Pending {
    /// Zero when it has none.
    pub fn number(&self) -> Number {
        self.message.run.numbers().map_or(0, |numbers| numbers.of[self.message.index as usize])
    }
}

impl Write {
    /// Whose Session it is about.
    fn client_id(&self) -> &ClientId {
        match self {
            Write::Append { to: client_id, .. } => client_id,
            Write::Acknowledge { of, .. } | Write::Release { of, .. } | Write::Complete { of, .. } | Write::Settle { of, .. } => of,
            Write::Receive { of: lease, .. } | Write::Forget { of: lease, .. } => &lease.client_id,
        }
    }
}

impl From<redis::Redis> for Store {
    /// One that is joined already.
    fn from(redis: redis::Redis) -> Store {
        Store::Redis(redis.into())
    }
}

macro_rules! each {
    ($self:ident, $verb:ident($($argument:expr),*)) => {
        match $self {
            Store::Memory(store) => store.$verb($($argument),*),
            Store::Redis(store) => store.now()?.$verb($($argument),*).await,
        }
    };
}

impl Store {
    /// Whether other nodes have the same truth, be it reached now or not.
    pub fn is_shared(&self) -> bool {
        matches!(self, Store::Redis(_))
    }

    /// `redis` or `memory`.
    pub fn kind(&self) -> &'static str {
        if self.is_shared() { "redis" } else { "memory" }
    }

    /// What joins this node with others; a store of one process has none, nor has one that is not joined now.
    pub fn cluster(&self) -> Option<redis::cluster::Cluster> {
        match self {
            Store::Memory(_) => None,
            Store::Redis(store) => store.cluster(),
        }
    }

    /// Requests that workers answer; a store of one process has none, nor one that is not joined.
    pub fn requests(&self) -> Option<redis::requests::Requests> {
        match self {
            Store::Memory(_) => None,
            Store::Redis(store) => store.now().ok().map(|redis| redis.requests()),
        }
    }

    /// The bridge to Pub/Sub; a store of one process has none, nor one that is not joined.
    pub fn bridge(&self) -> Option<redis::bridge::Bridge> {
        match self {
            Store::Memory(_) => None,
            Store::Redis(store) => store.now().ok().map(|redis| redis.bridge()),
        }
    }

    /// Joins the others: one attempt. What they have for this node comes from the returned receiver; a store of one process has nobody to join.
    pub async fn join(&self) -> Result<Option<tokio::sync::mpsc::Receiver<cluster::News>>, redis::link::start::StartError> {
        match self {
            Store::Memory(_) => Ok(None),
            Store::Redis(store) => store.join().await.map(Some),
        }
    }

    /// This node has lost its place among the others, until it joins again.
    pub fn part(&self) {
        if let Store::Redis(store) = self {
            store.part();
        }
    }

    /// Whether it can be relied on at this moment. Cheap.
    pub fn health(&self) -> health::StoreHealth {
        match self {
            Store::Memory(_) => health::StoreHealth::default(),
            Store::Redis(store) => store.health(),
        }
    }

    /// Gives back the Session of a Client that a dead node owned, as `close` would have. `None`: somebody else has it by now.
    pub async fn reap(&self, client_id: &ClientId, node: &cluster::NodeId, now: Time) -> Result<Option<(Lease, Closed)>, StoreError> {
        match self {
            Store::Memory(_) => Ok(None),
            Store::Redis(store) => store.now()?.reap(client_id, node, now).await,
        }
    }

    /// The lease of the Session of this Client, if this node has it.
    pub async fn owned_by(&self, client_id: &ClientId, node: &cluster::NodeId) -> Result<Option<Lease>, StoreError> {
        match self {
            Store::Memory(_) => Ok(None),
            Store::Redis(store) => store.now()?.owned_by(client_id, node).await,
        }
    }

    /// The node of a cluster that has the connection of this Client, if any has; `None`: there is no such Session.
    pub async fn owner(&self, client_id: &ClientId) -> Result<Option<Option<cluster::NodeId>>, StoreError> {
        match self {
            Store::Memory(_) => Ok(None),
            Store::Redis(store) => store.now()?.owner(client_id).await,
        }
    }

    /// About `limit` Sessions, connected or not, from this place on, as an answer has said it. `None`: there is no such place.
    pub async fn sessions(&self, after: Option<&str>, limit: usize, now: Time) -> Result<Option<look::Rows>, StoreError> {
        match self {
            Store::Memory(store) => Ok(Some(store.rows(after, limit, now))),
            Store::Redis(store) => store.now()?.sessions(after, limit).await,
        }
    }

    /// One Session, with at most `limit` messages of its queue; `None`: there is none of this Client.
    pub async fn session(&self, client_id: &ClientId, limit: usize, now: Time) -> Result<Option<look::Session>, StoreError> {
        match self {
            Store::Memory(store) => Ok(store.session(client_id, limit, now)),
            Store::Redis(store) => store.now()?.session(client_id, limit).await,
        }
    }

    /// At most `limit` messages of a queue that come after this one. Nothing changes by it.
    pub async fn queue(&self, client_id: &ClientId, after: Sequence, limit: usize) -> Result<Vec<look::Queued>, StoreError> {
        match self {
            Store::Memory(store) => Ok(store.queue(client_id, after, limit)),
            Store::Redis(store) => store.now()?.queue(client_id, after, limit).await,
        }
    }

    /// The newest epochs of Sessions; `None`: there is no such Session.
    pub async fn epochs(&self, clients: &[ClientId]) -> Result<Vec<Option<Epoch>>, StoreError> {
        match self {
            Store::Memory(store) => Ok(clients.iter().map(|client_id| store.epoch(client_id)).collect()),
            Store::Redis(store) => store.now()?.epochs(clients).await,
        }
    }

    /// What a durable Session of a cluster subscribes to.
    pub async fn subscriptions(&self, client_id: &ClientId) -> Result<Vec<Subscription>, StoreError> {
        match self {
            Store::Memory(_) => Ok(Vec::new()),
            Store::Redis(store) => store.now()?.subscriptions(client_id).await,
        }
    }

    /// What is pending of a Client, in the order of the numbers.
    pub async fn pending(&self, client_id: &ClientId) -> Result<Vec<(PacketId, Pending)>, StoreError> {
        match self {
            Store::Memory(_) => Ok(Vec::new()),
            Store::Redis(store) => store.now()?.pending(client_id).await,
        }
    }

    /// Takes the Session of this Client, new or resumed, from whoever had it.
    pub async fn open(&self, client_id: &ClientId, open: Open, now: Time) -> Result<Opened, StoreError> {
        each!(self, open(client_id, open, now))
    }

    /// Gives the Session back at the end of its connection.
    pub async fn close(&self, lease: &Lease, close: Close, now: Time) -> Result<Closed, StoreError> {
        each!(self, close(lease, close, now))
    }

    /// Adds or replaces subscriptions of a Session.
    pub async fn subscribe(&self, lease: &Lease, subscriptions: &[Subscription]) -> Result<(), StoreError> {
        each!(self, subscribe(lease, subscriptions))
    }

    /// Removes subscriptions of a Session.
    pub async fn unsubscribe(&self, lease: &Lease, selectors: &[Selector]) -> Result<(), StoreError> {
        each!(self, unsubscribe(lease, selectors))
    }

    /// Does all writes of a turn in their order, with one answer for each.
    pub async fn write(&self, writes: Vec<Write>, now: Time) -> Result<Vec<Written>, StoreError> {
        each!(self, write(writes, now))
    }

    /// Reads the queue of a Session after `after`: at most `limit` messages, those that expired before they were sent left out and removed.
    /// Messages up to the `sent` mark of the Session are handed out even when expired. Fewer than `limit`: that is the end of the queue.
    /// It works with the newest lease, also after its `close`. When this connection is taken over or lost, everything that was read may have been sent.
    pub async fn read(&self, lease: &Lease, after: Sequence, limit: usize, now: Time) -> Result<Vec<Stored>, StoreError> {
        each!(self, read(lease, after, limit, now))
    }

    /// Sets the retained message of a Topic Name, or removes it. The run has one message, to that Topic Name.
    pub async fn retain(&self, topic: &TopicName, message: Option<Arc<Run>>, now: Time) -> Result<(), StoreError> {
        each!(self, retain(topic, message, now))
    }

    /// The retained messages that match and have not expired, from the first Topic Name after `after`, at most `limit` (but at least one if
    /// there is one); a page may be short, even empty, and still have a next.
    pub async fn retained(&self, filter: &TopicFilter, after: Option<&TopicName>, limit: usize, now: Time) -> Result<Page, StoreError> {
        each!(self, retained(filter, after, limit, now))
    }

    /// Leases `count` turns of a share group: the caller may use the returned cursor and the `count - 1` after it.
    pub async fn cursor(&self, share: &ShareName, filter: &TopicFilter, count: u64) -> Result<u64, StoreError> {
        each!(self, cursor(share, filter, count))
    }

    /// Wills and expiries whose time has come, at most `limit`.
    pub async fn due(&self, now: Time, limit: usize) -> Result<Vec<Due>, StoreError> {
        each!(self, due(now, limit))
    }

    /// When `due` is next worth asking; `None` when nothing waits.
    pub async fn next_due(&self) -> Result<Option<Time>, StoreError> {
        each!(self, next_due())
    }

    /// The will that `close` is about to give, or has given, and that nobody has said to be done. For who has lost the answer of its `close`.
    pub async fn owed_will(&self, lease: &Lease) -> Result<Option<Will>, StoreError> {
        match self {
            Store::Memory(_) => Ok(None),
            Store::Redis(store) => store.now()?.owed_will(lease).await,
        }
    }

    /// The will of this lease has been published.
    pub async fn will_done(&self, lease: &Lease) -> Result<(), StoreError> {
        each!(self, will_done(lease))
    }

    /// Ends an expired Session, unless it was opened again meanwhile (then false).
    pub async fn purge(&self, lease: &Lease) -> Result<bool, StoreError> {
        each!(self, purge(lease))
    }

    /// Shuts somebody out; an earlier ban of the same is replaced.
    pub async fn ban(&self, ban: bans::Ban) -> Result<(), StoreError> {
        each!(self, ban(ban))
    }

    /// False: there was no such ban.
    pub async fn unban(&self, who: &bans::Banned) -> Result<bool, StoreError> {
        each!(self, unban(who))
    }

    /// All bans, also those whose time is over, and which version of the list it is.
    pub async fn bans(&self) -> Result<(u64, Vec<bans::Ban>), StoreError> {
        each!(self, bans())
    }

    /// Counts the changes of the bans.
    pub async fn bans_version(&self) -> Result<u64, StoreError> {
        each!(self, bans_version())
    }

    /// What it holds now.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        match self {
            Store::Memory(store) => Ok(store.stats()),
            Store::Redis(store) => store.now()?.stats().await,
        }
    }

    /// Goes on counting what `stats` says, where that is to be done: by one node for all, again and again.
    pub async fn take_census(&self) -> Result<(), StoreError> {
        match self {
            Store::Memory(_) => Ok(()),
            Store::Redis(store) => store.now()?.take_census().await,
        }
    }
}
