//! What every connection of this node shares: who is here, who subscribes to what, and the way of a message to all of them.

pub mod commit;
pub mod inbox;
pub mod mailbox;
pub mod reaper;
pub mod replica;
pub mod roster;
pub mod routes;
pub mod share;
pub mod sys;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::hook::Guard;
use crate::message::{InRun, Message, Run};
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::session::outbound::Delivery;
use crate::session::settings::Settings;
use crate::session::state::{State, Will};
use crate::session::{Fault, Session};
use crate::store::{Close, Lease, Open, Store, StoreError};
use crate::subscription::{ShareGroup, Subscription};
use crate::time::{Span, Time};
use crate::topic::filter::TopicFilter;

use mailbox::Bounds;
use roster::{Roster, Subscriber};
use routes::{RouteCache, Table};

/// How long a connection that is taken over may take to leave by itself.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Broker {
    pub settings: Arc<Settings>,
    pub guard: Arc<dyn Guard>,
    pub metrics: Metrics,
    pub clock: Clock,
    store: Store,
    table: Table,
    roster: Roster,
    cursors: share::Cursors,
    interest: replica::Interest,
    mailbox: Bounds,
    subscriptions_per_client_max: usize,
    /// Wakes the reaper when something may be due earlier than it thought.
    due: Notify,
}

/// The bounds of one node that are no matter of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub mailbox: Bounds,
    pub subscriptions_per_client_max: usize,
}

/// A connection in its Session: what it needs to publish, and to give the Session back.
#[derive(Debug)]
pub struct Member {
    pub subscriber: Arc<Subscriber>,
    pub lease: Lease,
    cache: RouteCache,
    /// What the other nodes of a cluster were told that this Session wants.
    wants: BTreeMap<TopicFilter, replica::Want>,
}

impl Broker {
    pub fn new(settings: Arc<Settings>, guard: Arc<dyn Guard>, store: Store, limits: Limits, clock: Clock) -> Broker {
        Broker {
            settings,
            guard,
            metrics: Metrics::default(),
            clock,
            store,
            table: Table::default(),
            roster: Roster::default(),
            cursors: share::Cursors::default(),
            interest: replica::Interest::default(),
            mailbox: limits.mailbox,
            subscriptions_per_client_max: limits.subscriptions_per_client_max,
            due: Notify::new(),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn subscriptions(&self) -> usize {
        self.table.subscriptions()
    }

    /// Opens the Session of a connection: one atomic step in the Store, then this node's roster. No member: a later connection was faster
    /// and has taken the Session over.
    pub async fn open(&self, client_id: &ClientId, open: Open, now: Time) -> Result<(Option<Member>, Option<State>), StoreError> {
        self.ask_to_leave(client_id).await;
        let lasting = open.expiry != Some(Span(0));
        if let Some(cluster) = self.store.cluster() {
            cluster.add_session(client_id).await?;
            cluster.listen(client_id).await?;
        }
        let opening = self.roster.open(client_id);
        let opened = self.store.open(client_id, open, now).await?;
        let resumed = opened.state.is_some();
        let entered = self.roster.enter(client_id, opened.epoch, resumed, lasting || resumed);
        entered.iter().for_each(|entered| entered.subscriber.mailbox.kick_before(opening.heard()));
        drop(opening);
        if let Some(ended) = entered.as_ref().and_then(|entered| entered.ended.as_ref()) {
            self.forget(ended);
        }
        if let (Some(entered), Some(state)) = (&entered, &opened.state) {
            self.restore(&entered.subscriber, &state.subscriptions);
        }
        // The Session is open: whatever becomes of the will of the one before, it must have its connection, which will close it.
        if let Some(will) = opened.due_will
            && let Err(error) = self.publish_will(will, now).await
        {
            tracing::warn!(%client_id, ?error, "a will could not be published");
        }
        let lease = Lease { client_id: client_id.clone(), epoch: opened.epoch };
        if let Some(cluster) = self.store.cluster().filter(|_| opened.was_owned) {
            cluster.kick(client_id, opened.epoch).await?;
        }
        if !opened.ended.is_empty() {
            self.tell_ended(client_id, None, opened.epoch).await?;
        }
        if let (Some(cluster), None) = (self.store.cluster(), &entered) {
            cluster.unlisten(client_id).await;
        }
        let (cache, wants) = Default::default();
        let mut member = entered.map(|entered| Member { subscriber: entered.subscriber, lease, cache, wants });
        if let (Some(member), Some(state)) = (&mut member, &opened.state) {
            self.tell_resumed(member, &state.subscriptions).await?;
        }
        Ok((member, opened.state))
    }

    /// Lets a connection of the same Client on this node handle what it has received, which may be a DISCONNECT, and leave by itself.
    /// One that cannot do so in time is taken over as one on another node would be.
    async fn ask_to_leave(&self, client_id: &ClientId) {
        let Some(subscriber) = self.roster.get(client_id).filter(|subscriber| subscriber.mailbox.is_online()) else { return };
        subscriber.mailbox.kick(mailbox::TAKEN_OVER);
        let left = std::future::poll_fn(|context| subscriber.mailbox.poll_left(context));
        let _ = tokio::time::timeout(LEAVE_PATIENCE, left).await;
    }

    /// Gives the Session back. What it owes to others (its will, messages of share groups) goes out.
    /// `mail` is what the connection had taken from its mailbox and not handed to the Session.
    pub async fn close(
        &self,
        member: &mut Member,
        session: &mut Session,
        mut mail: VecDeque<Delivery>,
        now: Time,
    ) -> Result<(), StoreError> {
        let close = Close { keep_will: session.keep_will(), expiry: session.expiry(), sent: session.sent() };
        let closed = self.store.close(&member.lease, close, now).await;
        mail.extend(member.subscriber.mailbox.detach(member.lease.epoch));
        self.leave_cluster(member, session.is_durable(), closed.as_ref().is_ok_and(|closed| closed.ended)).await?;
        // A Session that is not durable ends here, even when it was taken over or the Store does not answer.
        if !session.is_durable() || closed.as_ref().is_ok_and(|closed| closed.ended) {
            self.forget(&member.subscriber);
            for (message, group) in session.take_shared().into_iter().chain(mail.iter().flat_map(shared)) {
                self.hand_over(message.message().clone(), &group, now).await?;
            }
        }
        if let Some(will) = closed?.due_will {
            self.publish_will(will, now).await?;
        }
        self.due.notify_one();
        Ok(())
    }

    /// The other nodes are told that this connection is gone, and its Session if it has ended.
    async fn leave_cluster(&self, member: &mut Member, durable: bool, ended: bool) -> Result<(), StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(()) };
        let client_id = member.lease.client_id.clone();
        self.tell_left(member).await?;
        let shares = member.subscriber.selectors().iter().flatten().any(|selector| selector.share.is_some());
        if (durable && ended) || (!durable && shares) {
            self.tell_ended(&client_id, Some(cluster.node()).filter(|_| !durable), member.lease.epoch).await?;
        }
        cluster.unlisten(&client_id).await;
        if !self.roster.get(&client_id).is_some_and(|subscriber| subscriber.mailbox.is_online()) {
            cluster.remove_session(&client_id).await?;
        }
        Ok(())
    }

