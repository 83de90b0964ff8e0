//! The commands of a turn become truth: routed, stored, and only then handed to those who are here.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::batch::Batch;
use crate::broker::roster::{Place, Subscriber};
use crate::broker::routes::RouteCache;
use crate::broker::screen::Screened;
use crate::broker::{Broker, Member};
use crate::fate::{Step, Why};
use crate::hook::Recipient;
use crate::hook::client::Client;
use crate::hook::request::Asked;
use crate::message::{InRun, Numbers, Run};
use crate::metrics::Metrics;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::packet::{PacketId, QoS};
use crate::session::outbound::Delivery;
use crate::session::subscribe::RetainedRead;
use crate::session::{Command, Outcome, Session, Subscribed};
use crate::store::{Lease, Page, StoreError, Stored, Write};
use crate::subscription::{Selector, ShareGroup, Subscription};
use crate::time::Time;

/// Retained messages read at a time.
const RETAINED_PAGE: usize = 256;

/// What came of the commands of a turn.
#[derive(Debug, Default)]
pub struct Committed {
    pub outcomes: Vec<Outcome>,
    /// A subscriber that cannot keep up: the connection reads no more until there is room, or for a moment.
    pub crowded: Option<Arc<Subscriber>>,
}

impl Broker {
    /// Does the commands of one turn in their order. When it returns `Ok`, everything in them may be promised.
    pub async fn commit(&self, member: &mut Member, commands: Vec<Command>, now: Time) -> Result<Committed, StoreError> {
        self.promise().await?;
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut batch = Batch::default();
        batch.publisher = self.fates.is_on().then(|| member.lease.client_id.clone());
        let mut on_record: Vec<(usize, Vec<PacketId>)> = Vec::new();
        let promises = commands.iter().any(is_promise);
        for command in commands {
            let origin = outcomes.len();
            let of = || member.lease.client_id.clone();
            let outcome = match command {
                Command::Publish { run, received } => {
                    let outcome = self.publish_run(member, run, &received, &mut batch, origin, now).await?;
                    if !received.is_empty() {
                        on_record.push((origin, received));
                    }
                    outcome
                }
                Command::Subscribe(requests) => {
                    self.flush_of(member, &mut batch, &mut outcomes, now).await?;
                    self.subscribe(member, requests).await?
                }
                Command::Unsubscribe(requests) => {
                    self.flush_of(member, &mut batch, &mut outcomes, now).await?;
                    self.unsubscribe(member, requests).await?
                }
                Command::Acknowledge(sequence) => done(&mut batch, Write::Acknowledge { of: of(), sequence }, origin),
                Command::Release(sequence) => done(&mut batch, Write::Release { of: of(), sequence }, origin),
                Command::Complete(sequence) => done(&mut batch, Write::Complete { of: of(), sequence }, origin),
                Command::Forget(packet_id) => {
                    member.unsettled.forget(packet_id);
                    batch.records.push((Write::Forget { of: member.lease.clone(), packet_id }, origin));
                    Outcome::Done
                }
            };
            outcomes.push(outcome);
        }
        self.flush_of(member, &mut batch, &mut outcomes, now).await?;
        if !on_record.is_empty() {
            self.strike(&member.lease, on_record, &outcomes, now).await?;
        }
        if promises {
            self.promise().await?;
        }
        let crowded = batch.crowded.filter(|crowded| !Arc::ptr_eq(crowded, &member.subscriber));
        Ok(Committed { outcomes, crowded })
    }

    /// Fails where the others may have taken this node for dead.
    pub(super) async fn promise(&self) -> Result<(), StoreError> {
        match self.cluster()? {
            Some(cluster) => cluster.promise().await,
            None => Ok(()),
        }
    }

    /// Takes the Packet Identifiers of what was refused off the record again: the Client will use them for something else, or send the
    /// same message again, and neither has been received yet.
    async fn strike(
        &self,
        lease: &Lease,
        on_record: Vec<(usize, Vec<PacketId>)>,
        outcomes: &[Outcome],
        now: Time,
    ) -> Result<(), StoreError> {
        let mut struck = BTreeSet::new();
        for (origin, received) in on_record {
            let refused = matches!(outcomes[origin], Outcome::Refused(_));
            // The last word on a Packet Identifier counts.
            match refused {
                true => struck.extend(received),
                false => struck.retain(|packet_id| !received.contains(packet_id)),
            }
        }
        if struck.is_empty() {
            return Ok(());
        }
        let writes = struck.into_iter().map(|packet_id| Write::Forget { of: lease.clone(), packet_id });
        self.store.write(writes.collect(), now).await.map(drop)
    }

