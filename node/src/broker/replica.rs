//! What the nodes of a cluster know of each other's subscriptions: this node tells of its own and keeps a copy of all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::broker::roster::{Place, Subscriber};
use crate::broker::{Broker, Member};
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::packet::subscribe::SubscriptionOptions;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::{NodeId, RouteChange, RouteVersion, Who};
use crate::subscription::{Selector, Subscription};
use crate::topic::filter::TopicFilter;

/// What a Session that is connected here wants by one filter: a live one everything up to a QoS, a durable one only QoS 0, because it has
/// the rest from its queue. One that was granted QoS 0 has nothing from its queue, and wants as a live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Live(QoS),
    Durable,
}

/// How many Sessions here want something, by filter.
#[derive(Debug, Default)]
pub(super) struct Interest(Mutex<HashMap<TopicFilter, Counts>>);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    live: [u32; 3],
    durable: u32,
}

impl Counts {
    fn of(&mut self, want: Want) -> &mut u32 {
        match want {
            Want::Live(qos) => &mut self.live[qos as usize],
            Want::Durable => &mut self.durable,
        }
    }

    /// What the other nodes are told; `None`: nothing is wanted.
    fn told(&self) -> Option<SubscriptionOptions> {
        let live = [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce].into_iter().find(|qos| self.live[*qos as usize] > 0);
        match (live, self.durable) {
            (None, 0) => None,
            (live, _) => Some(SubscriptionOptions { qos: live.unwrap_or_default(), no_local: live.is_none(), ..Default::default() }),
        }
    }
}

