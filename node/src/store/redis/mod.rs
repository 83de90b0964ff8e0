//! The Store on Redis 7.0 or newer: the truth of all nodes that share a prefix. Reads no clock.
//!
//! - What has to be atomic is a function of `mqttd.lua`; messages are written with plain commands in shared batches.
//! - Two slots are never written in one step. Where an index (what is [`due`]) and a state (a Session) belong together, the index is written
//!   first, then the state, then the index is put right; whoever reads the index looks at the state before it believes it.
//! - Epochs and sequences are taken from Redis's clock, so that they are not used twice even when nothing is left of a Session.
//!
//! Bounds beside those of Redis itself (`maxmemory`: [`StoreError::Full`], [`Written::StoreFull`](super::Written)): see [`Limits`].

mod bans;
pub mod bridge;
mod census;
pub mod cluster;
mod cursors;
mod due;
mod encoding;
mod functions;
pub mod joining;
mod keys;
mod library;
pub mod link;
mod queue;
mod reply;
pub mod requests;
mod retained;
mod scan;
mod sequences;
mod sessions;
pub mod survey;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use redis::{Cmd, Value};
use tokio::sync::mpsc;

use super::cluster::News;
use super::health::StoreHealth;
use super::{Stats, StoreError};
use crate::packet::connect::ClientId;
use cluster::Cluster;
use functions::Function;
use keys::{Keys, SessionKeys};
use link::Link;
use link::address::{Access, Address};
use link::error::LinkError;
use link::settings::Durability;
use link::start::StartError;
use sequences::Sequences;

/// What a node wants of its Redis.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As [`Address::parse`] reads it.
    pub url: String,
    /// What does not stand in the URL.
    pub access: Access,
    pub durability: Durability,
    /// Begins every key.
    pub prefix: String,
    /// What begins the channels of the bridge; `None`: there is none.
    pub bridge: Option<String>,
    /// The name of this node; what it owned under an earlier start is another's.
    pub node: String,
    pub limits: Limits,
    pub cluster: cluster::settings::Settings,
}

/// How much may be held. The bytes of a queue and of all queues together are not counted: `maxmemory` bounds them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages in the queue of one Session; new ones that do not fit are dropped. Exact for what is written by way of a function, which is
    /// everything that comes near the bound; before that a node looks at the length once for an eighth of the bound. So a queue can pass the
    /// bound only by what other nodes write between two looks: at most an eighth of it for each of them.
    pub queue_messages_max: u64,
    /// Retained messages; beyond it a new Topic Name is refused, a known one can still be replaced. Exact.
    pub retained_max: u64,
}

/// The Store of a node that shares its truth with others.
pub struct Redis {
    link: Link,
    keys: Keys,
    cluster: Cluster,
    /// What other nodes have for this one, until somebody takes it.
    news: Mutex<Option<mpsc::Receiver<News>>>,
    limits: Limits,
    /// How many messages can be added to a queue before its length is to be looked at again; `None`: it is near its bound, and a function
    /// adds what fits.
    rooms: Mutex<HashMap<ClientId, Option<u64>>>,
    sequences: Sequences,
    dropped_full: AtomicU64,
    expired: AtomicU64,
    census: tokio::sync::Mutex<census::Census>,
}

impl Redis {
    /// Connects, and loads the functions.
    pub async fn connect(settings: Settings) -> Result<Redis, StartError> {
        let (prefix, durability) = (settings.prefix.clone(), settings.durability);
        let bridged = settings.bridge.as_deref().map(keys::all_under);
        let of_link = link::settings::Settings { prefix, bridged, durability, ..link::settings::Settings::default() };
        let link = Link::open(Address::parse(&settings.url)?.with(settings.access)?, of_link).await?;
        functions::load(&link).await.map_err(|error| StartError::NotReady(error.to_string()))?;
        let joined = Cluster::join(link.clone(), &settings.node, settings.cluster).await;
        let (cluster, news) = joined.map_err(|error| StartError::NotReady(format!("the cluster cannot be joined: {error:?}")))?;
        Ok(Redis {
            link,
            keys: Keys::new(&settings.prefix),
            cluster,
            news: Mutex::new(Some(news)),
            limits: settings.limits,
            rooms: Mutex::default(),
            sequences: Sequences::default(),
            dropped_full: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            census: tokio::sync::Mutex::default(),
        })
    }

    /// What joins this node with the others of its prefix.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What other nodes have for this one; only the first caller gets it.
    pub fn take_news(&self) -> Option<mpsc::Receiver<News>> {
        self.news.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// The retained messages of all nodes; their Sessions and queues as of the last walk that one of them made ([`census`]); and what this node
    /// has dropped itself. Bytes are those of memory, and of queues only.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let [sessions, queued_messages, bytes] = self.totals().await?;
        Ok(Stats {
            sessions,
            queued_messages,
            queued_bytes: bytes,
            held_bytes: bytes,
            retained: self.retained_count().await?,
            dropped_full: self.dropped_full.load(Relaxed),
            expired: self.expired.load(Relaxed),
        })
    }

    /// What the link and the beat know.
    pub fn health(&self) -> StoreHealth {
        let down_for = self.link.state().down_since.map(|since| since.elapsed());
        self.cluster.health(down_for)
    }

    /// Calls a function by the control connection. `arguments` adds its arguments.
    fn call<'a, A: FnOnce(&mut Cmd)>(
        &'a self,
        function: Function,
        keys: &[String],
        arguments: A,
    ) -> impl Future<Output = Result<Value, StoreError>> + use<'a, A> {
        let mut command = function.on(keys);
        arguments(&mut command);
        self.command(command)
    }

    /// Sends commands about one Session, in their order with its writes; all of them are answered, or none is.
    async fn by_lane<const N: usize>(&self, keys: &SessionKeys, commands: [Cmd; N]) -> Result<[Value; N], StoreError> {
        let replies = self.link.write(keys.write_shard(), commands.into()).await.map_err(failed)?;
        if replies.iter().any(|reply| reply.as_ref().is_err_and(library::is_missing)) {
            functions::load(&self.link).await.map_err(failed)?;
            return Err(StoreError::Unavailable);
        }
        let values = replies.into_iter().map(|reply| reply.map_err(|error| failed(error.into()))).collect::<Result<Vec<_>, _>>()?;
        values.try_into().map_err(|_| StoreError::Unavailable) // there is a reply for each
    }

    async fn command(&self, command: Cmd) -> Result<Value, StoreError> {
        match self.link.call(command).await {
            Err(error) if library::is_missing(&error) => {
                // Redis began again with nothing; the next call finds it as it should be.
                functions::load(&self.link).await.map_err(failed)?;
                Err(StoreError::Unavailable)
            }
            reply => reply.map_err(failed),
        }
    }
}

fn failed(error: LinkError) -> StoreError {
    match error {
        LinkError::Full => StoreError::Full,
        error => {
            tracing::warn!(%error, "the Store did not do what it was asked");
            StoreError::Unavailable
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("keys", &self.keys)
            .field("node", self.cluster.node())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
