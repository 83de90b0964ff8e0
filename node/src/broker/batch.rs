//! What several commands want of the Store and of mailboxes, asked once for all of them: stored first, then handed out.

use std::pin::pin;
use std::sync::Arc;

use tracing::Instrument;

use crate::broker::mailbox::Pushed;
use crate::broker::outbox::Outbox;
use crate::broker::roster::{Place, Subscriber};
use crate::broker::{Broker, once};
use crate::fault;
use crate::hook::request::{Asked, Refusal};
use crate::message::{Message, Number, Run};
use crate::metrics::{Metrics, SPANS};
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::session::outbound::Delivery;
use crate::session::{Fault, Outcome};
use crate::store::{StoreError, Write, Written};
use crate::subscription::{Grant, ShareGroup};
use crate::time::Time;

/// What several commands want of the Store and of mailboxes, so that each is asked once for all of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    writes: Vec<Write>,
    /// The command that each write belongs to.
    origins: Vec<usize>,
    /// What the Client is on record with, in its order: written when everything else is done, for a message on record is not routed again.
    pub(super) records: Vec<(Write, usize)>,
    /// What is kept as pending before anybody gets anything.
    pub(super) pending: Vec<once::Kept>,
    /// Whose turn it was for messages that have a number.
    pub(super) turns: Vec<(Number, Arc<ShareGroup>, ClientId)>,
    pub(super) deliveries: Vec<(Arc<Subscriber>, Delivery)>,
    rings: Vec<Arc<Subscriber>>,
    /// What other nodes are to have.
    pub(super) outbox: Outbox,
    /// What somebody else than the subscribers answers, each with its command.
    pub(super) asked: Vec<(usize, Asked)>,
    /// What goes out of the cluster, each with its command.
    pub(super) outward: Vec<(usize, Arc<Run>)>,
    /// Whose messages they are, for those who want to know what becomes of them.
    pub(super) publisher: Option<ClientId>,
    /// Whoever has so much mail that the publisher should wait a moment.
    pub(super) crowded: Option<Arc<Subscriber>>,
}

impl Batch {
    pub(super) fn write(&mut self, write: Write, origin: usize) {
        self.writes.push(write);
        self.origins.push(origin);
    }

    /// How much there is that outlives this node.
    pub(super) fn reach(&self) -> usize {
        self.writes.len() + self.outbox.len()
    }

    pub(super) fn note_turn(&mut self, number: Number, group: &Arc<ShareGroup>, member: &ClientId) {
        self.turns.push((number, group.clone(), member.clone()));
    }

    pub(super) fn deliver(&mut self, to: &Arc<Subscriber>, run: &Arc<Run>, grant: &Grant, origin: usize) {
        if to.place != Place::Here {
            return self.outbox.add(to, run, grant, false, None, origin);
        }
        let highest = run.highest_qos().min(grant.qos);
        if to.is_durable() && highest > QoS::AtMostOnce {
            self.write(Write::Append { to: to.client_id.clone(), run: run.clone(), grant: grant.clone() }, origin);
            self.rings.push(to.clone());
            if run.messages().iter().all(|message| message.qos > QoS::AtMostOnce) {
                return;
            }
        }
        self.deliveries.push((to.clone(), Delivery { run: run.clone(), grant: grant.clone() }));
    }
}

impl Broker {
    /// One write to the Store for the whole batch, then the mailboxes.
    ///
    /// A QoS 2 message that leaves this node is pending in the Store before: whoever goes on with it when this node dies hands it to those who
    /// have not had it (`once.rs`).
    pub(super) async fn flush(&self, batch: &mut Batch, outcomes: &mut [Outcome], now: Time) -> Result<(), StoreError> {
        if !batch.pending.is_empty() {
            self.keep_pending(batch, now).await?;
        }
        self.keep(batch, outcomes, now).await?;
        fault::point("publish.stored");
        let mut left = Vec::new();
        let sent = self.tell_others(batch, &mut left, outcomes).await;
        left.extend(self.push_all(batch));
        fault::point("publish.pushed");
        for subscriber in batch.rings.drain(..) {
            subscriber.mailbox.ring();
        }
        sent?;
        for (message, group) in left {
            // It comes to an end: who has left, or is about to be ended for want of room, is not chosen again.
            Box::pin(self.hand_over(message, &group, now)).await?;
        }
        if !batch.records.is_empty() {
            let (records, origins) = std::mem::take(&mut batch.records).into_iter().unzip();
            self.write(records, origins, outcomes, None, now).await?;
        }
        self.send_outward(batch, outcomes);
        Ok(())
    }

