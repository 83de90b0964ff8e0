//! QoS 2 messages exactly once, whoever dies on their way (REDIS.md 4.4).
//!
//! Before anybody gets a QoS 2 message of a Session that lasts, it is kept as pending with its publisher, under a number. Whoever finds it
//! pending later (the node on which the publisher comes back, the one that cleans up after a dead node, or this one after an outage) hands
//! it out again under that number, and who has had it passes it over: queues in the Store, live Sessions by the memory of their node, which
//! ends with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::batch::Batch;
use crate::broker::mailbox::Pushed;
use crate::broker::routes::RouteCache;
use crate::broker::{Broker, Member};
use crate::fault;
use crate::message::{InRun, Message, Number, Numbers, Run};
use crate::packet::connect::ClientId;
use crate::packet::{PacketId, QoS};
use crate::session::Outcome;
use crate::store::{Lease, Pending, StoreError, Write, Written};
use crate::subscription::ShareGroup;
use crate::time::Time;

/// Publishers whose last number a node remembers, twice: the older half is forgotten when the newer is full.
const PUBLISHERS_MAX: usize = 50_000;

/// Messages that are handed out again at a time.
const FINISH_BATCH: usize = 64;

/// The way of a message to live Sessions of this node: by their own subscriptions, or by a share group.
type Way = (ClientId, Option<Arc<ShareGroup>>);

/// The last numbers that came to live Sessions of this node.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<[HashMap<Way, Number>; 2]>);

impl Seen {
    /// What of the run has not been here, and has from now on. What has no number is always new.
    pub(super) fn fresh(&self, run: &Arc<Run>, group: Option<&Arc<ShareGroup>>) -> Option<Arc<Run>> {
        let Some(Numbers { publisher, of }) = run.numbers() else { return Some(run.clone()) };
        let way = (publisher.clone(), group.cloned());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.iter().filter_map(|half| half.get(&way)).max().copied().unwrap_or(0);
        let highest = of.iter().copied().max().unwrap_or(0);
        if highest > last {
            if seen[0].len() >= PUBLISHERS_MAX {
                seen.swap(0, 1);
                seen[0].clear();
            }
            seen[0].insert(way, highest);
        }
        drop(seen);
        let is_new = |place: usize| of[place] == 0 || of[place] > last;
        if (0..of.len()).all(is_new) { Some(run.clone()) } else { run.part(is_new).map(Arc::new) }
    }
}

/// A run by one of its ways, and what of it has not been here.
type Fresh = (Arc<Run>, Option<Arc<ShareGroup>>, Option<Arc<Run>>);

/// A message that is kept as pending.
#[derive(Debug)]
pub(super) struct Kept {
    of: Lease,
    packet_id: PacketId,
    pending: Pending,
    origin: usize,
}

/// What a publisher has pending.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// The last number that was given.
    last: Number,
    /// Everybody has these, and the Store does not know it: it is told when the connection ends, if PUBREL did not come before.
    done: std::collections::BTreeMap<PacketId, Number>,
    /// A write failed: nobody knows who has what.
    unsure: bool,
}

impl Unsettled {
    /// Numbers of a connection begin above its epoch, which is above all earlier ones.
    pub(super) fn new(epoch: Number) -> Unsettled {
        Unsettled { last: epoch, ..Unsettled::default() }
    }

    /// Numbers for the QoS 2 messages of a run. They go with the time, so that the Store can tell which are old.
    pub(super) fn number(&mut self, run: &Run, now: Time) -> Vec<Number> {
        let mut number = |message: &Message| match message.qos {
            QoS::ExactlyOnce => {
                self.last = (self.last + 1).max(now.0.saturating_mul(1000));
                self.last
            }
            _ => 0,
        };
        run.messages().iter().map(&mut number).collect()
    }

    pub(super) fn forget(&mut self, packet_id: PacketId) {
        self.done.remove(&packet_id);
    }

    pub(super) fn begin(&mut self) {
        self.unsure = true;
    }