    async fn publish_run(
        &self,
        member: &mut Member,
        run: Arc<Run>,
        received: &[PacketId],
        batch: &mut Batch,
        origin: usize,
        now: Time,
    ) -> Result<Outcome, StoreError> {
        let asked = match self.admit(member, &run, now) {
            Ok(asked) => asked,
            Err(reason) => {
                self.note_run(&run, Some(&member.lease.client_id), None, &Step::Refused(reason));
                return Ok(Outcome::Refused(reason));
            }
        };
        let publisher = member.lease.client_id.clone();
        // Whoever answers a request may still refuse it: that is known only when it has been handed on, so it is not pending before.
        let run = match self.store.is_shared() && asked.is_empty() && !received.is_empty() {
            true => {
                let of = member.unsettled.number(&run, now);
                let run = Arc::try_unwrap(run).unwrap_or_else(|run| Run::new(run.messages().to_vec()));
                Arc::new(run.numbered(Numbers { publisher: publisher.clone(), of }))
            }
            false => run,
        };
        let before = batch.reach();
        let staged = match asked.iter().all(|(_, route)| *route) {
            true => self.stage(&mut member.cache, Some((&publisher, origin)), &run, batch, now).await,
            false => Ok(false),
        };
        let leaves = run.numbers().is_some() && batch.reach() > before;
        batch.receive(&member.lease, received, &run, leaves, origin);
        match staged {
            Ok(matched) => {
                let taken = !asked.is_empty();
                if taken {
                    self.note_run(&run, Some(&publisher), None, &Step::Asked);
                } else if !matched {
                    self.note_run(&run, Some(&publisher), None, &Step::NoSubscribers);
                }
                batch.asked.extend(asked.into_iter().map(|(asked, _)| (origin, Asked { matched, ..asked })));
                Ok(Outcome::Published { matched: matched || taken })
            }
            Err(StoreError::Full) => {
                self.note_run(&run, Some(&publisher), None, &Step::Refused(Reason::QUOTA_EXCEEDED));
                Ok(Outcome::Refused(Reason::QUOTA_EXCEEDED))
            }
            Err(error) => Err(error),
        }
    }

    /// Retains what is to be retained, then finds who gets the run. The order makes sure that a subscription that comes meanwhile
    /// gets the message one way or the other.
    pub(super) async fn stage(
        &self,
        cache: &mut RouteCache,
        publisher: Option<(&ClientId, usize)>,
        run: &Arc<Run>,
        batch: &mut Batch,
        now: Time,
    ) -> Result<bool, StoreError> {
        if run.any_retain() {
            self.retain(run, now).await?;
        }
        let matched = self.route(cache, publisher, run, &[], batch).await?;
        self.note_outward(run, publisher.map_or(0, |(_, origin)| origin), batch);
        Ok(matched)
    }

    /// Finds who gets the run; of a share group who had the turn before, if that is told.
    pub(super) async fn route(
        &self,
        cache: &mut RouteCache,
        publisher: Option<(&ClientId, usize)>,
        run: &Arc<Run>,
        turns: &[(Arc<ShareGroup>, ClientId)],
        batch: &mut Batch,
    ) -> Result<bool, StoreError> {
        let origin = publisher.map_or(0, |(_, origin)| origin);
        let routes = self.table.routes(cache, run.topic(), &self.roster, self.guard.as_ref());
        let publisher = publisher.map(|(client_id, _)| client_id);
        for (subscriber, target) in &routes.direct {
            if matches!(subscriber.place, Place::Node(_)) {
                batch.outbox.add(subscriber, run, &target.grant, target.grant_for(true).is_none(), publisher, origin);
                continue;
            }
            match target.grant_for(publisher == Some(&subscriber.client_id)) {
                Some(grant) => batch.deliver(subscriber, run, grant, origin),
                None => self.note_run(run, publisher, Some(&subscriber.client_id), &Step::Dropped(Why::NoLocal)),
            }
        }
        if self.fates.is_on() {
            for denied in self.table.denied(run.topic(), &self.roster, self.guard.as_ref()) {
                self.note_run(run, publisher, Some(&denied.client_id), &Step::Dropped(Why::Denied));
            }
        }
        for group in &routes.groups {
            self.share(group, run, turns, batch, origin).await?;
        }
        Ok(!routes.is_empty())
    }

