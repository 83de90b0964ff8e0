//! Has all Sessions counted again and again, by one node for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::broker::Broker;

/// Between two parts of the walk.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until the node ends. A store of one process knows its numbers by itself.
pub async fn run(broker: Arc<Broker>) {
    if !broker.store.is_shared() {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if broker.store.cluster().is_some_and(|cluster| cluster.is_first())
            && let Err(error) = broker.store.take_census().await
        {
            tracing::debug!(?error, "Sessions are counted later");
        }
    }
}
