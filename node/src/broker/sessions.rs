//! The Session of a connection at this node: how it is opened, and given back. The Store has the last word on both.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::debts::{Debt, Lives, Remembered};
use super::reconsider::LastWords;
use super::roster::Subscriber;
use super::{Broker, Member, mailbox, once};
use crate::fault;
use crate::hook::client::Client;
use crate::packet::connect::ClientId;
use crate::session::Session;
use crate::session::outbound::Delivery;
use crate::session::state::State;
use crate::store::redis::cluster::Cluster;
use crate::store::{Close, Lease, Open, Opened, StoreError};
use crate::subscription::Subscription;
use crate::time::{Span, Time};

/// How long a connection that is taken over may take to leave by itself.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

impl Broker {
    /// Opens the Session of a connection: one atomic step in the Store, then this node's roster. No member: a later connection was faster
    /// and has taken the Session over. `client_id` names the Session; it is another than the Client's own for a stream beside its first.
    pub async fn open(
        &self,
        client: &Arc<Client>,
        client_id: &ClientId,
        open: Open,
        now: Time,
    ) -> Result<(Option<Member>, Option<State>), StoreError> {
        self.promise().await?;
        self.ask_to_leave(client_id).await;
        let close = Close { keep_will: false, will_waits: Span(0), expiry: open.expiry, sent: 0 };
        let lasting = open.expiry != Some(Span(0));
        let last_words = open.will.as_ref().map(|will| Box::new(LastWords::of(&will.message)));
        let (will, truth) = (open.will.clone().filter(|_| self.store.is_shared()), self.truth());
        let will = will.map(|will| Box::new(Remembered { will, truth }));
        let cluster = self.cluster()?;
        if let Some(cluster) = &cluster {
            cluster.add_session(client_id).await?;
            cluster.listen(client_id).await?;
        }
        let opening = self.roster.open(client_id);
        let mut opened = match self.store.open(client_id, open, now).await {
            Ok(opened) => opened,
            Err(error) => {
                drop(opening);
                unlisten(cluster.as_ref(), client_id).await;
                match cluster {
                    Some(_) if error == StoreError::Unavailable => {
                        self.owe(Debt::Disown { client_id: client_id.clone(), expiry: close.expiry });
                    }
                    // It was not opened: what is listed of it would be memory that nobody gives back.
                    Some(cluster) if !self.roster.is_opening(client_id) && self.roster.get(client_id).is_none() => {
                        cluster.remove_session(client_id).await?;
                    }
                    _ => {}
                }
                return Err(error);
            }
        };
        let state = opened.state.take();
        let durable = lasting || state.is_some();
        let entered = self.roster.enter(client, client_id, opened.epoch, state.is_some(), durable);
        entered.iter().for_each(|entered| entered.subscriber.mailbox.kick_before(opening.heard()));
        drop(opening);
        if let Some(ended) = entered.as_ref().and_then(|entered| entered.ended.as_ref()) {
            self.forget(ended);
        }
        let mut is_new = false;
        if let (Some(entered), Some(state)) = (&entered, &state) {
            is_new = self.restore(&entered.subscriber, &state.subscriptions);
            // The rules may have changed while it was away.
            entered.subscriber.mailbox.reconsider();
        }
        fault::point("open.opened");
        let before = Lease { client_id: client_id.clone(), epoch: opened.before.unwrap_or_default() };
        self.publish_last_will(before, opened.due_will.take(), now).await;
        for (message, group) in std::mem::take(&mut opened.left) {
            self.hand_over(message.message().clone(), &group, now).await.unwrap_or_else(|error| self.note_not_handed_over(error));
        }
        let lease = Lease { client_id: client_id.clone(), epoch: opened.epoch };
        let Some(entered) = entered else {
            unlisten(cluster.as_ref(), client_id).await;
            self.depart(lease, Lives::On, !opened.ended.is_empty()).await;
            return Ok((None, state));
        };
        let client = client.clone();
        let (allowance, cache, wants) = Default::default();
        let unsettled = once::Unsettled::new(opened.epoch);
        let mut member = Member { client, subscriber: entered.subscriber, lease, allowance, cache, wants, last_words, will, unsettled };
        let arrived = match self.finish(client_id, std::mem::take(&mut opened.pending), now).await {
            Ok(()) => self.arrive(&mut member, cluster, &opened, state.as_ref().map(|state| (state, is_new))).await,
            error => error,
        };
        if let Err(error) = arrived {
            // Nobody else would give it back.
            self.give_back(&mut member, durable, close, now).await;
            return Err(error);
        }
        Ok((Some(member), state))
    }

