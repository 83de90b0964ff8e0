//! What this node owes because the Store did not answer: Sessions that it could not give back, wills that it could not publish. The reaper
//! pays when the Store answers again. A node that dies before leaves its Sessions to those who clean up after it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::Broker;
use crate::session::state::Will;
use crate::store::{Close, Lease, StoreError};
use crate::time::{Span, Time};

/// Debts that are remembered; beyond it they are said and forgotten. A Session is then given back when its Client returns or the node ends.
const DEBTS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Debts(Mutex<VecDeque<Debt>>);

#[derive(Debug)]
pub(super) enum Debt {
    /// A Session is to be given back, unless it was and only the answer is lost.
    Close {
        lease: Lease,
        close: Close,
        lives: Lives,
        will: Option<Box<Will>>,
    },
    /// The other nodes are to be told that it was.
    Depart {
        lease: Lease,
        lives: Lives,
        ended: bool,
    },
    Will(Will),
}

/// How a Session that is given back stands in the routing table of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lives {
    /// It outlives its connection.
    On,
    /// It ends with its connection; in the table if it was a member of a share group.
    WithConnection { shares: bool },
}

impl Debts {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Debt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    pub(super) fn owe(&self, debt: Debt) {
        let mut debts = self.debts.lock();
        if debts.len() < DEBTS_MAX {
            debts.push_back(debt);
        } else {
            tracing::error!("too much is owed to the Store: a Session is not given back, or a will not published");
        }
        drop(debts);
        self.due.notify_one();
    }

    /// Pays what is owed, as far as the Store answers. What it refused comes last the next time, for others may fare better.
    pub(super) async fn pay(&self, now: Time) -> Result<(), StoreError> {
        let count = self.debts.lock().len();
        for _ in 0..count {
            let Some(debt) = self.debts.lock().pop_front() else { break };
            if let Err(error) = self.pay_one(&debt, now).await {
                self.debts.lock().push_back(debt);
                return Err(error);
            }
        }
        self.tell_untold().await
    }

    async fn pay_one(&self, debt: &Debt, now: Time) -> Result<(), StoreError> {
        match debt {
            Debt::Will(will) => self.publish_will(will.clone(), now).await,
            Debt::Close { lease, close, lives, will } => {
                let mut closed = self.store.close(lease, close.clone(), now).await?;
                if !closed.was_owner {
                    let epoch = self.store.epochs(std::slice::from_ref(&lease.client_id)).await?.pop().flatten();
                    // It is nobody's: it was given back at the first attempt. A delayed will of a Session that goes on is in the Store.
                    let is_nobodys = epoch.is_none_or(|epoch| epoch == lease.epoch);
                    let is_lost = |will: &&Will| is_nobodys && (will.delay == Span(0) || epoch.is_none());
                    closed.due_will = will.as_deref().filter(is_lost).cloned();
                    closed.ended = epoch.is_none();
                }
                self.publish_last_will(closed.due_will, now).await;
                self.depart(lease.clone(), *lives, closed.ended).await;
                Ok(())
            }
            Debt::Depart { lease, lives, ended } => self.tell_departed(lease, *lives, *ended).await,
        }
    }

    /// The other nodes are told that a connection is gone, and its Session if it has ended: now, or when Redis answers again.
    pub(super) async fn depart(&self, lease: Lease, lives: Lives, ended: bool) {
        if self.tell_departed(&lease, lives, ended).await.is_err() {
            self.owe(Debt::Depart { lease, lives, ended });
        }
    }

    async fn tell_departed(&self, lease: &Lease, lives: Lives, ended: bool) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        let Lease { client_id, epoch } = lease;
        let epoch = *epoch;
        match lives {
            Lives::On if ended => self.tell_ended(client_id, None, epoch).await?,
            Lives::WithConnection { shares: true } => self.tell_ended(client_id, Some(cluster.node()), epoch).await?,
            Lives::On | Lives::WithConnection { shares: false } => {}
        }
        if !self.roster.get(client_id).is_some_and(|subscriber| subscriber.mailbox.is_online()) {
            cluster.remove_session(client_id).await?;
        }
        Ok(())
    }

    /// Publishes a will, now or when the Store answers again.
    pub(super) async fn publish_last_will(&self, will: Option<Will>, now: Time) {
        let Some(will) = will else { return };
        if let Err(error) = self.publish_will(will.clone(), now).await {
            tracing::warn!(?error, "a will waits for the Store");
            self.owe(Debt::Will(will));
        }
    }
}
