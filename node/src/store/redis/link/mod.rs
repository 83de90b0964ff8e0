//! The link to Redis: connections that come back by themselves, and writes that share round trips. It knows nothing of keys or functions.
//!
//! | connection | for | an outage |
//! |---|---|---|
//! | control, to each primary | [`Link::call`]: functions, reads | made again by its task |
//! | lanes, to each primary | [`Link::write`]: everything that is written for messages, in batches | made again by their tasks |
//! | apart | [`Link::blocking`], [`Link::subscriber`], [`Link::subscriber_beside`] | whoever asked for one asks again |
//!
//! Nothing is sent twice: [`LinkError::Unknown`] tells the caller that it may have been done. The design is REDIS.md, sections 1.3, 3 and 5.

pub mod acl;
pub mod address;
pub mod apart;
mod batch;
mod control;
pub mod error;
mod find;
pub mod health;
pub mod lane;
mod map;
mod nodes;
mod primary;
pub mod settings;
pub(in crate::store::redis) mod slots;
pub mod start;
mod target;
pub mod tls;
mod wire;

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::watch;

use address::Address;
use apart::{Blocking, Overrun, Subscriber};
use error::LinkError;
use health::{Health, State};
use lane::Replies;
use nodes::Nodes;
use settings::Settings;
use start::{StartError, Warning};

/// Cheap to clone: all clones share the connections, which end with the last of them.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    health: Arc<Health>,
    nodes: Arc<Nodes>,
    warnings: Vec<Warning>,
}

impl Link {
    /// Connects, and checks that this Redis can be relied on: all primaries of a Cluster. One attempt: a node that cannot reach its truth
    /// does not begin.
    pub async fn open(address: Address, settings: Settings) -> Result<Link, StartError> {
        let health = Arc::new(Health::new(address, settings));
        let (nodes, warnings) = Nodes::open(health.clone()).await?;
        for warning in &warnings {
            tracing::warn!(address = %health.address(), "{warning}");
        }
        Ok(Link { shared: Arc::new(Shared { health, nodes, warnings }) })
    }

    /// Sends one command by itself. Its reply or an error comes within twice the deadline of the settings, or thrice while slots move.
    pub async fn call(&self, cmd: Cmd) -> Result<Value, LinkError> {
        let is_function = cmd.args_iter().next().is_some_and(|name| name == redis::Arg::Simple(b"FCALL"));
        if is_function && self.shared.health.settings.durability.wait().is_some() {
            // What it changes has to be on replicas too.
            let shard = slots::command_slot(&cmd).unwrap_or(0);
            return Ok(self.write(shard, vec![cmd]).await?.pop().unwrap_or(Ok(Value::Nil))?);
        }
        self.shared.nodes.call(&cmd).await
    }

    /// Sends one command to every primary.
    pub async fn call_all(&self, cmd: Cmd) -> Result<Vec<Value>, LinkError> {
        self.shared.nodes.call_all(&cmd).await
    }

    /// Sends one command to the primary at this place, in whatever order they are; `None` where there are not so many. For walks over all keys.
    pub async fn call_at(&self, place: usize, cmd: Cmd) -> Result<Option<Value>, LinkError> {
        self.shared.nodes.call_at(place, &cmd).await
    }

    /// Sends commands in a batch with those of others, and returns a reply or a refusal for each, within twice the deadline. What is
    /// written for one shard and one slot is done in the order of the calls; the commands of one call for one slot are next to each other,
    /// but not atomic. When the caller goes away after its first wait, they are done all the same; in a Cluster those that have to be
    /// sent again are not.
    pub async fn write(&self, shard: u16, commands: Vec<Cmd>) -> Result<Replies, LinkError> {
        self.shared.nodes.write(shard, commands, None).await
    }

    /// The same while Redis is the one of this generation, else [`LinkError::Stale`]: nothing was done then, and it may be made anew.
    pub async fn write_in(&self, generation: u64, shard: u16, commands: Vec<Cmd>) -> Result<Replies, LinkError> {
        self.shared.nodes.write(shard, commands, Some(generation)).await
    }

    /// A connection of its own for commands that block, to where this key is.
    pub async fn blocking(&self, key: &str) -> Result<Blocking, LinkError> {
        Blocking::open(&self.shared.nodes, key).await
    }

    /// A connection of its own for Pub/Sub.
    pub async fn subscriber(&self) -> Result<Subscriber, LinkError> {
        Subscriber::open(&self.shared.health, &self.shared.nodes, None, Overrun::Skips).await
    }

    /// The same at the server that has this key. A reader that is too slow hears all up to a moment, and nothing after it.
    pub async fn subscriber_beside(&self, key: &str) -> Result<Subscriber, LinkError> {
        Subscriber::open(&self.shared.health, &self.shared.nodes, Some(key), Overrun::Ends).await
    }

    /// Whether all standing connections are up, and which Redis they reach.
    pub fn state(&self) -> State {
        *self.watch().borrow()
    }

    /// The same, for those who wait for a change.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.health.watch()
    }

    /// What begins every key and channel.
    pub fn prefix(&self) -> &str {
        &self.shared.health.settings.prefix
    }

    /// What was found wrong at the start, but not wrong enough to stop.
    pub fn warnings(&self) -> &[Warning] {
        &self.shared.warnings
    }
}
