//! The bridge to Pub/Sub: what other clients of Redis publish and subscribe to. It knows channels and payloads, and nothing of topics.
//!
//! **One ear hears.** All nodes with a bridge want to be the *keeper*, which one of them is: the key names its ear. An ear listens first, then
//! becomes the keeper, and `begin` on its own channel tells from where on what it hears is its own. What it has heard it may pass on when
//! [`Bridge::keep`] said [`Kept::Still`] after that: then no other can have been keeper when it was published. No clock is in it. The key
//! expires, and a keeper whose connection Redis has closed is none any more.
//!
//! **What a node sends is told before.** [`Bridge::send`] publishes in one step how many messages follow, on the channel of the keeper's ear,
//! and then these; so the keeper knows which are the cluster's own, whichever node sent them, and wherever that node is by then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value};

use super::functions::{self, Function};
use super::library;
use super::link::Link;
use super::link::apart::Subscriber;
use super::link::error::LinkError;
use super::{Redis, keys};
use crate::store::StoreError;

/// How long the keeper is one without saying so: longer than any pause of it that should not cost messages. Only a connection that died
/// without a word, as with its machine, is waited for so long.
const KEEPER_KEPT: Duration = Duration::from_secs(10);

/// All that a node sends goes by one lane, in its order.
const LANE: u16 = 0;

/// Who hears what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// This ear, and no other since it began.
    Still,
    /// This ear, from now on.
    Begun,
    /// Another one; or this one, but not all the time.
    Others,
    /// Nobody, and this ear does not listen yet.
    Free,
}

/// The part of the Store that is about the bridge. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bridge {
    link: Link,
    keeper: String,
    stem: String,
    /// This incarnation of the node.
    node: String,
}

impl Redis {
    pub fn bridge(&self) -> Bridge {
        let node = self.cluster.node().as_str().to_owned();
        Bridge { link: self.link.clone(), keeper: self.keys.bridge_keeper(), stem: self.keys.bridge_stem(), node }
    }
}

impl Bridge {
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The name of a new ear. No other has it.
    pub fn name_ear(&self) -> String {
        static EARS: AtomicU64 = AtomicU64::new(0);
        format!("{}.{}", self.node, EARS.fetch_add(1, Relaxed))
    }

    /// The channel on which an ear is told something.
    pub fn channel_of(&self, ear: &str) -> String {
        format!("{}{ear}", self.stem)
    }

    /// Listens to all channels that begin so, as this ear. What comes before `begin` on its own channel is not for it.
    pub async fn listen(&self, ear: &str, prefix: &str) -> Result<Subscriber, StoreError> {
        let mut subscriber = self.link.subscriber_beside(&self.keeper).await?;
        subscriber.subscribe(self.channel_of(ear)).await?;
        subscriber.subscribe_pattern(&keys::all_under(prefix)).await?;
        Ok(subscriber)
    }

    /// Asks for the place of the keeper, or to go on as it. `begins`: this ear has passed on nothing yet.
    pub async fn keep(&self, ear: &str, begins: bool) -> Result<Kept, StoreError> {
        let mut keep = Function::BridgeKeep.on(std::slice::from_ref(&self.keeper));
        keep.arg(ear).arg(&self.stem).arg(KEEPER_KEPT.as_millis() as u64).arg(u8::from(begins));
        match self.call(keep).await? {
            Value::BulkString(word) if word == b"still" => Ok(Kept::Still),
            Value::BulkString(word) if word == b"begun" => Ok(Kept::Begun),
            Value::BulkString(word) if word == b"free" => Ok(Kept::Free),
            _ => Ok(Kept::Others),
        }
    }

    /// Publishes to these channels, in this order. After an error some or all of it may have been published.
    pub async fn send(&self, messages: &[(String, Bytes)]) -> Result<(), StoreError> {
        let mut send = Function::BridgeSend.on(std::slice::from_ref(&self.keeper));
        send.arg(&self.stem);
        for (channel, payload) in messages {
            send.arg(channel).arg(&payload[..]);
        }
        match self.write(send.clone()).await {
            Err(error) if library::is_missing(&error) => {
                functions::load(&self.link).await?;
                Ok(self.write(send).await?)
            }
            sent => Ok(sent?),
        }
    }

    /// Beside all else that is written for messages, so that nobody who connects waits for it.
    async fn write(&self, command: Cmd) -> Result<(), LinkError> {
        for reply in self.link.write(LANE, vec![command]).await? {
            reply?;
        }
        Ok(())
    }

    /// A function that is missing was not called, so it is loaded and called again.
    async fn call(&self, command: Cmd) -> Result<Value, StoreError> {
        match self.link.call(command.clone()).await {
            Err(error) if library::is_missing(&error) => {
                functions::load(&self.link).await?;
                Ok(self.link.call(command).await?)
            }
            reply => Ok(reply?),
        }
    }
}