    /// The other nodes are told that a Session is here now.
    async fn arrive(
        &self,
        member: &mut Member,
        cluster: Option<Cluster>,
        opened: &Opened,
        resumed: Option<(&State, bool)>,
    ) -> Result<(), StoreError> {
        let Some(cluster) = cluster else { return Ok(()) };
        if opened.was_owned {
            cluster.kick(&member.lease.client_id, opened.epoch).await?;
        }
        if !opened.ended.is_empty() {
            self.tell_ended(&member.lease.client_id, None, opened.epoch).await?;
        }
        if let Some((state, is_new)) = resumed {
            self.tell_resumed(member, &state.subscriptions, is_new).await?;
        }
        // By the incarnation with which it began: what another one opens it has not listed.
        cluster.promise().await
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
    /// `mail` is what the connection had taken from its mailbox and not handed to the Session. `sent_away`: it is to go on at another node.
    pub async fn close(
        &self,
        member: &mut Member,
        session: &mut Session,
        mut mail: VecDeque<Delivery>,
        sent_away: bool,
        now: Time,
    ) -> Result<(), StoreError> {
        let will_waits = self.will_waits(sent_away);
        let close = Close { keep_will: session.keep_will(), will_waits, expiry: session.expiry(), sent: session.sent() };
        let (ended, left) = self.give_back(member, session.is_durable(), close, now).await;
        mail.extend(left);
        if ended {
            for (message, group) in session.take_shared().into_iter().chain(mail.iter().flat_map(Delivery::shared)) {
                Box::pin(self.hand_over(message.message().clone(), &group, now)).await?;
            }
        }
        Ok(())
    }

    /// Gives a Session back, now or when the Store answers again. Whether it has ended here, and what was left in its mailbox.
    pub(super) async fn give_back(&self, member: &mut Member, durable: bool, close: Close, now: Time) -> (bool, VecDeque<Delivery>) {
        let shares = self.table.count_of(&member.subscriber).shared > 0;
        let lives = if durable { Lives::On } else { Lives::WithConnection { shares } };
        let lease = member.lease.clone();
        let close = Close { keep_will: close.keep_will && member.last_words.is_some(), ..close };
        self.settle(member, now).await;
        let closed = self.store.close(&lease, close.clone(), now).await;
        fault::point("close.closed");
        let left = member.subscriber.mailbox.detach(lease.epoch);
        self.count_left(member);
        // A Session that is not durable ends here, even when it was taken over or the Store does not answer.
        let ended = !durable || closed.as_ref().is_ok_and(|closed| closed.ended);
        if ended {
            self.forget(&member.subscriber);
        }
        unlisten(self.store.cluster().as_ref(), &lease.client_id).await;
        match closed {
            Ok(closed) => {
                let told = self.tell_untold().await;
                told.unwrap_or_else(|error| tracing::debug!(?error, "the reaper tells what is not wanted here any more"));
                if durable && !closed.was_owner {
                    self.ring_on(&lease.client_id).await;
                }
                if let Some(will) = member.will.take().filter(|_| !closed.was_owner && close.keep_will) {
                    let is_lost = member.subscriber.mailbox.is_lost(lease.epoch);
                    match if is_lost { Ok(true) } else { self.is_forgotten(will.truth).await } {
                        Ok(true) => self.owe(Debt::LostWill(will.will)), // nobody else will ever know of it
                        Ok(false) => {}                                  // whoever has the Session by now was given it
                        Err(_) => self.owe(Debt::Close { lease: lease.clone(), close: close.clone(), lives, will: Some(will) }),
                    }
                }
                self.depart(lease.clone(), lives, closed.ended).await;
                self.publish_last_will(lease, closed.due_will, now).await;
                self.due.notify_one();
            }
            Err(error) => {
                tracing::warn!(client_id = %lease.client_id, ?error, "the Session is given back when the Store answers again");
                let will = member.will.take().filter(|_| close.keep_will);
                self.owe(Debt::Close { lease, close, lives, will });
            }
        }
        if member.unsettled.is_unsure() {
            self.owe(Debt::Finish(member.lease.client_id.clone()));
        }
        (ended, left)
    }

    /// Until a connection that was taken over had left its mailbox here, it was rung in place of the new one.
    async fn ring_on(&self, client_id: &ClientId) {
        let Some(cluster) = self.store.cluster() else { return };
        if let Err(error) = cluster.bell(vec![client_id.clone()]).await {
            tracing::debug!(%client_id, ?error, "a bell was not passed on");
        }
    }

    /// A Session that this node did not know brings its subscriptions. What it was told by other nodes may be old. True: it did not know all.
    fn restore(&self, subscriber: &Subscriber, subscriptions: &[Subscription]) -> bool {
        let mut is_new = false;
        let is_told = self.store.is_shared();
        for subscription in subscriptions {
            let known = self.table.has(subscriber, &subscription.selector);
            if !known || is_told {
                self.table.subscribe(subscriber, subscription);
            }
            is_new |= !known;
        }
        if is_told {
            self.table.keep_only(subscriber, subscriptions);
        }
        is_new
    }

    pub(super) fn forget(&self, subscriber: &Arc<Subscriber>) {
        if self.table.forget(subscriber) {
            self.roster.remove(subscriber);
        }
    }
}

async fn unlisten(cluster: Option<&Cluster>, client_id: &ClientId) {
    if let Some(cluster) = cluster {
        cluster.unlisten(client_id).await;
    }
}
