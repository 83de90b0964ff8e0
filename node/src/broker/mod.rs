//! What every connection of this node shares: who is here, who subscribes to what, and the way of a message to all of them.

pub mod commit;
pub mod mailbox;
pub mod reaper;
pub mod roster;
pub mod routes;
pub mod share;
pub mod sys;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::hook::Guard;
use crate::message::{Message, Run};
use crate::metrics::Metrics;
use crate::packet::connect::ClientId;
use crate::session::settings::Settings;
use crate::session::state::{State, Will};
use crate::session::{Fault, Session};
use crate::store::{Close, Lease, Open, Store, StoreError};
use crate::time::{Span, Time};

use mailbox::Bounds;
use roster::{Roster, Subscriber};
use routes::{RouteCache, Table};

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
        let lasting = open.expiry != Some(Span(0));
        let opened = self.store.open(client_id, open, now).await?;
        let resumed = opened.state.is_some();
        let entered = self.roster.enter(client_id, opened.epoch, resumed, lasting || resumed);
        if let Some(ended) = entered.as_ref().and_then(|entered| entered.ended.as_ref()) {
            self.forget(ended);
        }
        // The Session is open: whatever becomes of the will of the one before, it must have its connection, which will close it.
        if let Some(will) = opened.due_will
            && let Err(error) = self.publish_will(will, now).await
        {
            tracing::warn!(%client_id, ?error, "a will could not be published");
        }
        let lease = Lease { client_id: client_id.clone(), epoch: opened.epoch };
        let member = entered.map(|entered| Member { subscriber: entered.subscriber, lease, cache: RouteCache::default() });
        Ok((member, opened.state))
    }

    /// Gives the Session back. What it owes to others (its will, messages of share groups) goes out.
    pub async fn close(&self, member: &Member, session: &mut Session, now: Time) -> Result<(), StoreError> {
        let close = Close { keep_will: session.keep_will(), expiry: session.expiry(), sent: session.sent() };
        let closed = self.store.close(&member.lease, close, now).await;
        member.subscriber.mailbox.detach(member.lease.epoch);
        // A Session that is not durable ends here, even when it was taken over or the Store does not answer.
        if !session.is_durable() || closed.as_ref().is_ok_and(|closed| closed.ended) {
            self.forget(&member.subscriber);
            for (message, group) in session.take_shared() {
                self.hand_over(message.message().clone(), &group, now).await?;
            }
        }
        if let Some(will) = closed?.due_will {
            self.publish_will(will, now).await?;
        }
        self.due.notify_one();
        Ok(())
    }

    /// Publishes a message of the Server itself, or one whose publisher is gone.
    pub async fn publish(&self, message: Message, now: Time) -> Result<(), StoreError> {
        let mut batch = commit::Batch::default();
        let run = Arc::new(Run::from(message));
        self.stage(&mut RouteCache::default(), None, &run, &mut batch, now).await?;
        self.flush(&mut batch, &mut Vec::new(), now).await
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

    fn forget(&self, subscriber: &Arc<Subscriber>) {
        self.table.forget(subscriber);
        self.roster.remove(subscriber);
    }
}
