//! The link to Redis: connections that come back by themselves, and writes that share round trips. It knows nothing of keys or functions.
//!
//! | connection | for | an outage |
//! |---|---|---|
//! | control | [`Link::call`]: functions, reads | made again by its task |
//! | lanes | [`Link::write`]: everything that is written for messages, in batches | made again by their tasks |
//! | apart | [`Link::blocking`], [`Link::subscriber`] | whoever asked for one asks again |
//!
//! Nothing is sent twice: [`LinkError::Unknown`] tells the caller that it may have been done. The design is REDIS.md, sections 1.3, 3 and 5.

pub mod address;
pub mod apart;
mod batch;
mod control;
pub mod error;
mod find;
pub mod health;
pub mod lane;
pub mod settings;
pub mod start;
mod wire;

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::watch;

use address::Address;
use apart::{Blocking, Subscriber};
use control::Control;
use error::LinkError;
use health::{Health, State};
use lane::{Lane, Replies};
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
    control: Control,
    lanes: Box<[Lane]>,
    warnings: Vec<Warning>,
}

impl Link {
    /// Connects, and checks that this Redis can be relied on. One attempt: a node that cannot reach its truth does not begin.
    pub async fn open(address: Address, settings: Settings) -> Result<Link, StartError> {
        let lanes = settings.lanes.max(1);
        let health = Arc::new(Health::new(address, settings));
        let mut wire = health.dial().await?;
        let warnings = start::check(&mut wire).await?;
        for warning in &warnings {
            tracing::warn!(address = %health.address(), "{warning}");
        }
        let mut wires = Vec::with_capacity(lanes);
        for _ in 0..lanes {
            wires.push(health.dial().await?);
        }
        let control = Control::start(wire, health.clone());
        let lanes = wires.into_iter().map(|wire| Lane::start(wire, health.clone())).collect();
        Ok(Link { shared: Arc::new(Shared { health, control, lanes, warnings }) })
    }

    /// Sends one command by itself. Its reply or an error comes within twice the deadline of the settings.
    pub async fn call(&self, cmd: Cmd) -> Result<Value, LinkError> {
        self.shared.control.call(&cmd).await
    }

    /// Sends commands in a batch with those of others, and returns a reply or a refusal for each, within twice the deadline. What is
    /// written for one shard is done in the order of the calls; the commands of one call are next to each other, but not atomic.
    /// When the caller goes away after its first wait, they are done all the same.
    pub async fn write(&self, shard: u16, commands: Vec<Cmd>) -> Result<Replies, LinkError> {
        let lanes = &self.shared.lanes;
        lanes[usize::from(shard) % lanes.len()].write(commands).await
    }

    /// A connection of its own for commands that block.
    pub async fn blocking(&self) -> Result<Blocking, LinkError> {
        Blocking::open(&self.shared.health).await
    }

    /// A connection of its own for Pub/Sub.
    pub async fn subscriber(&self) -> Result<Subscriber, LinkError> {
        Subscriber::open(&self.shared.health).await
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