    /// The last message of the run with RETAIN=1 is the retained one of its topic; an empty payload removes it (section 3.3.1.3).
    async fn retain(&self, run: &Arc<Run>, now: Time) -> Result<(), StoreError> {
        let Some(message) = run.messages().iter().rfind(|message| message.retain) else { return Ok(()) };
        let kept = (!message.payload.is_empty()).then(|| Arc::new(Run::from(message.clone())));
        self.store.retain(run.topic(), kept, now).await
    }

    /// Of the Client, whichever of its streams made them.
    fn subscriptions_on_all_streams(&self, member: &Member) -> usize {
        let beside = member.allowance.as_ref().map_or_else(Vec::new, |allowance| allowance.beside(&member.subscriber));
        let count = |subscriber: &Arc<Subscriber>| {
            let count = self.table.count_of(subscriber);
            count.ordinary + count.shared
        };
        count(&member.subscriber) + beside.iter().map(count).sum::<usize>()
    }

    pub(super) async fn subscribe(&self, member: &mut Member, requests: Vec<Result<Subscription, Reason>>) -> Result<Outcome, StoreError> {
        let (now, allowance) = (self.clock.now(), member.allowance.clone());
        let adding = allowance.as_ref().map(|allowance| allowance.add(requests.len()));
        let mut room = self.subscriptions_per_client_max.saturating_sub(self.subscriptions_on_all_streams(member));
        room = room.saturating_sub(adding.as_ref().map_or(0, |adding| adding.before));
        let mut admit = |mut subscription: Subscription| {
            if allowance.as_ref().is_some_and(|allowance| !allowance.takes_subscription(now)) {
                Metrics::add(&self.metrics.subscriptions_over_rate, 1);
                return Err(Reason::QUOTA_EXCEEDED);
            }
            subscription.options.qos = subscription.options.qos.min(self.guard.subscribe(&member.client, &subscription.selector)?);
            if !self.table.has(&member.subscriber, &subscription.selector) {
                room = room.checked_sub(1).ok_or(Reason::QUOTA_EXCEEDED)?;
            }
            Ok(subscription)
        };
        let requests: Vec<_> = requests.into_iter().map(|request| request.and_then(&mut admit)).collect();
        let granted: Vec<_> = requests.iter().flatten().cloned().collect();
        if member.subscriber.is_durable() {
            match self.store.subscribe(&member.lease, &granted).await {
                Err(StoreError::Full) => return Ok(all_refused(requests)),
                subscribed => subscribed?,
            }
        }
        let subscribe = |subscription: &Subscription| self.table.subscribe(&member.subscriber, subscription);
        let existed: Vec<_> = granted.iter().map(subscribe).collect();
        drop(adding);
        match self.tell_subscribed(member, &granted).await {
            Err(StoreError::Full) => {
                self.take_back(member, &granted, &existed).await?;
                return Ok(all_refused(requests));
            }
            told => told?,
        }
        Metrics::add(&self.metrics.subscribes, granted.len() as u64);
        let mut existed = existed.into_iter();
        let subscribed = |subscription: Result<Subscription, Reason>| {
            let existed = subscription.is_ok() && existed.next().unwrap_or_default();
            Subscribed { subscription, existed }
        };
        Ok(Outcome::Subscribed(requests.into_iter().map(subscribed).collect()))
    }

    /// The other nodes cannot be told of new subscriptions, for Redis has no memory left: so there are none. One that was there before stays, with
    /// its new options.
    async fn take_back(&self, member: &mut Member, granted: &[Subscription], existed: &[bool]) -> Result<(), StoreError> {
        let new = granted.iter().zip(existed).filter(|(_, existed)| !**existed);
        let new: Vec<_> = new.map(|(subscription, _)| subscription.selector.clone()).collect();
        if member.subscriber.is_durable() {
            self.store.unsubscribe(&member.lease, &new).await?;
        }
        for selector in &new {
            self.table.unsubscribe(&member.subscriber, selector);
        }
        match self.tell_unsubscribed(member, &new).await {
            // Others wait to be told too. This one needs nothing any more, and the reaper tells.
            Err(StoreError::Full) => Ok(()),
            told => told,
        }
    }

