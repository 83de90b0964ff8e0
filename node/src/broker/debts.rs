//! What this node owes because the Store did not answer: Sessions that it could not give back, wills that it could not publish. The reaper
//! pays when the Store answers again. A node that dies before leaves its Sessions to those who clean up after it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::Broker;
use crate::fault;
use crate::packet::connect::ClientId;
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
    Close { lease: Lease, close: Close, lives: Lives, will: Option<Box<Remembered>> },
    /// The other nodes are to be told that it was.
    Depart { lease: Lease, lives: Lives, ended: bool },
    /// The will of this lease is to be published, unless somebody else has done so.
    Will { of: Lease, will: Box<Remembered> },
    /// A will that the Store has lost.
    LostWill(Will),
    /// What is pending of a Client is to be handed out.
    Finish(ClientId),
    /// A Session may have been opened for a connection that was refused.
    Disown { client_id: ClientId, expiry: Option<Span> },
}

/// A will, in case that the Store loses it.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) will: Will,
    /// Of which truth it was ([`Cluster::truth`](crate::store::redis::cluster::Cluster::truth)).
    pub(super) truth: Option<u64>,
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
            Debt::Will { of, will } => match self.store.owed_will(of).await? {
                Some(will) => self.publish_owed(of, will, now).await,
                None if self.is_forgotten(will.truth).await? => self.publish_will(will.will.clone(), now).await,
                None => Ok(()), // somebody has published it
            },
            Debt::LostWill(will) => self.publish_will(will.clone(), now).await,
            Debt::Finish(client_id) => self.finish_all(client_id, now).await,
            Debt::Disown { client_id, expiry } => self.disown(client_id, *expiry, now).await,
            Debt::Close { lease, close, lives, will } => {
                let mut closed = self.store.close(lease, close.clone(), now).await?;
                let mut lost = None;
                if !closed.was_owner {
                    let epoch = self.store.epochs(std::slice::from_ref(&lease.client_id)).await?.pop().flatten();
                    // Perhaps it was given back at the first attempt.
                    closed.due_will = self.store.owed_will(lease).await?;
                    if let Some(will) = will.as_ref().filter(|_| closed.due_will.is_none())
                        && self.is_forgotten(will.truth).await?
                    {
                        lost = Some(Debt::LostWill(will.will.clone()));
                    }
                    closed.ended = epoch.is_none();
                }
                self.publish_last_will(lease.clone(), closed.due_will, now).await;
                lost.into_iter().for_each(|lost| self.owe(lost));
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
    pub(super) async fn publish_last_will(&self, of: Lease, will: Option<Will>, now: Time) {
        let Some(will) = will else { return };
        let remembered = Box::new(Remembered { will: will.clone(), truth: self.truth() });
        if let Err(error) = self.publish_owed(&of, will, now).await {
            tracing::warn!(?error, "a will waits for the Store");
            self.owe(Debt::Will { of, will: remembered });
        }
    }

    /// Of which truth what is read now is; a Store of one process has only one, and one that is not joined none.
    pub(super) fn truth(&self) -> Option<u64> {
        self.store.cluster().map(|cluster| cluster.truth())
    }

    /// Whether the Store has forgotten all that was of this truth, be it noticed already or not.
    pub(super) async fn is_forgotten(&self, truth: Option<u64>) -> Result<bool, StoreError> {
        match (self.cluster()?, truth) {
            (Some(cluster), Some(truth)) => Ok(!cluster.still_holds(truth).await?),
            _ => Ok(false),
        }
    }

    async fn publish_owed(&self, of: &Lease, will: Will, now: Time) -> Result<(), StoreError> {
        self.publish_will(will, now).await?;
        fault::point("will.published");
        self.store.will_done(of).await
    }

    /// Gives back what this node owns of a Client that has no connection here: it was opened, and the answer was lost.
    async fn disown(&self, client_id: &ClientId, expiry: Option<Span>, now: Time) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        let Some(lease) = self.store.owned_by(client_id, cluster.node()).await? else { return Ok(()) };
        if self.roster.is_opening(client_id) {
            // It will own the Session under another epoch, and this one is not of anybody then.
            self.owe(Debt::Disown { client_id: client_id.clone(), expiry });
            return Ok(());
        }
        if self.roster.get(client_id).is_some_and(|known| known.mailbox.is_online_since(lease.epoch)) {
            return Ok(());
        }
        // Nobody was told CONNACK, so nobody's will is published.
        let closed = self.store.close(&lease, Close { keep_will: false, will_waits: Span(0), expiry, sent: 0 }, now).await?;
        let lives = if expiry == Some(Span(0)) { Lives::WithConnection { shares: false } } else { Lives::On };
        self.depart(lease, lives, closed.ended).await;
        Ok(())
    }
}
