//! What other nodes have for this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::broker::mailbox::Pushed;
use crate::broker::roster::Subscriber;
use crate::broker::routes::RouteCache;
use crate::fate::Step;
use crate::message::InRun;
use crate::metrics::Metrics;
use crate::packet::reason::Reason;
use crate::session::Fault;
use crate::session::outbound::Delivery;
use crate::store::StoreError;
use crate::store::cluster::{Expelled, News, NodeId, Post, RouteChange, Who};
use crate::subscription::ShareGroup;

/// Sessions of a dead node that are given back at a time.
const BURY_BATCH: usize = 256;

/// Between two attempts of what must be done.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Sessions whose owners are looked up at a time.
const OWNERS_PAGE: usize = 500;

const POSTS_LOST: Fault = Fault::new(Reason::QUOTA_EXCEEDED, "messages of other nodes were lost before they were read");
const SESSION_LOST: Fault = Fault::new(Reason::SERVER_BUSY, "the Store has lost this Session");

/// Hears the news. Returns when this node has lost its place, and why.
pub(super) async fn run(broker: &Arc<Broker>, mut news: mpsc::Receiver<News>) -> Expelled {
    let mut cache = RouteCache::default();
    let mut check = JoinSet::new();
    while let Some(item) = news.recv().await {
        match item {
            News::Routes { version, changes } => {
                let is_end = |change: &RouteChange| matches!(change, RouteChange::End { who: Who::Node(_) });
                if changes.iter().any(|(_, change)| is_end(change)) {
                    // It may have died between a message and its bell.
                    broker.each_online(|subscriber| subscriber.mailbox.ring());
                }
                changes.into_iter().for_each(|(epoch, change)| broker.apply(change, epoch));
                broker.store.cluster().into_iter().for_each(|cluster| cluster.applied(version));
            }
            News::RoutesLost => {
                begin_check(&mut check, broker);
                broker.reload_routes().await;
            }
            News::Posts(posts) => posts.into_iter().for_each(|post| broker.take_post(post, &mut cache)),
            News::PostsLost => broker.each_online(|subscriber| match subscriber.is_durable() {
                true => subscriber.mailbox.ring(),
                false => subscriber.mailbox.kick(POSTS_LOST),
            }),
            News::Bell(client_id) => broker.roster.get(&client_id).into_iter().for_each(|subscriber| subscriber.mailbox.ring()),
            News::BellsLost => {
                broker.each_online(|subscriber| subscriber.mailbox.ring());
                begin_check(&mut check, broker);
            }
            News::Kick { client_id, epoch } => {
                broker.roster.kick_before(&client_id, epoch);
            }
            News::NodeDead(node) => {
                tokio::spawn(bury(broker.clone(), node));
            }
            News::Expelled(why) => return why,
        }
    }
    Expelled::Outage // nothing else ends the tasks that tell
}

/// Looks which Sessions here are another's by now, apart from the news. A check that is still going on begins again.
fn begin_check(check: &mut JoinSet<()>, broker: &Arc<Broker>) {
    check.abort_all();
    let broker = broker.clone();
    check.spawn(async move { until_done("the owners of Sessions cannot be looked up yet", || broker.check_owners()).await });
}

/// Tries until it is done; says once that it was not.
async fn until_done<F: Future<Output = Result<(), StoreError>>>(complaint: &str, attempt: impl Fn() -> F) {
    let mut tries = tokio::time::interval(RETRY_PAUSE);
    let mut failed = false;
    loop {
        tries.tick().await;
        match attempt().await {
            Ok(()) => return,
            Err(error) if !failed => tracing::warn!(?error, "{complaint}"),
            Err(_) => {}
        }
        failed = true;
    }
}

/// Gives back the Sessions of a dead node: their wills are due, and their expiry begins.
async fn bury(broker: Arc<Broker>, node: NodeId) {
    tracing::warn!(node = node.as_str(), "a node is dead; its Sessions are given back");
    if let Err(error) = broker.bury(&node).await {
        tracing::warn!(node = node.as_str(), ?error, "not all Sessions of a dead node were given back; another node will go on");
    }
}