impl Broker {
    /// Tells the other nodes of new subscriptions of a Session here, and waits until they know.
    pub(super) async fn tell_subscribed(&self, member: &mut Member, subscriptions: &[Subscription]) -> Result<(), StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(()) };
        let mut version = self.tell_session(member, subscriptions).await?;
        let own = subscriptions.iter().filter(|subscription| subscription.selector.share.is_none());
        let wants = own.map(|subscription| (subscription.selector.filter.clone(), Some(want(member, subscription.options.qos))));
        version = version.max(self.tell_interest(member, wants.collect()).await?);
        if version > 0 && !cluster.visible(version).await {
            Metrics::add(&self.metrics.routes_unseen, 1);
        }
        Ok(())
    }

    /// A durable Session is known to all nodes by itself, and so is a live member of a share group.
    async fn tell_session(&self, member: &Member, subscriptions: &[Subscription]) -> Result<RouteVersion, StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(0) };
        let durable = member.subscriber.is_durable();
        let known = subscriptions.iter().filter(|subscription| durable || subscription.selector.share.is_some());
        let subscriptions: Vec<_> = known.cloned().collect();
        if subscriptions.is_empty() {
            return Ok(0);
        }
        cluster.route(RouteChange::Set { who: self.who(member), subscriptions }, member.lease.epoch).await
    }

    pub(super) async fn tell_unsubscribed(&self, member: &mut Member, selectors: &[Selector]) -> Result<(), StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(()) };
        let durable = member.subscriber.is_durable();
        let known: Vec<_> = selectors.iter().filter(|selector| durable || selector.share.is_some()).cloned().collect();
        if !known.is_empty() {
            cluster.route(RouteChange::Unset { who: self.who(member), selectors: known }, member.lease.epoch).await?;
        }
        let own = selectors.iter().filter(|selector| selector.share.is_none());
        let wants = own.map(|selector| (selector.filter.clone(), None)).collect();
        self.tell_interest(member, wants).await.map(drop)
    }

    /// A connection with a resumed Session begins to want what it subscribes to.
    pub(super) async fn tell_resumed(&self, member: &mut Member, subscriptions: &[Subscription]) -> Result<(), StoreError> {
        let own = subscriptions.iter().filter(|subscription| subscription.selector.share.is_none());
        let wants = own.map(|subscription| (subscription.selector.filter.clone(), Some(want(member, subscription.options.qos)))).collect();
        self.tell_interest(member, wants).await.map(drop)
    }

    /// A connection ends, and wants nothing any more.
    pub(super) async fn tell_left(&self, member: &mut Member) -> Result<(), StoreError> {
        let wants = member.wants.keys().map(|filter| (filter.clone(), None)).collect();
        self.tell_interest(member, wants).await.map(drop)
    }

    /// A Session has ended: a durable one, or one that lived on a node.
    pub(super) async fn tell_ended(&self, client_id: &ClientId, node: Option<&NodeId>, epoch: Epoch) -> Result<(), StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(()) };
        let who = Who::Session { client_id: client_id.clone(), node: node.cloned() };
        cluster.route(RouteChange::End { who }, epoch).await.map(drop)
    }

    fn who(&self, member: &Member) -> Who {
        let node = self.store.cluster().filter(|_| !member.subscriber.is_durable()).map(|cluster| cluster.node().clone());
        Who::Session { client_id: member.lease.client_id.clone(), node }
    }

    /// Counts what a Session wants by its filters now, and tells the others what the node wants differently from before. The lock is held
    /// meanwhile, so that they hear it in the order in which it was counted.
    async fn tell_interest(&self, member: &mut Member, wants: Vec<(TopicFilter, Option<Want>)>) -> Result<RouteVersion, StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(0) };
        let mut counts = self.interest.0.lock().await;
        let (mut subscriptions, mut selectors) = (Vec::new(), Vec::new());
        for (filter, want) in wants {
            let count = counts.entry(filter.clone()).or_default();
            let before = count.told();
            let earlier = match want {
                Some(want) => member.wants.insert(filter.clone(), want),
                None => member.wants.remove(&filter),
            };
            want.into_iter().for_each(|want| *count.of(want) += 1);
            earlier.into_iter().for_each(|want| *count.of(want) -= 1);
            let now = count.told();
            let selector = Selector { share: None, filter: filter.clone() };
            match now {
                None => {
                    counts.remove(&filter);
                    before.into_iter().for_each(|_| selectors.push(selector.clone()));
                }
                Some(options) if before != now => subscriptions.push(Subscription { selector, options, id: None }),
                Some(_) => {}
            }
        }
        let who = Who::Node(cluster.node().clone());
        let mut version = 0;
        if !subscriptions.is_empty() {
            version = cluster.route(RouteChange::Set { who: who.clone(), subscriptions }, 0).await?;
        }
        if !selectors.is_empty() {
            version = cluster.route(RouteChange::Unset { who, selectors }, 0).await?;
        }
        Ok(version)
    }

    /// Takes part in the cluster, before the first Client comes.
    pub async fn join(&self) -> Result<(), StoreError> {
        self.load_routes().await
    }

    /// Loads the whole table, at the start and whenever changes were missed.
    pub(super) async fn load_routes(&self) -> Result<(), StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(()) };
        let (version, changes) = cluster.load_routes().await?;
        let mut now: BTreeMap<Who, BTreeSet<Selector>> = BTreeMap::new();
        for change in &changes {
            if let RouteChange::Set { who, subscriptions } = change {
                let selectors = now.entry(who.clone()).or_default();
                selectors.extend(subscriptions.iter().map(|subscription| subscription.selector.clone()));
            }
        }
        for known in self.roster.told_of() {
            let who = self.who_is(&known);
            match now.get(&who) {
                None => self.forget(&known),
                Some(selectors) => {
                    let gone: Vec<_> =
                        known.selectors().iter().flatten().filter(|selector| !selectors.contains(selector)).cloned().collect();
                    for selector in &gone {
                        self.table.unsubscribe(&known, selector);
                    }
                }
            }
        }
        changes.into_iter().for_each(|change| self.apply(change));
        cluster.applied(version);
        Ok(())
    }

    fn who_is(&self, subscriber: &Subscriber) -> Who {
        match &subscriber.place {
            Place::Here => Who::Session { client_id: subscriber.client_id.clone(), node: None },
            Place::Member(node) => Who::Session { client_id: subscriber.client_id.clone(), node: Some(node.clone()) },
            Place::Node(node) => Who::Node(node.clone()),
        }
    }

    /// Puts a change into the table of this node. What this node said of itself it knows already.
    pub(super) fn apply(&self, change: RouteChange) {
        match change {
            RouteChange::Set { who, subscriptions } => {
                let Some(subscriber) = self.subscriber_of(&who) else { return };
                for subscription in &subscriptions {
                    self.table.subscribe(&subscriber, subscription);
                }
            }
            RouteChange::Unset { who, selectors } => {
                let Some(subscriber) = self.subscriber_of(&who) else { return };
                for selector in &selectors {
                    self.table.unsubscribe(&subscriber, selector);
                }
            }
            RouteChange::End { who } => {
                let subscriber = self.subscriber_of(&who);
                if let Some(subscriber) = subscriber.filter(|subscriber| !subscriber.mailbox.is_online()) {
                    self.forget(&subscriber);
                }
            }
        }
    }

    /// The subscriber that a route is about; `None` for those that this node tells of.
    fn subscriber_of(&self, who: &Who) -> Option<Arc<Subscriber>> {
        let me = self.store.cluster()?.node();
        let (client_id, place) = match who {
            Who::Node(node) => return (node != me).then(|| self.roster.node(node)),
            Who::Session { node: Some(node), .. } if node == me => return None,
            Who::Session { client_id, node: Some(node) } => (client_id, Place::Member(node.clone())),
            Who::Session { client_id, node: None } => (client_id, Place::Here),
        };
        // Whoever is connected here told of itself.
        if self.roster.get(client_id).is_some_and(|known| known.mailbox.is_online()) {
            return None;
        }
        let (subscriber, other) = self.roster.elsewhere(client_id, place);
        if let Some(other) = other {
            self.forget(&other);
        }
        Some(subscriber)
    }
}

fn want(member: &Member, qos: QoS) -> Want {
    if member.subscriber.is_durable() && qos > QoS::AtMostOnce { Want::Durable } else { Want::Live(qos) }
}
