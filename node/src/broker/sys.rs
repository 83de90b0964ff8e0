//! What the Server says of itself under `$SYS/broker/`: retained messages at QoS 0. The driver of [`tree`].

mod load;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::broker::Broker;
use crate::message::Message;
use crate::packet::QoS;
use crate::store::StoreError;
use crate::time::Time;
use crate::topic::name::TopicName;

use load::Load;
use tree::{Numbers, Totals, tree};

/// Publishes the tree at once and then every `interval`, until the node ends.
pub async fn run(broker: Arc<Broker>, interval: Duration) {
    let mut tree = Tree { started: broker.clock.now(), load: Load::default(), published: HashMap::new() };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = tree.publish(&broker, broker.clock.now()).await {
            tracing::warn!(?error, "what $SYS has to say waits for the Store");
        }
    }
}

struct Tree {
    started: Time,
    load: Load,
    /// What each topic said last: it is published again only when it has changed.
    published: HashMap<String, String>,
}

impl Tree {
    /// Publishes what has changed. What the Store did not take counts as unsaid, and the rest is still tried; the last error is returned.
    async fn publish(&mut self, broker: &Broker, now: Time) -> Result<(), StoreError> {
        let numbers = numbers(broker, self.started, now).await?;
        self.load.step(&numbers.totals, now);
        let mut outcome = Ok(());
        for (topic, text) in tree(&numbers, &self.load) {
            if self.published.get(&topic) == Some(&text) {
                continue;
            }
            match broker.publish(message(&topic, &text), now).await {
                Ok(()) => drop(self.published.insert(topic, text)),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

async fn numbers(broker: &Broker, started: Time, now: Time) -> Result<Numbers, StoreError> {
    let (metrics, stats) = (&broker.metrics, broker.store.stats().await?);
    let shared = broker.table.shared_subscriptions() as u64;
    Ok(Numbers {
        uptime: now.since(started),
        connected: metrics.connections.load(Relaxed) as u64,
        connected_highest: metrics.connections_highest.load(Relaxed) as u64,
        expired: metrics.sessions_expired.load(Relaxed),
        sessions: stats.sessions,
        retained: stats.retained,
        queued: stats.queued_messages,
        held_bytes: stats.held_bytes,
        subscriptions: (broker.subscriptions() as u64).saturating_sub(shared),
        shared_subscriptions: shared,
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

fn message(topic: &str, text: &str) -> Message {
    let topic = TopicName::new(topic.into()).expect("what the tree names is a Topic Name");
    let payload = bytes::Bytes::copy_from_slice(text.as_bytes());
    Message { topic, payload, qos: QoS::AtMostOnce, retain: true, properties: None, expires_at: None }
}