    pub(super) fn end(&mut self, done: impl IntoIterator<Item = (PacketId, Number)>) {
        self.unsure = false;
        self.done.extend(done);
    }

    pub(super) fn is_unsure(&self) -> bool {
        self.unsure
    }
}

impl Batch {
    /// Puts QoS 2 messages of a run on record as received. `leaves`: somebody gets them who does not end with this node.
    pub(super) fn receive(&mut self, of: &Lease, received: &[PacketId], run: &Arc<Run>, leaves: bool, origin: usize) {
        let turns = std::mem::take(&mut self.turns);
        let exactly_once = (0..).zip(run.messages()).filter(|(_, message)| message.qos == QoS::ExactlyOnce);
        for (&packet_id, (index, _)) in received.iter().zip(exactly_once) {
            if !leaves {
                self.records.push((Write::Receive { of: of.clone(), packet_id, pending: None }, origin));
                continue;
            }
            let mut pending = Pending { message: InRun { run: run.clone(), index }, turns: Vec::new() };
            let number = pending.number();
            let own = turns.iter().filter(|turn| turn.0 == number);
            pending.turns.extend(own.map(|(_, group, client_id)| (group.clone(), client_id.clone())));
            self.pending.push(Kept { of: of.clone(), packet_id, pending, origin });
        }
    }
}

impl Broker {
    /// As [`Broker::flush`], for a connection that may have something pending.
    pub(super) async fn flush_of(
        &self,
        member: &mut Member,
        batch: &mut Batch,
        outcomes: &mut [Outcome],
        now: Time,
    ) -> Result<(), StoreError> {
        if batch.pending.is_empty() {
            return self.flush(batch, outcomes, now).await;
        }
        let kept: Vec<_> = batch.pending.iter().map(|kept| (kept.packet_id, kept.pending.number())).collect();
        member.unsettled.begin();
        self.flush(batch, outcomes, now).await?;
        member.unsettled.end(kept);
        Ok(())
    }

    /// What is pending is in the Store before anybody gets the message. Where a full Store has no room for it, it is put on record afterwards,
    /// as it was received: then who is cut off between delivers twice rather than not at all.
    pub(super) async fn keep_pending(&self, batch: &mut Batch, now: Time) -> Result<(), StoreError> {
        let mut writes = Vec::with_capacity(batch.pending.len());
        let mut kept = Vec::with_capacity(batch.pending.len());
        for Kept { of, packet_id, pending, origin } in batch.pending.drain(..) {
            kept.push((of.clone(), packet_id, origin));
            writes.push(Write::Receive { of, packet_id, pending: Some(Box::new(pending)) });
        }
        for (written, (of, packet_id, origin)) in self.store.write(writes, now).await?.into_iter().zip(kept) {
            match written {
                // Another connection has the Session by now, and the Client will tell that one.
                Written::NoSession => return Err(StoreError::Unavailable),
                Written::StoreFull => batch.records.push((Write::Receive { of, packet_id, pending: None }, origin)),
                Written::Done | Written::QueueFull => {}
            }
        }
        fault::point("publish.pending");
        Ok(())
    }

    /// Puts what is for Sessions here into their mailboxes. What is given back is of share groups whose member has left, or has no room.
    pub(super) fn push_all(&self, batch: &mut Batch) -> Vec<(Message, Arc<ShareGroup>)> {
        let mut left = Vec::new();
        let mut last: Option<Fresh> = None;
        for (subscriber, mut delivery) in batch.deliveries.drain(..) {
            if delivery.run.numbers().is_some() {
                // All who get a run get it here, one after the other.
                let is_same = |(run, group, _): &&Fresh| Arc::ptr_eq(run, &delivery.run) && *group == delivery.grant.group;
                let fresh = match last.as_ref().filter(is_same) {
                    Some((_, _, fresh)) => fresh.clone(),
                    None => {
                        let fresh = self.seen.fresh(&delivery.run, delivery.grant.group.as_ref());
                        last = Some((delivery.run.clone(), delivery.grant.group.clone(), fresh.clone()));
                        fresh
                    }
                };
                let Some(fresh) = fresh else { continue };
                delivery.run = fresh;
            }
            let shared: Vec<_> = if subscriber.is_durable() { Vec::new() } else { delivery.shared().collect() };
            match self.push(&subscriber, delivery, batch.publisher.as_ref()) {
                Pushed::Crowded => batch.crowded = Some(subscriber),
                Pushed::Offline | Pushed::Full => {
                    left.extend(shared.into_iter().map(|(message, group)| (message.message().clone(), group)));
                }
                Pushed::Taken => {}
            }
        }
        left
    }

