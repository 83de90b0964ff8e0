//! Wills and Session expiries whose time has come.

use std::sync::Arc;

use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::store::{Due, Lease, StoreError};
use crate::time::{Span, Time};

/// Items taken from the Store at a time.
const DUE_BATCH: usize = 256;

/// Messages of a share group that an expired Session hands over at a time.
const HAND_OVER_BATCH: usize = 256;

/// How long the reaper rests after the Store failed it.
const REST: Span = Span::seconds(1);

/// In a cluster, after this time at the latest it looks whether another node, which has gone since, left something that is due.
const ROUND: Span = Span::seconds(5);

/// Runs until the node ends.
pub async fn run(broker: Arc<Broker>) {
    let mut failed = false;
    loop {
        let now = broker.clock.now();
        let round = broker.store.is_shared().then(|| now + ROUND);
        let paid = broker.pay(now).await;
        let reaped = broker.reap(now).await.and_then(|next| paid.map(|()| next));
        let next = match &reaped {
            Ok(next) => next.iter().copied().chain(round).min(),
            Err(error) => {
                if !failed {
                    tracing::warn!(?error, "wills and expiries wait for the Store");
                }
                Some(now + REST)
            }
        };
        failed = reaped.is_err();
        let changed = broker.due.notified();
        match next {
            Some(next) => {
                let _ = tokio::time::timeout_at(broker.clock.instant(next), changed).await;
            }
            None => changed.await,
        }
    }
}

impl Broker {
    /// Does what is due and says when to come again.
    async fn reap(&self, now: Time) -> Result<Option<Time>, StoreError> {
        loop {
            let due = self.store.due(now, DUE_BATCH).await?;
            if due.is_empty() {
                return self.store.next_due().await;
            }
            for item in due {
                match item {
                    Due::Will { lease, will } => {
                        self.publish_will(will, now).await?;
                        self.store.will_done(&lease).await?;
                    }
                    Due::Expired { lease, will, .. } => {
                        if let Some(will) = will {
                            self.publish_will(will, now).await?;
                            self.store.will_done(&lease).await?;
                        }
                        self.expire(&lease, now).await?;
                    }
                }
            }
        }
    }

    async fn expire(&self, lease: &Lease, now: Time) -> Result<(), StoreError> {
        let shared = self.unacknowledged_shared(lease, now).await?;
        // Looked up before: once it is purged the Client may come back to a Session that is new, and that one must stay.
        let subscriber = self.roster.get(&lease.client_id);
        if !self.store.purge(lease).await? {
            return Ok(()); // The Client came back meanwhile.
        }
        Metrics::add(&self.metrics.sessions_expired, 1);
        // In a cluster the log of routes tells it, in its order: the Client may be back on another node by now.
        if let Some(subscriber) = subscriber.filter(|_| !self.store.is_shared()) {
            self.forget(&subscriber);
        }
        self.tell_ended(&lease.client_id, None, lease.epoch).await?;
        for (message, group) in shared {
            self.hand_over(message.message().clone(), &group, now).await?;
        }
        Ok(())
    }

    /// Messages of share groups in the queue of a Session that ends.
    async fn unacknowledged_shared(
        &self,
        lease: &Lease,
        now: Time,
    ) -> Result<Vec<(crate::message::InRun, Arc<crate::subscription::ShareGroup>)>, StoreError> {
        let (mut after, mut shared) = (0, Vec::new());
        loop {
            let page = self.store.read(lease, after, HAND_OVER_BATCH, now).await?;
            let Some(last) = page.last() else { return Ok(shared) };
            after = last.sequence;
            shared.extend(page.into_iter().filter_map(|stored| stored.grant.group.map(|group| (stored.message, group))));
        }
    }
}