    pub(super) async fn unsubscribe(&self, member: &mut Member, requests: Vec<Result<Selector, Reason>>) -> Result<Outcome, StoreError> {
        let selectors: Vec<_> = requests.iter().flatten().cloned().collect();
        if member.subscriber.is_durable() {
            self.store.unsubscribe(&member.lease, &selectors).await?;
        }
        self.tell_unsubscribed(member, &selectors).await?;
        Metrics::add(&self.metrics.unsubscribes, selectors.len() as u64);
        let reasons = requests.into_iter().map(|request| match request {
            Err(reason) => reason,
            Ok(selector) if self.table.unsubscribe(&member.subscriber, &selector) => Reason::SUCCESS,
            Ok(_) => Reason::NO_SUBSCRIPTION_EXISTED,
        });
        Ok(Outcome::Unsubscribed(reasons.collect()))
    }

    /// Reads on in the queue of a durable Session, as far as its window is open.
    pub async fn read_queue(&self, member: &Member, client: &Arc<Client>, session: &mut Session, now: Time) -> Result<(), StoreError> {
        let Some((after, limit)) = session.store_read() else { return Ok(()) };
        let stored = self.store.read(&member.lease, after, limit, now).await?;
        let may = |message: &InRun| {
            let may = self.guard.receive(Recipient::of(client), &message.message().topic);
            if !may && self.fates.is_on() {
                self.note(message.message(), None, Some(&client.id), &Step::Dropped(Why::Denied), now);
            }
            may
        };
        if self.hooks.asks_for_deliver() {
            let (mut screened, asked) = self.screen_stored(client, stored, limit).await;
            screened.iter_mut().for_each(|(_, message, _)| *message = message.take().filter(may));
            session.deliver_stored(screened.into_iter(), asked, now);
        } else {
            let stored = stored.into_iter().map(|Stored { sequence, message, grant }| (sequence, Some(message).filter(may), grant));
            session.deliver_stored(stored, limit, now);
        }
        Ok(())
    }

    /// Reads the next page of retained messages for a new subscription.
    pub async fn read_retained(&self, member: &Member, client: &Arc<Client>, session: &mut Session, now: Time) -> Result<(), StoreError> {
        let Some(RetainedRead { filter, grant, after }) = session.retained_read().cloned() else { return Ok(()) };
        let Page { messages, mut next } = self.store.retained(&filter, after.as_ref(), RETAINED_PAGE, now).await?;
        let mut writes = Vec::new();
        let mut last = after;
        for run in messages {
            if !session.has_room() {
                next = last; // The rest of the page is read again: it may be larger than all that the socket should have to take.
                break;
            }
            last = Some(run.topic().clone());
            if !self.guard.receive(Recipient::of(&member.client), run.topic()) {
                continue;
            }
            if session.is_durable() && run.highest_qos().min(grant.qos) > QoS::AtMostOnce {
                writes.push(Write::Append { to: member.lease.client_id.clone(), run, grant: grant.clone() });
            } else if self.hooks.asks_for_deliver() {
                let Screened { run, waited } = self.screen_run(client, &run).await;
                run.iter().for_each(|run| session.deliver(&Delivery { run: run.clone(), grant: grant.clone() }, now));
                if waited {
                    next = last; // What comes after it is read again, when the socket was looked at.
                    break;
                }
            } else {
                session.deliver(&Delivery { run, grant: grant.clone() }, now);
            }
        }
        if !writes.is_empty() {
            let origins = vec![0; writes.len()];
            self.write(writes, origins, &mut [], None, now).await?; // what the queue has no room for is counted
            session.ring();
        }
        session.retained_page(next);
        Ok(())
    }
}

/// Redis has no memory left for any of these subscriptions.
fn all_refused(requests: Vec<Result<Subscription, Reason>>) -> Outcome {
    let refused = |request: Result<Subscription, Reason>| {
        let reason = request.err().unwrap_or(Reason::QUOTA_EXCEEDED);
        Subscribed { subscription: Err(reason), existed: false }
    };
    Outcome::Subscribed(requests.into_iter().map(refused).collect())
}

/// Whether the Client is told that something was done on which it will rely.
fn is_promise(command: &Command) -> bool {
    match command {
        Command::Publish { run, .. } => run.highest_qos() > QoS::AtMostOnce,
        Command::Subscribe(_) | Command::Unsubscribe(_) => true,
        Command::Acknowledge(_) | Command::Release(_) | Command::Complete(_) | Command::Forget(_) => false,
    }
}

fn done(batch: &mut Batch, write: Write, origin: usize) -> Outcome {
    batch.write(write, origin);
    Outcome::Done
}