    /// What is to be in the Store, or with whoever answers requests, before anybody has it.
    async fn keep(&self, batch: &mut Batch, outcomes: &mut [Outcome], now: Time) -> Result<(), StoreError> {
        if batch.writes.is_empty() && batch.asked.is_empty() {
            return Ok(());
        }
        let (writes, origins) = (std::mem::take(&mut batch.writes), std::mem::take(&mut batch.origins));
        let asked = std::mem::take(&mut batch.asked);
        let write = self.write(writes, origins, outcomes, batch.publisher.as_ref(), now);
        let taken = match asked.is_empty() {
            true => write.await.map(|()| Vec::new())?,
            false => {
                let (taken, written) = tokio::join!(self.take_requests(asked, now), write);
                written.map(|()| taken)?
            }
        };
        for (origin, taken) in taken {
            match taken {
                Ok(()) => {}
                Err(Refusal::Because(reason)) => outcomes[origin] = Outcome::Refused(reason),
                Err(Refusal::Unavailable) => return Err(StoreError::Unavailable),
            }
        }
        Ok(())
    }

    /// What other nodes are to have, and to be told.
    async fn tell_others(
        &self,
        batch: &mut Batch,
        left: &mut Vec<(Message, Arc<ShareGroup>)>,
        outcomes: &mut [Outcome],
    ) -> Result<(), StoreError> {
        if !batch.outbox.is_empty() {
            self.send(&mut batch.outbox, left, outcomes).await?;
        }
        fault::point("publish.posted");
        if !batch.rings.is_empty() {
            self.ring_away(&batch.rings).await?;
        }
        Ok(())
    }

    pub(super) async fn write(
        &self,
        writes: Vec<Write>,
        origins: Vec<usize>,
        outcomes: &mut [Outcome],
        publisher: Option<&ClientId>,
        now: Time,
    ) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let appends = self.appends(&writes);
        let span = tracing::trace_span!(target: SPANS, "store.write", writes = writes.len());
        let written = self.metrics.store_write_seconds.wait(pin!(self.store.write(writes, now).instrument(span))).await?;
        self.note_appended(&appends, &written, publisher, now);
        for (written, origin) in written.into_iter().zip(origins) {
            if written == Written::StoreFull && outcomes.len() > origin {
                outcomes[origin] = Outcome::Refused(Reason::QUOTA_EXCEEDED);
            }
            if matches!(written, Written::StoreFull | Written::QueueFull) {
                Metrics::add(&self.metrics.messages_dropped_queue_full, 1);
            }
        }
        Ok(())
    }

    /// A full mailbox loses QoS 0 messages. A Session that lives only as long as its connection ends rather than lose more than that.
    pub(super) fn push(&self, subscriber: &Subscriber, delivery: Delivery, publisher: Option<&ClientId>) -> Pushed {
        let messages = delivery.run.messages().len() as u64;
        let lossy = subscriber.is_durable() || delivery.run.highest_qos().min(delivery.grant.qos) == QoS::AtMostOnce;
        let handing = self.handing(&delivery);
        let pushed = subscriber.mailbox.push(delivery, self.mailbox);
        self.note_handed(handing, pushed, publisher, subscriber);
        if pushed == Pushed::Full {
            Metrics::add(&self.metrics.messages_dropped_slow, messages);
            if !lossy {
                subscriber.mailbox.kick(Fault::new(Reason::QUOTA_EXCEEDED, "too many messages wait for this Client"));
            }
        }
        pushed
    }
}
