//! The bridge to Pub/Sub of Redis, for programs that speak no MQTT: a topic has a channel, its name behind a prefix, and the body is the payload,
//! both ways. Nothing of it runs where it is off.
//!
//! | task | what it does |
//! |---|---|
//! | [`send`] | every node: publishes to Redis what was published at this node |
//! | [`ear`] | one node at a time: hands what clients of Redis publish to the subscribers of the cluster, as one publisher would |
//!
//! What the cluster sent itself is known when it is heard ([`echo`]), and what came in never goes out: it is there already. Both ways are at most
//! once, for Pub/Sub is: what is published while Redis, or for a moment its keeper, is away, is lost. How one node is found, and why no two of
//! them ever hand on the same message, is in `store/redis/bridge.rs`.

mod ear;
mod echo;
mod names;

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::broker::outward::Outward;
use crate::message::Run;
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::topic::filter::TopicFilter;

pub use names::{PrefixError, check_prefix};

/// What the configuration says of the bridge.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What begins the channel of a topic.
    pub prefix: String,
    /// Topics that go out.
    pub out_filters: Vec<TopicFilter>,
    pub incoming: Incoming,
}

/// What may come in.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub filters: Vec<TopicFilter>,
    pub qos: QoS,
    /// As for the messages of Clients.
    pub packet_bytes_max: usize,
    pub topic_levels_max: usize,
    pub topic_bytes_max: usize,
}

/// Begins. The tasks end with the returned set.
pub fn start(broker: &Arc<Broker>, settings: Settings) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let Settings { prefix, out_filters, incoming } = settings;
    if !out_filters.is_empty() {
        let outward = Arc::new(Outward::new(out_filters));
        // A second one is refused: the first goes on.
        let _ = broker.outward.set(outward.clone());
        tasks.spawn(send(broker.clone(), outward, prefix.clone()));
    }
    if !incoming.filters.is_empty() {
        tasks.spawn(ear::run(broker.clone(), prefix, incoming));
    }
    tasks
}

/// Sends what waits. What Redis does not take is lost: whoever listens there may have it, and must not have it twice.
async fn send(broker: Arc<Broker>, outward: Arc<Outward>, prefix: String) {
    let mut failed = false;
    loop {
        let messages: Vec<_> = outward.take().await.iter().flat_map(|run| channelled(run, &prefix)).collect();
        let sent = match broker.store().bridge() {
            Some(redis) => redis.send(&messages).await.is_ok(),
            None => false,
        };
        let counter = if sent { &broker.metrics.bridge_sent } else { &broker.metrics.bridge_unsent };
        Metrics::add(counter, messages.len() as u64);
        if !sent && !failed {
            tracing::warn!("the bridge loses messages: Redis does not take them");
        }
        failed = !sent;
    }
}

fn channelled(run: &Run, prefix: &str) -> Vec<(String, Bytes)> {
    let channel = format!("{prefix}{}", run.topic());
    run.messages().iter().map(|message| (channel.clone(), message.payload.clone())).collect()
}
