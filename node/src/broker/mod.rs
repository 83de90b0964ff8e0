//! What every connection of this node shares: who is here, who subscribes to what, and the way of a message to all of them.

pub mod addresses;
pub mod allowance;
mod batch;
pub mod census;
pub mod commit;
mod conduct;
mod debts;
pub mod fates;
pub mod give;
pub mod health;
pub mod inbox;
mod interest;
pub mod life;
pub mod mailbox;
pub mod membership;
mod once;
pub mod order;
mod outbox;
pub mod outward;
pub mod presence;
pub mod rate;
pub mod reaper;
pub mod reconsider;
pub mod replica;
mod requests;
pub mod roster;
pub mod routes;
mod screen;
mod sessions;
pub mod share;
pub mod sys;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::fate::Step;
use crate::hook::Guard;
use crate::hook::client::Client;
use crate::hook::hooks::Hooks;
use crate::hook::request::Requests;
use crate::message::{Message, Run};
use crate::metrics::Metrics;
use crate::session::Fault;
use crate::session::settings::Settings;
use crate::session::state::Will;
use crate::store::redis::cluster::Cluster;
use crate::store::{Lease, Store, StoreError};
use crate::subscription::Selector;
use crate::time::{Span, Time};
use crate::topic::filter::TopicFilter;

use allowance::Allowance;
use debts::{Debts, Remembered};
use mailbox::Bounds;
use reconsider::LastWords;
use roster::{Roster, Subscriber};
use routes::{RouteCache, Table};

#[derive(Debug)]
pub struct Broker {
    pub settings: Arc<Settings>,
    pub guard: Arc<dyn Guard>,
    /// Of this node, under `$SYS/brokers/`.
    pub name: Arc<str>,
    /// Whether `$SYS` tells who comes and goes.
    pub tells_of_clients: bool,
    /// What the embedding program wants to be asked.
    pub hooks: Hooks,
    pub metrics: Metrics,
    /// Who wants to know what becomes of messages.
    pub fates: fates::Fates,
    pub clock: Arc<Clock>,
    store: Store,
    table: Table,
    roster: Roster,
    cursors: share::Cursors,
    interest: interest::Interest,
    debts: Debts,
    seen: once::Seen,
    mailbox: Bounds,
    subscriptions_per_client_max: usize,
    /// Of the first packet of a connection, which comes before anything is known of the Client.
    pub connect_bytes_max: u32,
    pub rates: Rates,
    /// Who is connected from where.
    pub addresses: Arc<addresses::Addresses>,
    /// Who answers requests, if anybody does; set once, when the node is put together.
    pub requests: OnceLock<Arc<dyn Requests>>,
    /// What else is told of messages that are published here, if anybody is; set once, when the node is put together.
    pub outward: OnceLock<Arc<outward::Outward>>,
    conduct: conduct::Conduct,
    /// Wakes the reaper when something may be due earlier than it thought.
    due: Notify,
    pub life: life::Life,
}

/// How fast one Client may go; zero is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub messages_per_second_max: u32,
    pub bytes_per_second_max: u64,
    pub subscriptions_per_minute_max: u32,
    /// Messages over the rate are dropped or refused, not delayed.
    pub drops: bool,
}

impl Rates {
    pub fn are_bounded(&self) -> bool {
        self.messages_per_second_max > 0 || self.bytes_per_second_max > 0 || self.subscriptions_per_minute_max > 0
    }
}

/// The bounds of one node that are no matter of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rates: Rates,
    pub addresses: addresses::Limits,
    pub mailbox: Bounds,
    pub subscriptions_per_client_max: usize,
    pub connect_bytes_max: u32,
    pub drain: life::Settings,
}

/// A connection in its Session: what it needs to publish, and to give the Session back.
#[derive(Debug)]
pub struct Member {
    /// Who it is, for those who ask.
    pub client: Arc<Client>,
    pub subscriber: Arc<Subscriber>,
    pub lease: Lease,
    cache: RouteCache,
    /// What it shares with the other streams of its connection; `None`: there are none, and nothing is bounded by time.
    pub allowance: Option<Arc<Allowance>>,
    /// What the other nodes of a cluster were told that this Session wants.
    wants: BTreeMap<TopicFilter, interest::Want>,
    /// Of its will, if it has one.
    last_words: Option<Box<LastWords>>,
    will: Option<Box<Remembered>>,
    unsettled: once::Unsettled,
}

impl Broker {
    pub fn new(settings: Arc<Settings>, guard: Arc<dyn Guard>, store: Store, limits: Limits, clock: Clock) -> Broker {
        Broker {
            settings,
            guard,
            name: "node".into(),
            tells_of_clients: false,
            hooks: Hooks::default(),
            metrics: Metrics::default(),
            fates: fates::Fates::default(),
            clock: Arc::new(clock),
            store,
            table: Table::default(),
            roster: Roster::default(),
            cursors: share::Cursors::default(),
            interest: interest::Interest::default(),
            debts: Debts::default(),
            seen: once::Seen::default(),
            mailbox: limits.mailbox,
            subscriptions_per_client_max: limits.subscriptions_per_client_max,
            connect_bytes_max: limits.connect_bytes_max,
            rates: limits.rates,
            addresses: Arc::new(addresses::Addresses::new(limits.addresses)),
            requests: OnceLock::new(),
            outward: OnceLock::new(),
            conduct: conduct::Conduct::default(),
            due: Notify::new(),
            life: life::Life::new(limits.drain),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn subscriptions(&self) -> usize {
        let count = self.table.count();
        count.ordinary + count.shared
    }

    /// Whether this Session has a subscription with this selector.
    pub fn is_subscribed(&self, member: &Member, selector: &Selector) -> bool {
        self.table.has(&member.subscriber, selector)
    }

    /// What joins this node with others; `None` where it has nobody to join. Fails while it is not joined.
    pub(super) fn cluster(&self) -> Result<Option<Cluster>, StoreError> {
        match self.store.cluster() {
            None if self.store.is_shared() => Err(StoreError::Unavailable),
            cluster => Ok(cluster),
        }
    }

    /// Publishes a message of the Server itself, or one whose publisher is gone.
    pub async fn publish(&self, message: Message, now: Time) -> Result<(), StoreError> {
        let mut batch = batch::Batch::default();
        let run = Arc::new(Run::from(message));
        self.note_run(&run, None, None, &Step::Received);
        self.stage(&mut RouteCache::default(), None, &run, &mut batch, now).await?;
        self.flush(&mut batch, &mut [], now).await
    }

    /// Nobody waits for the outcome: what a share group should have had is said to be lost.
    fn note_not_handed_over(&self, error: StoreError) {
        tracing::warn!(?error, "a message of a share group was not handed over");
        Metrics::add(&self.metrics.messages_dropped_slow, 1);
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
}
