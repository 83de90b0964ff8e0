//! What the Server says of itself under `$SYS/`: retained messages at QoS 0. The driver of [`tree`].
//!
//! A node alone speaks for itself under `$SYS/broker/`. In a cluster each node speaks for itself under `$SYS/brokers/NODE/` and keeps what
//! it has counted where the others find it; one of them, the first that lives, says the totals of all that live under `$SYS/broker/`.

mod clients;
mod load;
mod tree;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::broker::Broker;
use crate::message::Message;
use crate::packet::QoS;
use crate::store::StoreError;
use crate::store::cluster::NodeId;
use crate::store::redis::cluster::Cluster;
use crate::time::Time;
use crate::topic::name::TopicName;

use clients::level;
use load::Load;
use tree::{Numbers, Totals, is_of_all, tree};

const ALL: &str = "$SYS/broker/";

/// Publishes the trees at once and then every `interval`, until the node ends.
pub async fn run(broker: Arc<Broker>, interval: Duration) {
    let mut sys = Sys { started: broker.clock.now(), own: Tree::default(), all: Tree::default(), highest: 0, gone: HashSet::new() };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = sys.publish(&broker, broker.clock.now()).await {
            tracing::warn!(?error, "what $SYS has to say waits for the Store");
        }
    }
}

struct Sys {
    started: Time,
    own: Tree,
    all: Tree,
    /// The most Clients that were connected to all nodes at a time, as far as this one has seen.
    highest: u64,
    /// Nodes that have counted something and were not among those that live in the last round.
    gone: HashSet<NodeId>,
}

/// What is said under one root.
#[derive(Default)]
struct Tree {
    load: Load,
    /// What each topic said last: it is published again only when it has changed.
    published: HashMap<String, String>,
}

impl Sys {
    async fn publish(&mut self, broker: &Broker, now: Time) -> Result<(), StoreError> {
        let mut numbers = numbers(broker, self.started, now).await?;
        let Some(cluster) = broker.cluster()? else { return self.all.publish(broker, ALL, &numbers, |_| true, now).await };
        let counted = broker.kinds_of_subscriptions();
        [numbers.subscriptions, numbers.shared_subscriptions] = counted.live;
        cluster.tell_numbers(&numbers.write()).await?;
        let all = if cluster.is_first() {
            self.publish_all(broker, &cluster, &numbers, counted.durable, now).await
        } else {
            self.all = Tree::default(); // when it is this node's turn again it begins anew
            Ok(())
        };
        [numbers.subscriptions, numbers.shared_subscriptions] = counted.connected;
        self.own.publish(broker, &root(&broker.name), &numbers, |name| !is_of_all(name), now).await.and(all)
    }

    /// The totals of all nodes that live. `own`: what this one has counted, with what only the Store knows; `durable`: subscriptions of
    /// Sessions that last, which every node knows.
    async fn publish_all(
        &mut self,
        broker: &Broker,
        cluster: &Cluster,
        own: &Numbers,
        durable: [u64; 2],
        now: Time,
    ) -> Result<(), StoreError> {
        let mut all = own.clone();
        let mut gone = HashSet::new();
        for (node, told) in cluster.all_numbers().await? {
            if node == *cluster.node() {
                continue;
            }
            match Numbers::read(&told).filter(|_| cluster.is_live(&node)) {
                Some(told) => all.add(&told),
                // Once may be because it has only just come.
                None if self.gone.contains(&node) => forget(broker, cluster, &node, now).await?,
                None => drop(gone.insert(node)),
            }
        }
        self.gone = gone;
        all.subscriptions += durable[0];
        all.shared_subscriptions += durable[1];
        self.highest = self.highest.max(all.connected).max(all.connected_highest);
        all.connected_highest = self.highest;
        self.all.publish(broker, ALL, &all, |_| true, now).await
    }
}

impl Tree {
    /// Publishes what has changed of the names that are `wanted`. What the Store did not take counts as unsaid, and the rest is still tried;
    /// the last error is returned.
    async fn publish(
        &mut self,
        broker: &Broker,
        root: &str,
        numbers: &Numbers,
        wanted: impl Fn(&str) -> bool,
        now: Time,
    ) -> Result<(), StoreError> {
        self.load.step(&numbers.totals, now);
        let mut outcome = Ok(());
        for (name, text) in tree(numbers, &self.load) {
            if !wanted(&name) || self.published.get(&name) == Some(&text) {
                continue;
            }
            match broker.publish(message(&format!("{root}{name}"), &text), now).await {
                Ok(()) => drop(self.published.insert(name, text)),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

/// Where a node speaks for itself.
fn root(name: &str) -> String {
    format!("$SYS/brokers/{}/", level(name))
}

/// A node is no more, and what it has said of itself goes too, unless another incarnation of it speaks there.
async fn forget(broker: &Broker, cluster: &Cluster, node: &NodeId, now: Time) -> Result<(), StoreError> {
    if !cluster.live().iter().any(|live| live.name() == node.name()) {
        let root = root(node.name());
        for (name, _) in tree(&Numbers::default(), &Load::default()).iter().filter(|(name, _)| !is_of_all(name)) {
            if let Some(topic) = TopicName::new(format!("{root}{name}").into()) {
                broker.store.retain(&topic, None, now).await?;
            }
        }
    }
    cluster.forget_numbers(node).await
}

async fn numbers(broker: &Broker, started: Time, now: Time) -> Result<Numbers, StoreError> {
    let (metrics, stats) = (&broker.metrics, broker.store.stats().await?);
    let subscriptions = broker.table.count();
    let [memory, memory_highest] = memory();
    Ok(Numbers {
        uptime: now.since(started),
        connected: metrics.connections.load(Relaxed) as u64,
        connected_highest: metrics.connections_highest.load(Relaxed) as u64,
        expired: metrics.sessions_expired.load(Relaxed),
        sessions: stats.sessions,
        retained: stats.retained,
        queued: stats.queued_messages,
        held_bytes: stats.held_bytes,
        subscriptions: subscriptions.ordinary as u64,
        shared_subscriptions: subscriptions.shared as u64,
        in_flight: broker.present().iter().map(|seen| seen.presence.traffic.in_flight.load(Relaxed)).sum(),
        memory,
        memory_highest,
        totals: Totals {
            connections: metrics.connections_total.load(Relaxed),
            sockets: metrics.sockets_total.load(Relaxed),
            bytes_received: metrics.bytes_received.load(Relaxed),
            bytes_sent: metrics.bytes_sent.load(Relaxed),
            packets_received: metrics.packets_received.load(Relaxed),
            packets_sent: metrics.packets_sent.load(Relaxed),
            publishes_received: metrics.publishes_received.load(Relaxed),
            publishes_sent: metrics.publishes_sent.load(Relaxed),
            publishes_dropped: metrics.messages_dropped_slow.load(Relaxed) + stats.dropped_full,
        },
        publish_bytes_received: metrics.publish_bytes_received.load(Relaxed),
        publish_bytes_sent: metrics.publish_bytes_sent.load(Relaxed),
    })
}

/// What the system says that this process has in memory, and had at most; zero where it does not say.
fn memory() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() * 1024
    })
}

fn message(topic: &str, text: &str) -> Message {
    let topic = TopicName::new(topic.into()).expect("what the tree names is a Topic Name");
    let payload = bytes::Bytes::copy_from_slice(text.as_bytes());
    Message { topic, payload, qos: QoS::AtMostOnce, retain: true, properties: None, expires_at: None }
}
