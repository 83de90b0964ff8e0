//! A node and its cluster: it joins, hears the others, loses its place, and joins again as another incarnation. The process goes on.
//!
//! Who loses its place cannot tell what became of its Sessions: they may be another node's by now, their wills published, or Redis may have
//! forgotten them. So every connection ends (5.0: 0x89), its Session is given back where it still is, and the Client finds out at its next
//! CONNECT what there is of it: Session Present says so (section 3.2.2.1.1). Nothing that was acknowledged is lost by that, for it is in Redis
//! or Redis has lost it, which is logged. Sessions that Redis has forgotten are not made up again from what a node remembers: it
//! does not know their queues, and a Session without its messages that says it is present would lose them without a word.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::broker::{Broker, inbox};
use crate::metrics::Metrics;
use crate::packet::reason::Reason;
use crate::session::Fault;
use crate::store::cluster::{Expelled, News};
use crate::store::redis::link::start::StartError;

/// How long connections may take to leave when the node has lost its place.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts to join.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

const EXPELLED: Fault = Fault::new(Reason::SERVER_BUSY, "this node has lost its place in the cluster, and joins again");

/// What other nodes have for this one.
#[derive(Debug)]
pub struct Joined(mpsc::Receiver<News>);

/// Keeps the node a member until it ends. `joined`: what [`Broker::join`] gave, or nothing when it did not come about.
pub async fn run(broker: Arc<Broker>, joined: Option<Joined>) {
    if !broker.store.is_shared() {
        return std::future::pending().await;
    }
    let mut joined = joined;
    loop {
        let Joined(news) = match joined.take() {
            Some(joined) => joined,
            None => broker.join_at_last().await,
        };
        let why = inbox::run(&broker, news).await;
        tell(why);
        Metrics::add(&broker.metrics.memberships_lost, 1);
        broker.part().await;
    }
}

fn tell(why: Expelled) {
    match why {
        Expelled::TakenForDead => tracing::error!("this node was not heard of for too long and was taken for dead: it joins again"),
        Expelled::Outage => tracing::error!("Redis has been away for too long: all connections end, and this node joins again when it can"),
        Expelled::Flushed => tracing::error!(
            "Redis has FORGOTTEN EVERYTHING (FLUSHALL, or it came back empty): sessions, queues and retained messages are lost; \
             this node begins anew"
        ),
    }
}

impl Broker {
    /// One attempt to become a member, with the whole routing table. A node alone has nobody to join: `None`.
    pub async fn join(&self) -> Result<Option<Joined>, StartError> {
        let Some(news) = self.store.join().await? else { return Ok(None) };
        let begun = async {
            if let Some(cluster) = self.store.cluster() {
                cluster.lead(&self.clock).await?;
            }
            self.load_routes().await
        };
        if let Err(error) = begun.await {
            self.store.part();
            return Err(StartError::NotReady(format!("the routing table cannot be loaded: {error:?}")));
        }
        self.due.notify_one();
        Ok(Some(Joined(news)))
    }

    /// Tries until it is a member, however long that takes. Says so when an attempt fails for another reason than the last.
    async fn join_at_last(&self) -> Joined {
        let mut tries = tokio::time::interval(RETRY_PAUSE);
        let mut last = None;
        loop {
            tries.tick().await;
            match self.join().await {
                Ok(Some(joined)) => {
                    let node = self.store.cluster().map(|cluster| cluster.node().as_str().to_owned());
                    tracing::info!(node, "this node is a member of the cluster: clients are welcome");
                    return joined;
                }
                Ok(None) => return std::future::pending().await,
                Err(error) if last.as_ref() != Some(&error) => {
                    tracing::warn!("not ready, clients are refused (0x88): {error}; trying again");
                    last = Some(error);
                }
                Err(_) => {}
            }
        }
    }

    /// Ends every connection and lets go of the Store. Whose Session cannot be given back now is remembered and given back later.
    async fn part(&self) {
        self.kick_all(EXPELLED);
        let leave = async {
            for subscriber in self.roster.online() {
                std::future::poll_fn(|context| subscriber.mailbox.poll_left(context)).await;
            }
        };
        if tokio::time::timeout(LEAVE_PATIENCE, leave).await.is_err() {
            tracing::debug!("some connections take longer to leave");
        }
        self.store.part();
    }
}