    /// The connection ends: what was handed to everybody is not pending any more. That it cannot be told costs nothing but that it is handed
    /// out again, and passed over.
    pub(super) async fn settle(&self, member: &mut Member, now: Time) {
        let done = std::mem::take(&mut member.unsettled.done);
        if done.is_empty() {
            return;
        }
        let of = &member.lease.client_id;
        let writes = done.into_iter().map(|(packet_id, number)| Write::Settle { of: of.clone(), packet_id, number });
        if let Err(error) = self.store.write(writes.collect(), now).await {
            tracing::debug!(client_id = %of, ?error, "what is pending of a Session is looked at again later");
        }
    }

    /// Hands out what is pending of a Client, to those who have not had it.
    pub(super) async fn finish_all(&self, client_id: &ClientId, now: Time) -> Result<(), StoreError> {
        let pending = self.store.pending(client_id).await?;
        self.finish(client_id, pending, now).await
    }

    pub(super) async fn finish(&self, publisher: &ClientId, pending: Vec<(PacketId, Pending)>, now: Time) -> Result<(), StoreError> {
        for part in pending.chunks(FINISH_BATCH) {
            let mut batch = Batch::default();
            for (_, Pending { message, turns }) in part {
                // Retained it was before it was pending.
                self.route(&mut RouteCache::default(), Some((publisher, 0)), &message.run, turns, &mut batch).await?;
            }
            self.flush(&mut batch, &mut [], now).await?;
            fault::point("finish.flushed");
            let settle = |(packet_id, pending): &(PacketId, Pending)| Write::Settle {
                of: publisher.clone(),
                packet_id: *packet_id,
                number: pending.number(),
            };
            self.store.write(part.iter().map(settle).collect(), now).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(numbers: &[Number]) -> Arc<Run> {
        let topic = crate::topic::name::TopicName::new("t".into()).unwrap();
        let message =
            Message { topic, payload: Default::default(), qos: QoS::ExactlyOnce, retain: false, properties: None, expires_at: None };
        let publisher = ClientId::new("p");
        Arc::new(Run::new(vec![message; numbers.len()]).numbered(Numbers { publisher, of: numbers.to_vec() }))
    }

    #[test]
    fn what_was_here_is_passed_over() {
        let seen = Seen::default();
        let fresh = |numbers: &[Number]| seen.fresh(&run(numbers), None).map(|run| run.numbers().unwrap().of.clone());
        assert_eq!(fresh(&[5, 6]), Some(vec![5, 6]));
        assert_eq!(fresh(&[6]), None);
        assert_eq!(fresh(&[0, 6, 7]), Some(vec![0, 7]));
        let group = Arc::new(ShareGroup {
            share: crate::topic::filter::ShareName::new("s").unwrap(),
            filter: crate::topic::filter::TopicFilter::new("t").unwrap(),
        });
        assert!(seen.fresh(&run(&[6]), Some(&group)).is_some(), "a share group is another way");
    }

    #[test]
    fn numbers_grow_with_the_time_and_above_the_epoch() {
        let mut unsettled = Unsettled::new(5_000_000);
        assert_eq!(unsettled.number(&run(&[0, 0]), Time(0)), [5_000_001, 5_000_002]);
        assert_eq!(unsettled.number(&run(&[0, 0]), Time(6_000)), [6_000_000, 6_000_001]);
    }
}
