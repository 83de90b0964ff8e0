//! What the Server says of itself under `$SYS/`.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;

/// Publishes the tree every `interval` until the node ends.
pub async fn run(_broker: Arc<Broker>, _interval: Duration) {
    std::future::pending().await
}
