//! What the nodes of a cluster know of each other's subscriptions: this node tells of its own and keeps a copy of all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::broker::interest::Want;
use crate::broker::roster::{Place, Subscriber};
use crate::broker::{Broker, Member};
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::router::route::Key;
use crate::session::Fault;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::{NodeId, RouteChange, RouteVersion, Who};
use crate::subscription::{Selector, Subscription};
use crate::topic::filter::TopicFilter;

const ROUTES_LOST: Fault = Fault::new(Reason::SERVER_BUSY, "the Store has lost the subscriptions of this Session");

impl Broker {
    /// Tells the other nodes of new subscriptions of a Session here, and waits until they know.
    pub(super) async fn tell_subscribed(&self, member: &mut Member, subscriptions: &[Subscription]) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
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
        let Some(cluster) = self.cluster()? else { return Ok(0) };
        let durable = member.subscriber.is_durable();
        let known = subscriptions.iter().filter(|subscription| durable || subscription.selector.share.is_some());
        let subscriptions: Vec<_> = known.cloned().collect();
        if subscriptions.is_empty() {
            return Ok(0);
        }
        cluster.route(RouteChange::Set { who: self.who(member), subscriptions }, member.lease.epoch).await
    }

    pub(super) async fn tell_unsubscribed(&self, member: &mut Member, selectors: &[Selector]) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        let durable = member.subscriber.is_durable();
        let known: Vec<_> = selectors.iter().filter(|selector| durable || selector.share.is_some()).cloned().collect();
        let mut version = 0;
        if !known.is_empty() {
            version = cluster.route(RouteChange::Unset { who: self.who(member), selectors: known }, member.lease.epoch).await?;
        }
        let own = selectors.iter().filter(|selector| selector.share.is_none());
        let wants = own.map(|selector| (selector.filter.clone(), None)).collect();
        self.tell_interest(member, wants).await?;
        // A queue gets nothing any more when UNSUBACK is sent [MQTT-3.10.4-2]; what comes by mail this node filters itself.
        if version > 0 && !cluster.visible(version).await {
            Metrics::add(&self.metrics.routes_unseen, 1);
        }
        Ok(())
    }

    /// A connection with a resumed Session begins to want what it subscribes to.
    /// `is_new`: the table of this node did not have all of them, so perhaps nobody's has.
    pub(super) async fn tell_resumed(&self, member: &mut Member, subscriptions: &[Subscription], is_new: bool) -> Result<(), StoreError> {
        if is_new {
            self.tell_session(member, subscriptions).await?;
        }
        let own = subscriptions.iter().filter(|subscription| subscription.selector.share.is_none());
        let wants = own.map(|subscription| (subscription.selector.filter.clone(), Some(want(member, subscription.options.qos)))).collect();
        self.tell_interest(member, wants).await.map(drop)
    }

    /// A connection ends, and wants nothing any more. The others are told by the next [`Broker::tell_untold`].
    pub(super) fn count_left(&self, member: &mut Member) {
        let wants = member.wants.keys().map(|filter| (filter.clone(), None)).collect();
        self.interest.count(&mut member.wants, wants);
    }

    /// A Session has ended: a durable one, or one that lived on a node.
    pub(super) async fn tell_ended(&self, client_id: &ClientId, node: Option<&NodeId>, epoch: Epoch) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        let who = Who::Session { client_id: client_id.clone(), node: node.cloned() };
        cluster.route(RouteChange::End { who }, epoch).await.map(drop)
    }

    fn who(&self, member: &Member) -> Who {
        let node = self.store.cluster().filter(|_| !member.subscriber.is_durable()).map(|cluster| cluster.node().clone());
        Who::Session { client_id: member.lease.client_id.clone(), node }
    }

    /// Counts what a Session wants by its filters now, and tells the others what the node wants differently from before. The version is one
    /// that has it, also when they were told before.
    async fn tell_interest(&self, member: &mut Member, wants: Vec<(TopicFilter, Option<Want>)>) -> Result<RouteVersion, StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(0) };
        if wants.is_empty() {
            return Ok(0);
        }
        self.interest.count(&mut member.wants, wants);
        self.interest.tell(&cluster).await
    }

    /// Tells what could not be told before.
    pub(super) async fn tell_untold(&self) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        self.interest.tell(&cluster).await.map(drop)
    }

    /// Loads the whole table, at the start and whenever changes were missed. What Redis has lost of this node is told again.
    ///
    /// It is put into the table of this node as it comes, so that nothing is kept of it that is not needed.
    pub(super) async fn load_routes(&self) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        let me = Who::Node(cluster.node().clone());
        let (mut found, mut here, mut own) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let take = |epoch, who: Who, subscriptions: Vec<Subscription>| {
            let selectors = subscriptions.iter().map(|subscription| &subscription.selector);
            if who == me {
                own = subscriptions.iter().map(|told| (told.selector.filter.clone(), told.options)).collect();
                return;
            }
            if let Some(applied) = self.set(&who, &subscriptions, epoch) {
                self.table.keep_only(&applied, &subscriptions);
            }
            let Some(known) = self.known(&who) else { return };
            note(&mut found, known.key);
            if known.mailbox.is_online() {
                here.insert(who, selectors.cloned().collect::<BTreeSet<_>>());
            }
        };
        let version = cluster.load_routes(take).await?;
        self.interest.compare(own);
        for gone in self.roster.told_of().iter().filter(|known| !is_noted(&found, known.key)) {
            self.forget(gone);
        }
        cluster.applied(version);
        self.tell_untold().await?;
        self.tell_again(&here).await
    }

    /// Tells of the Sessions here that are not in the table as they should be, for Redis has lost it. A live one begins anew.
    async fn tell_again(&self, here: &BTreeMap<Who, BTreeSet<Selector>>) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        for subscriber in self.roster.online() {
            let durable = subscriber.is_durable();
            let who = Who::Session { client_id: subscriber.client_id.clone(), node: Some(cluster.node().clone()).filter(|_| !durable) };
            let told = here.get(&who);
            let is_told = |selector: &Selector| told.is_some_and(|told| told.contains(selector));
            let wanted = |selector: &&Selector| durable || selector.share.is_some();
            if self.table.selectors(&subscriber).iter().filter(wanted).all(is_told) {
                continue;
            }
            let epoch = subscriber.mailbox.epoch();
            if !durable {
                subscriber.mailbox.kick_at(epoch, ROUTES_LOST);
                continue;
            }
            let subscriptions = self.store.subscriptions(&subscriber.client_id).await?;
            if !subscriptions.is_empty() {
                cluster.route(RouteChange::Set { who, subscriptions }, epoch).await?;
            }
        }
        Ok(())
    }

    /// Puts a change into the table of this node. What this node said of itself it knows already.
    pub(super) fn apply(&self, change: RouteChange, epoch: Epoch) {
        match change {
            RouteChange::Set { who, subscriptions } => drop(self.set(&who, &subscriptions, epoch)),
            RouteChange::Unset { who, selectors } => {
                let Some(subscriber) = self.subscriber_of(&who, epoch) else { return };
                for selector in &selectors {
                    self.table.unsubscribe(&subscriber, selector);
                }
            }
            RouteChange::End { who: Who::Node(node) } => {
                // Members of share groups end with their node, also those of whom nobody tells any more.
                self.roster.of_node(&node).iter().for_each(|subscriber| self.forget(subscriber));
            }
            RouteChange::End { who: Who::Session { client_id, node } } => {
                let place = node.map_or(Place::Here, Place::Member);
                let known = self.roster.get(&client_id).filter(|known| known.place == place && !self.is_own(known, epoch));
                known.into_iter().for_each(|known| self.forget(&known));
            }
        }
    }

    /// Adds routes. Whose they are, if this node does not tell of them itself.
    fn set(&self, who: &Who, subscriptions: &[Subscription], epoch: Epoch) -> Option<Arc<Subscriber>> {
        let subscriber = self.subscriber_of(who, epoch)?;
        for subscription in subscriptions {
            self.table.subscribe(&subscriber, subscription);
        }
        Some(subscriber)
    }

    /// Who has these routes, as far as this node knows them.
    fn known(&self, who: &Who) -> Option<Arc<Subscriber>> {
        match who {
            Who::Node(node) => Some(self.roster.node(node)),
            Who::Session { client_id, .. } => self.roster.get(client_id),
        }
    }

    /// Whether a change of the routes of a Session that began with this epoch is one of which this node has told itself, or that came before
    /// its own. If not, the Session has moved on, and a connection here may not have heard of it yet.
    fn is_own(&self, known: &Subscriber, epoch: Epoch) -> bool {
        known.mailbox.kick_before(epoch);
        known.mailbox.is_online_since(epoch)
    }

    /// The subscriber that a route is about; `None` for those that this node tells of.
    fn subscriber_of(&self, who: &Who, epoch: Epoch) -> Option<Arc<Subscriber>> {
        let me = self.store.cluster()?.node().clone();
        let (client_id, place) = match who {
            Who::Node(node) => return (*node != me).then(|| self.roster.node(node)),
            Who::Session { node: Some(node), .. } if *node == me => return None,
            Who::Session { client_id, node: Some(node) } => (client_id, Place::Member(node.clone())),
            Who::Session { client_id, node: None } => (client_id, Place::Here),
        };
        if self.roster.get(client_id).is_some_and(|known| self.is_own(&known, epoch)) {
            return None;
        }
        let (subscriber, other) = self.roster.elsewhere(client_id, place);
        if let Some(other) = other {
            self.forget(&other);
        }
        Some(subscriber)
    }
}

/// Remembers a key.
fn note(found: &mut Vec<bool>, Key(key): Key) {
    let at = key as usize;
    found.resize(found.len().max(at + 1), false);
    found[at] = true;
}

fn is_noted(found: &[bool], Key(key): Key) -> bool {
    found.get(key as usize).is_some_and(|noted| *noted)
}

fn want(member: &Member, qos: QoS) -> Want {
    // What is granted QoS 0 is in no queue.
    if member.subscriber.is_durable() && qos > QoS::AtMostOnce { Want::Durable } else { Want::Live(qos) }
}