    /// Publishes a message of the Server itself, or one whose publisher is gone.
    pub async fn publish(&self, message: Message, now: Time) -> Result<(), StoreError> {
        let mut batch = commit::Batch::default();
        let run = Arc::new(Run::from(message));
        self.stage(&mut RouteCache::default(), None, &run, &mut batch, now).await?;
        self.flush(&mut batch, &mut [], now).await
    }

    /// A will that a full Store does not take is lost, for nobody is there to be told; to try for ever would hold up all others.
    async fn publish_will(&self, will: Will, now: Time) -> Result<(), StoreError> {
        let expires_at = will.expiry_s.map(|seconds| now + Span::seconds(seconds));
        match self.publish(Message { expires_at, ..will.message }, now).await {
            Err(StoreError::Full) => {
                Metrics::add(&self.metrics.messages_dropped_queue_full, 1);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Ends every connection, for the reason of this fault.
    pub fn kick_all(&self, fault: Fault) {
        for subscriber in self.roster.online() {
            subscriber.mailbox.kick(fault);
        }
    }

    /// A Session that this node did not know brings its subscriptions.
    fn restore(&self, subscriber: &Subscriber, subscriptions: &[Subscription]) {
        for subscription in subscriptions {
            let known = subscriber.selectors().as_ref().is_some_and(|selectors| selectors.contains(&subscription.selector));
            if !known {
                self.table.subscribe(subscriber, subscription);
            }
        }
    }

    fn forget(&self, subscriber: &Arc<Subscriber>) {
        self.table.forget(subscriber);
        self.roster.remove(subscriber);
    }
}

/// The messages of a delivery that came through a share group and are more than QoS 0.
fn shared(delivery: &Delivery) -> impl Iterator<Item = (InRun, Arc<ShareGroup>)> + '_ {
    let group = delivery.grant.group.clone().filter(|_| delivery.grant.qos > QoS::AtMostOnce);
    let messages = delivery.run.messages().iter().enumerate().filter(|(_, message)| message.qos > QoS::AtMostOnce);
    messages.filter_map(move |(index, _)| Some((InRun { run: delivery.run.clone(), index: index as u32 }, group.clone()?)))
}
