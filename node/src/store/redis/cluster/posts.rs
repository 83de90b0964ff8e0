//! Messages for the live subscribers of other nodes: those that must arrive by inbox, those at QoS 0 by Pub/Sub.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::cmd;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::core::{Core, pause};
use super::encoding;
use super::feed::{Entry, Feed};
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId, Post};
use crate::store::redis::reply;

/// Batches that are read at once.
const BATCHES_MAX: usize = 64;

/// Calls that share a round trip.
const CALLS_MAX: usize = 256;

/// What waits in the outbox.
pub(super) type Outgoing = (NodeId, Vec<Post>);

/// The id of the entry with which an inbox is made, and left empty.
pub(super) const FIRST: u64 = 1;

impl Core {
    /// Makes the inbox, so that others may write to it.
    pub(super) async fn make_inbox(&self) -> Result<(), StoreError> {
        let first = format!("0-{FIRST}");
        let add = cmd("XADD").arg(self.keys.inbox(&self.node)).arg("MAXLEN").arg("=").arg(0).arg(first).arg("p").arg("").take();
        self.link.call(add).await?;
        Ok(())
    }

    /// Into the inbox. A node that has none is dead, and so are the Sessions that were to get the posts: false.
    pub(super) async fn deliver(&self, to: &NodeId, posts: &[Post]) -> Result<bool, StoreError> {
        let inbox = self.keys.inbox(to);
        let add = |batch: bytes::Bytes| {
            let mut add = cmd("XADD");
            add.arg(&inbox).arg("NOMKSTREAM").arg("MAXLEN").arg("~").arg(self.settings.inbox_length_max);
            add.arg("0-*").arg("p").arg(&batch[..]).take()
        };
        let batches = encoding::batches(posts, self.settings.post_bytes_max);
        let length = cmd("XLEN").arg(&inbox).take();
        let commands = batches.into_iter().map(add).chain([length.clone()]).collect();
        let added = self.write(to.as_str(), commands).await?;
        if added.contains(&redis::Value::Nil) {
            self.peers.send_modify(|peers| peers.forget(to));
            return Ok(false);
        }
        if added.last().is_some_and(|length| self.is_crowded(length)) {
            self.hold(length).await;
        }
        Ok(true)
    }

    fn is_crowded(&self, length: &redis::Value) -> bool {
        matches!(length, redis::Value::Int(length) if *length as usize > self.settings.inbox_crowded)
    }

    /// The node reads more slowly than is written to it. Whoever publishes waits for it, but not for long: it may be about to die, and others
    /// get the message too.
    async fn hold(&self, length: redis::Cmd) {
        let patience = Instant::now() + self.settings.inbox_hold;
        while Instant::now() < patience {
            pause().await;
            if !self.link.call(length.clone()).await.is_ok_and(|length| self.is_crowded(&length)) {
                return;
            }
        }
    }

    /// Into the outbox, or nowhere.
    pub(super) fn dispatch(&self, to: &NodeId, posts: Vec<Post>) {
        if let Err(refused) = self.outbox.try_send((to.clone(), posts)) {
            self.drop_posts(refused.into_inner().1.len());
        }
    }
}

/// Sends what is in the outbox: all that came while the last was on its way.
pub(super) async fn send(core: Arc<Core>, mut outbox: mpsc::Receiver<Outgoing>) {
    let mut calls = Vec::with_capacity(CALLS_MAX);
    while outbox.recv_many(&mut calls, CALLS_MAX).await > 0 {
        let mut nodes = BTreeMap::<NodeId, Vec<Post>>::new();
        for (to, posts) in calls.drain(..) {
            nodes.entry(to).or_default().extend(posts);
        }
        let mut publishes = Vec::new();
        for (to, posts) in &nodes {
            let channel = core.keys.posts(to);
            let batches = encoding::batches(posts, core.settings.post_bytes_max);
            publishes.extend(batches.into_iter().map(|batch| cmd("PUBLISH").arg(&channel).arg(&batch[..]).take()));
        }
        if core.write("posts", publishes).await.is_err() {
            core.drop_posts(nodes.values().map(Vec::len).sum());
        }
    }
}

/// The number of the last entry that was handed over; `None`: whatever comes next is the next.
type Last = Option<u64>;

/// Tells the news of the inbox, and when some of it is lost.
pub(super) async fn receive(core: Arc<Core>, mut generation: u64) {
    let inbox = core.keys.inbox(&core.node);
    let mut last: Last = Some(FIRST);
    loop {
        let mut feed = Feed::open(&core.link, &inbox).await;
        if feed.generation != generation {
            let Ok(newest) = newest(&mut feed, &inbox).await else {
                pause().await;
                continue;
            };
            generation = feed.generation;
            // Redis has forgotten what this node has read, so it may have forgotten more; and it uses the numbers again.
            if last.is_some_and(|last| newest.is_none_or(|newest| newest < last)) {
                last = None;
                tell(&core, News::PostsLost).await;
            }
        }
        while let Ok(entries) = feed.read(&inbox, (0, last.unwrap_or(0)), BATCHES_MAX).await {
            if entries.is_empty() {
                continue;
            }
            last = hand_over(&core, entries, last).await;
            let trim = cmd("XTRIM").arg(&inbox).arg("MINID").arg("=").arg(format!("0-{}", last.unwrap_or(0) + 1)).take();
            if feed.query(&trim).await.is_err() {
                break;
            }
        }
        pause().await;
    }
}

/// The number of the last entry that was ever added; `None`: there is no inbox.
async fn newest(feed: &mut Feed, inbox: &str) -> Result<Option<u64>, StoreError> {
    let exists = feed.query(&cmd("EXISTS").arg(inbox).take()).await?;
    if reply::number(&exists)? == 0 {
        return Ok(None);
    }
    let mut fields = reply::list(feed.query(&cmd("XINFO").arg("STREAM").arg(inbox).take()).await?)?.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        if reply::bytes(field)? == "last-generated-id" {
            let id = reply::text(value)?;
            return Ok(id.strip_prefix("0-").and_then(|number| number.parse().ok()));
        }
    }
    Ok(None)
}

async fn hand_over(core: &Core, entries: Vec<Entry>, last: Last) -> Last {
    let mut expected = last.map(|last| last + 1);
    let mut posts = Vec::new();
    for Entry { id: (_, number), value } in entries {
        if expected.is_some_and(|expected| expected != number) {
            tell_posts(core, &mut posts).await;
            tell(core, News::PostsLost).await;
        }
        expected = Some(number + 1);
        match encoding::take_posts(value) {
            Some(batch) => posts.extend(batch),
            None => {
                tracing::error!(number, "a batch of posts is not understood");
                tell(core, News::PostsLost).await;
            }
        }
    }
    tell_posts(core, &mut posts).await;
    expected.map(|expected| expected - 1)
}

async fn tell_posts(core: &Core, posts: &mut Vec<Post>) {
    if !posts.is_empty() {
        tell(core, News::Posts(std::mem::take(posts))).await;
    }
}

/// Waits for room: the inbox does not run away, and when it overruns this is noticed.
async fn tell(core: &Core, news: News) {
    let _ = core.news.send(news).await; // nobody wants any more: the tasks end soon
}
