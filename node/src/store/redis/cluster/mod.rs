//! What the nodes of a cluster tell each other by way of Redis: routes, messages for live subscribers, bells, and that they live.
//!
//! | what | how | when it is lost |
//! |---|---|---|
//! | changes of routes | a log that all follow | [`News::RoutesLost`]: load the table |
//! | posts that must arrive | an inbox for each node | [`News::PostsLost`] |
//! | posts at QoS 0 | Pub/Sub | counted by [`Cluster::dropped`], as far as it is known |
//! | bells, kicks | Pub/Sub, a channel for each Session | [`News::BellsLost`] |
//! | what a node has applied | Pub/Sub | told again by the next beat |
//!
//! A node is a member while it beats. One that missed its lease is dead: another claims it, cleans up after it, and tells nobody else.

pub mod asks;
mod beat;
mod bells;
mod core;
mod deaf;
mod encoding;
mod feed;
mod functions;
pub(super) mod keys;
mod peers;
mod posts;
mod routes;
pub mod settings;

pub use asks::Answers;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use redis::{Cmd, cmd};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::core::{Core, MEMORY_FULL, Promise, Pulse, pause};
use super::link::Link;
use super::link::error::LinkError;
use crate::clock::Clock;
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId, Post, RouteChange, RouteVersion, Who};
use crate::store::health::StoreHealth;
use crate::store::redis::reply;
use crate::subscription::Subscription;
use crate::time::Time;
use beat::Beat;
use bells::{ASKS_MAX, Ear};
use deaf::Deaf;
use keys::Keys;
use peers::Peers;
use routes::LAST_EPOCH;
use settings::Settings;