/// Gives messages of share groups to other members.
async fn hand_over(broker: Arc<Broker>, left: Vec<(InRun, Arc<ShareGroup>)>) {
    for (message, group) in left {
        let now = broker.clock.now();
        let handed = broker.hand_over(message.message().clone(), &group, now).await;
        handed.unwrap_or_else(|error| broker.note_not_handed_over(error));
    }
}

impl Broker {
    fn each_online(&self, tell: impl Fn(&Subscriber)) {
        self.roster.online().iter().for_each(|subscriber| tell(subscriber));
    }

    async fn reload_routes(&self) {
        until_done("the routing table cannot be loaded again yet", || self.load_routes()).await;
    }

    /// A kick may have been missed, or Redis have lost Sessions: those that are another's, or nobody's, end here.
    async fn check_owners(&self) -> Result<(), StoreError> {
        for page in self.roster.online().chunks(OWNERS_PAGE) {
            let epochs: Vec<_> = page.iter().map(|subscriber| subscriber.mailbox.epoch()).collect();
            let clients: Vec<_> = page.iter().map(|subscriber| subscriber.client_id.clone()).collect();
            let found = self.store.epochs(&clients).await?;
            for ((subscriber, epoch), found) in page.iter().zip(epochs).zip(found) {
                match found {
                    Some(found) if found >= epoch => subscriber.mailbox.kick_before(found),
                    _ => subscriber.mailbox.lose(epoch, SESSION_LOST),
                }
            }
        }
        Ok(())
    }

    /// Gives a message of another node to Sessions here.
    fn take_post(self: &Arc<Broker>, post: Post, cache: &mut RouteCache) {
        let Post { run, to, publisher } = post;
        let Some(run) = self.seen.fresh(&run, to.as_ref().and_then(|(_, grant)| grant.group.as_ref())) else { return };
        self.note_run(&run, publisher.as_ref(), to.as_ref().map(|(client_id, _)| client_id), &Step::Arrived);
        if let Some((client_id, grant)) = to {
            // Whoever chose it may not have known its User Name.
            let subscriber = self.roster.get(&client_id).filter(|chosen| chosen.may_receive(run.topic(), self.guard.as_ref()));
            let pushed = subscriber.map_or(Pushed::Offline, |subscriber| {
                self.push(&subscriber, Delivery { run: run.clone(), grant: grant.clone() }, publisher.as_ref())
            });
            if matches!(pushed, Pushed::Offline | Pushed::Full) {
                // The member has left since it was chosen.
                let left = Delivery { run, grant }.shared().collect();
                tokio::spawn(hand_over(self.clone(), left));
            }
            return;
        }
        let routes = self.table.routes(cache, run.topic(), &self.roster, self.guard.as_ref());
        for (subscriber, target) in routes.direct.iter().filter(|(subscriber, _)| subscriber.mailbox.is_online()) {
            let is_own = publisher.as_ref() == Some(&subscriber.client_id);
            if let Some(grant) = target.grant_for(is_own) {
                // Of a durable Session it takes the QoS 0 part; the rest is in its queue.
                self.push(subscriber, Delivery { run: run.clone(), grant: grant.clone() }, publisher.as_ref());
            }
        }
    }

    async fn bury(&self, node: &NodeId) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        loop {
            let clients = cluster.sessions_of(node, BURY_BATCH).await?;
            if clients.is_empty() {
                break;
            }
            for client_id in &clients {
                let now = self.clock.now();
                let reaped = self.store.reap(client_id, node, now).await?;
                let ended = reaped.as_ref().is_none_or(|(_, closed)| closed.ended);
                self.finish_all(client_id, now).await?;
                if let Some((lease, closed)) = reaped {
                    self.publish_last_will(lease.clone(), closed.due_will, now).await;
                    if closed.ended {
                        self.tell_ended(client_id, None, lease.epoch).await?;
                    }
                }
                if ended {
                    // Somebody else may have the Session by now; what lived there has ended all the same.
                    self.tell_ended(client_id, Some(node), 0).await?;
                }
            }
            cluster.forget_sessions(node, &clients).await?;
            self.due.notify_one();
        }
        Metrics::add(&self.metrics.nodes_buried, 1);
        cluster.bury(node).await
    }
}