/// A node's membership. Cheap to clone; its tasks end with the last clone, and then its beat.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    core: Arc<Core>,
    asks: asks::Asks,
    /// They are aborted with it.
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Becomes a member, as a new incarnation of the node with this name. What follows from now on comes as [`News`].
    ///
    /// Before it takes clients, the node loads the routes and says that they are [`applied`](Cluster::applied).
    pub async fn join(link: Link, node_name: &str, settings: Settings) -> Result<(Cluster, mpsc::Receiver<News>), StoreError> {
        let node = NodeId::new(&format!("{node_name}.{}", uuid::Uuid::now_v7().simple()));
        let (news, told) = mpsc::channel(settings.news_max);
        let (outbox, outgoing) = mpsc::channel(settings.outbox_max);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let generation = link.state().generation;
        let core = Arc::new(Core {
            keys: Keys::new(link.prefix()),
            link,
            node,
            settings,
            news,
            peers: watch::Sender::new(Peers::default()),
            applied: watch::Sender::new(0),
            asks,
            outbox,
            dropped: AtomicU64::new(0),
            promise: Promise::new(),
            has_left: AtomicBool::new(false),
            pulse: Pulse::default(),
            born: OnceLock::new(),
            clock: OnceLock::new(),
            deaf: Deaf::default(),
            owes_bells: Notify::new(),
        });
        core.make_inbox().await?;
        let version = core.history(0).await?;
        let mut ear = Ear::new(core.clone(), asked);
        let subscriber = ear.open().await?;
        let beat = Beat::join(core.clone()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(beat.run());
        tasks.spawn(ear.run(subscriber));
        tasks.spawn(routes::follow(core.clone(), version, generation));
        tasks.spawn(routes::herald(core.clone()));
        tasks.spawn(posts::receive(core.clone(), generation));
        tasks.spawn(bells::ring_late(core.clone()));
        tasks.spawn(posts::send(core.clone(), outgoing));
        Ok((Cluster { shared: Arc::new(Shared { core, asks: asks::Asks::default(), _tasks: tasks }) }, told))
    }

    fn core(&self) -> &Core {
        &self.shared.core
    }

    /// This incarnation.
    pub fn node(&self) -> &NodeId {
        &self.core().node
    }

    /// When the truth began of which this node is a member, in µs by Redis's clock: another one has nothing of what this one had.
    pub fn truth(&self) -> u64 {
        self.core().born.get().copied().unwrap_or_default()
    }

    /// Whether Redis still has what it had in this truth, or has forgotten everything since. By Redis's own word: a node hears of it only with its
    /// next beat.
    pub async fn still_holds(&self, truth: u64) -> Result<bool, StoreError> {
        let [.., born] = self.core().keys.beat();
        let born = self.core().link.call(cmd("GET").arg(born).take()).await?;
        Ok(born != redis::Value::Nil && reply::number(&born)? == truth)
    }

    /// The nodes that live, as far as this one knows; itself among them.
    pub fn live(&self) -> Vec<NodeId> {
        self.core().peers.borrow().nodes()
    }

    /// Whether this node is one of them.
    pub fn is_live(&self, node: &NodeId) -> bool {
        self.core().peers.borrow().has(node)
    }

    /// Gives out the whole table, owner by owner, with the epoch of each. [`News::Routes`] up to the version that is returned may be left out or applied,
    /// as is easier: applied in their order, they end where the table is.
    pub async fn load_routes(&self, take: impl FnMut(Epoch, Who, Vec<Subscription>) + Send) -> Result<RouteVersion, StoreError> {
        self.core().load(take).await
    }

    /// Changes the table of all nodes. It comes back to this one too, in the order of all changes.
    ///
    /// Ignored when the Session has changed its routes with a later epoch, until a minute after its end; then the newest version is
    /// returned. The epoch of a node's own routes is 0. The end of a Session that lives on a node counts whatever its epoch, but only while the
    /// routes are of that node.
    pub async fn route(&self, change: RouteChange, epoch: Epoch) -> Result<RouteVersion, StoreError> {
        self.core().change(&change, epoch).await
    }

    /// The table of this node has all changes up to this version; the others are told soon.
    pub fn applied(&self, version: RouteVersion) {
        let core = self.core();
        core.peers.send_modify(|peers| peers.hear(core.node.clone(), version));
        core.applied.send_replace(version);
    }

    /// Waits until all nodes that live have applied this version. False: one of them did not within [`Settings::visibility`].
    pub async fn visible(&self, version: RouteVersion) -> bool {
        let mut peers = self.core().peers.subscribe();
        let applied = peers.wait_for(|peers| peers.have(version));
        timeout(self.core().settings.visibility, applied).await.is_ok_and(|applied| applied.is_ok())
    }

    /// Gives messages to another node. `reliable`: when this returns `Ok`, it will have them, unless it dies first; else they leave in
    /// their order as soon as they can, or are dropped and counted. False: the node is no more, and nobody gets them.
    pub async fn post(&self, to: &NodeId, posts: Vec<Post>, reliable: bool) -> Result<bool, StoreError> {
        if reliable {
            return self.core().deliver(to, &posts).await;
        }
        self.core().dispatch(to, posts);
        Ok(true)
    }

    /// Something is in the queues of these Sessions: tells whoever listens for them.
    pub async fn bell(&self, clients: Vec<ClientId>) -> Result<(), StoreError> {
        self.core().ring(clients).await
    }

    /// The bells and kicks of this Session are for this node, as often as it was not unlistened again. When this returns `Ok`, none is
    /// missed from now on. After an error it is as though it never was.
    pub async fn listen(&self, client_id: &ClientId) -> Result<(), StoreError> {
        let listens = self.core().listen(client_id).await;
        if listens.is_err() {
            self.unlisten(client_id).await;
        }
        listens
    }

    pub async fn unlisten(&self, client_id: &ClientId) {
        self.core().unlisten(client_id).await;
    }

    /// This epoch of the Session has begun: tells whoever listens for it, this node too if it does.
    pub async fn kick(&self, client_id: &ClientId, epoch: Epoch) -> Result<(), StoreError> {
        self.core().kick(client_id, epoch).await
    }

    /// This node is about to open the Session. What is listed too much does no harm; so the Session that was taken over here is not removed.
    pub async fn add_session(&self, client_id: &ClientId) -> Result<(), StoreError> {
        self.list(self.node(), "SADD", std::slice::from_ref(client_id)).await
    }

    /// The Session is closed.
    pub async fn remove_session(&self, client_id: &ClientId) -> Result<(), StoreError> {
        self.forget_sessions(self.node(), std::slice::from_ref(client_id)).await
    }

    async fn list(&self, node: &NodeId, verb: &str, clients: &[ClientId]) -> Result<(), StoreError> {
        let mut list = cmd(verb);
        list.arg(self.core().keys.sessions(node));
        for client_id in clients {
            list.arg(client_id.as_str());
        }
        self.core().write(node.as_str(), vec![list]).await.map(drop)
    }

    /// Some of the Sessions that a dead node may have had. When they are cleaned up, [`Cluster::forget_sessions`], and ask again until
    /// there are none. The claim on the node begins anew with every call.
    pub async fn sessions_of(&self, dead: &NodeId, limit: usize) -> Result<Vec<ClientId>, StoreError> {
        self.core().claim_on(dead).await?;
        let sessions = self.core().link.call(cmd("SRANDMEMBER").arg(self.core().keys.sessions(dead)).arg(limit).take()).await?;
        reply::list(sessions)?.into_iter().map(|client| reply::text(client).map(|client| ClientId::new(&client))).collect()
    }

    /// These Sessions of a dead node are cleaned up.
    pub async fn forget_sessions(&self, dead: &NodeId, clients: &[ClientId]) -> Result<(), StoreError> {
        if clients.is_empty() { Ok(()) } else { self.list(dead, "SREM", clients).await }
    }

    /// Removes what is left of a dead node when its Sessions are cleaned up, the routes of Sessions that died with it included: those are
    /// ended one by one before. Its own routes end here.
    pub async fn bury(&self, dead: &NodeId) -> Result<(), StoreError> {
        let core = self.core();
        core.change(&RouteChange::End { who: Who::Node(dead.clone()) }, LAST_EPOCH).await?;
        let remove = |key: String| cmd("UNLINK").arg(key).take();
        let forget: Cmd = cmd("ZREM").arg(core.keys.dead()).arg(dead.as_str()).take();
        let steps = vec![remove(core.keys.inbox(dead)), remove(core.keys.sessions(dead)), forget];
        core.write(dead.as_str(), steps).await.map(drop)
    }

    /// Ends the membership. What is not closed is left to the others to clean up, as after a death.
    pub async fn leave(&self) -> Result<(), StoreError> {
        let core = self.core();
        core.end_membership().await?;
        let left = core.link.call(cmd("SCARD").arg(core.keys.sessions(&core.node)).take()).await?;
        if reply::number(&left)? == 0 { self.bury(&core.node.clone()).await } else { Ok(()) }
    }

    /// What an earlier incarnation of this node has left is for whoever cleans up first: nobody waits for it any more.
    pub(super) async fn disown(&self, lost: &NodeId) -> Result<(), StoreError> {
        let [members, applied, dead] = self.core().keys.members();
        let forget = |verb: &str, key: String| cmd(verb).arg(key).arg(lost.as_str()).take();
        let steps = vec![
            forget("ZREM", members),
            forget("HDEL", applied),
            // Not when somebody is at it.
            cmd("ZADD").arg(dead).arg("NX").arg(0).arg(lost.as_str()).take(),
        ];
        self.core().write(lost.as_str(), steps).await.map(drop)
    }

    /// `down_for`: how long the link has not been whole.
    pub(super) fn health(&self, down_for: Option<Duration>) -> StoreHealth {
        let (core, pulse) = (self.core(), &self.core().pulse);
        let trouble = pulse.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let says = |word: &str| matches!(&trouble, Some(LinkError::Refused(text)) if text.contains(word));
        StoreHealth {
            down_for: down_for.or_else(|| (!core.promise.holds()).then(|| core.promise.over_for())),
            is_full: self.is_full(),
            lacks_replicas: says("NOREPLICAS"),
            is_read_only: says("READONLY") || says("MISCONF"),
            last_error: trouble.map(|error| error.to_string()),
        }
    }

    /// Redis has so little memory left that no new message is to be put there.
    pub fn is_full(&self) -> bool {
        // One atomic number: the writes of a turn ask for it.
        self.core().pulse.memory.load(Relaxed) >= MEMORY_FULL
    }

    /// Whether this node was heard of so lately that nobody can have taken it for dead. By a clock that stands still while the machine is
    /// suspended: after that, the first beat tells.
    pub fn may_promise(&self) -> bool {
        self.core().promise.holds()
    }

    /// Waits until this node may promise something, where Redis was away for a moment. Fails when it has lost its place, or the lease passes.
    pub async fn promise(&self) -> Result<(), StoreError> {
        let core = self.core();
        let patience = Instant::now() + core.settings.lease;
        while !core.promise.holds() {
            if core.promise.is_over() || Instant::now() > patience {
                return Err(StoreError::Unavailable);
            }
            pause().await;
        }
        Ok(())
    }

    /// By the clock of Redis.
    pub async fn time(&self) -> Result<Time, StoreError> {
        let parts = reply::list(self.core().link.call(cmd("TIME")).await?)?;
        let [seconds, micros] = &parts[..] else { return Err(StoreError::Unavailable) };
        Ok(Time(reply::number(seconds)? * 1000 + reply::number(micros)? / 1000))
    }

    /// Keeps what this node has counted where the others find it.
    pub async fn tell_numbers(&self, numbers: &str) -> Result<(), StoreError> {
        let core = self.core();
        core.link.call(cmd("HSET").arg(core.keys.numbers()).arg(self.node().as_str()).arg(numbers).take()).await?;
        Ok(())
    }

    /// What every node has counted, also those that are no more and that nobody has cleaned up after with [`Cluster::forget_numbers`].
    pub async fn all_numbers(&self) -> Result<Vec<(NodeId, String)>, StoreError> {
        let core = self.core();
        let told = reply::list(core.link.call(cmd("HGETALL").arg(core.keys.numbers()).take()).await?)?;
        let pair = |pair: &[redis::Value]| {
            let [node, numbers] = pair else { return Err(StoreError::Unavailable) };
            Ok((NodeId::new(&reply::text(node.clone())?), reply::text(numbers.clone())?))
        };
        told.chunks(2).map(pair).collect()
    }

    pub async fn forget_numbers(&self, node: &NodeId) -> Result<(), StoreError> {
        let core = self.core();
        core.link.call(cmd("HDEL").arg(core.keys.numbers()).arg(node.as_str()).take()).await?;
        Ok(())
    }

    /// Whether this node is the one that does what one is to do for all: the first of those that live, as far as it knows. For a moment two
    /// may think so, or none.
    pub fn is_first(&self) -> bool {
        self.may_promise() && self.live().first() == Some(self.node())
    }

    pub(super) fn totals_key(&self) -> String {
        self.core().keys.totals()
    }

    /// From now on this clock follows the one of Redis: every beat tells it the time.
    pub async fn lead(&self, clock: &Arc<Clock>) -> Result<(), StoreError> {
        clock.set(self.time().await?);
        // It is led once for each membership.
        let _ = self.core().clock.set(clock.clone());
        Ok(())
    }

    /// Posts at QoS 0 that were dropped here, because the outbox or the news were full.
    pub fn dropped(&self) -> u64 {
        self.core().dropped.load(Relaxed)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", self.node()).finish_non_exhaustive()
    }
}
