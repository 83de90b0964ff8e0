//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11), and the retained messages that a new subscription brings.

use std::collections::BTreeSet;

use crate::packet::reason::Reason;
use crate::packet::subscribe::{RetainHandling, Suback, Subscribe, SubscriptionOptions};
use crate::packet::unsubscribe::{Unsuback, Unsubscribe};
use crate::packet::{Packet, PacketId, QoS};
use crate::session::{Command, Fault, Outcome, Promise, Promised, Session, Subscribed};
use crate::subscription::{Grant, Selector, Subscription};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;

/// Retained messages that are still to be read for a subscription, page by page.
#[derive(Clone, Debug)]
pub struct RetainedRead {
    pub filter: TopicFilter,
    pub grant: Grant,
    /// The Topic Name after which the next page begins.
    pub after: Option<TopicName>,
}

impl Session {
    /// SUBSCRIBE. `refused` says for each Topic Filter what hooks have against it; nothing, where it is shorter.
    pub(super) fn subscribe(&mut self, subscribe: Subscribe, refused: &[Option<Reason>]) -> Result<(), Fault> {
        let Subscribe { packet_id, subscription_id: id, filters, .. } = subscribe;
        if id.is_some() && !self.settings.subscription_ids_available {
            return Err(Fault::new(Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "this Server has no Subscription Identifiers"));
        }
        let mut requests = Vec::with_capacity(filters.len());
        for (at, (text, options)) in filters.into_iter().enumerate() {
            check_form(&text)?;
            let request = self.subscription(&text, options, id);
            if options.no_local && request.as_ref().is_ok_and(|subscription| subscription.selector.share.is_some()) {
                return Err(Fault::new(Reason::PROTOCOL_ERROR, "No Local with a Shared Subscription")); // [MQTT-3.8.3-4]
            }
            let refused = refused.get(at).copied().flatten();
            requests.push(refused.map_or(request, Err));
        }
        let command = self.command(Command::Subscribe(requests));
        self.promises.push(Promise { command: Some(command), packet: Promised::Suback(packet_id) });
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), Fault> {
        unsubscribe.filters.iter().try_for_each(|text| check_form(text))?;
        let selectors = unsubscribe.filters.iter().map(|text| Selector::parse(text).ok_or(Reason::TOPIC_FILTER_INVALID));
        let selectors: Vec<Result<Selector, Reason>> = selectors.collect();
        let own = selectors.iter().flatten().filter(|selector| selector.share.is_none());
        let filters = own.map(|selector| selector.filter.clone()).collect();
        let command = self.command(Command::Unsubscribe(selectors));
        self.promises.push(Promise { command: Some(command), packet: Promised::Unsuback(unsubscribe.packet_id, filters) });
        Ok(())
    }

    /// What this Server makes of a Topic Filter that is asked for.
    pub fn subscription(&self, text: &str, mut options: SubscriptionOptions, id: Option<u32>) -> Result<Subscription, Reason> {
        options.qos = options.qos.min(self.settings.maximum_qos);
        Ok(Subscription { selector: self.selector(text)?, options, id })
    }

    fn selector(&self, text: &str) -> Result<Selector, Reason> {
        let selector = Selector::parse(text).ok_or(Reason::TOPIC_FILTER_INVALID)?;
        if selector.share.is_some() && !self.settings.shared_available {
            return Err(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if selector.filter.has_wildcard() && !self.settings.wildcard_available {
            return Err(Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
        }
        if self.settings.topic_levels_max < usize::MAX && selector.filter.levels().count() > self.settings.topic_levels_max {
            return Err(Reason::TOPIC_FILTER_INVALID);
        }
        if selector.filter.as_str().len() > self.settings.topic_bytes_max {
            return Err(Reason::TOPIC_FILTER_INVALID);
        }
        Ok(selector)
    }

    pub(super) fn promise_suback(&mut self, packet_id: PacketId, outcome: Option<&mut Outcome>) {
        let Some(Outcome::Subscribed(all)) = outcome else { return };
        let reasons = reasons_of(all);
        self.send(&Packet::Suback(Box::new(Suback { packet_id, properties: None, reasons })));
        self.begin_reads(std::mem::take(all));
    }

    /// The retained messages of what was subscribed to are to be read; with its Reason Codes.
    pub fn begin_reads(&mut self, all: Vec<Subscribed>) -> Vec<Reason> {
        let reasons = reasons_of(&all);
        // The last for a Topic Filter replaces those before it, which need not be read to their end any more: so there are never more
        // than subscriptions, however often a Client asks.
        let mut asked = BTreeSet::new();
        let reads = all.into_iter().rev().filter_map(retained_read);
        let reads: Vec<_> = reads.filter(|read| asked.insert(read.filter.clone())).collect();
        self.forget_reads(|filter| asked.contains(filter));
        self.retained_reads.extend(reads.into_iter().rev());
        reasons
    }

    pub(super) fn promise_unsuback(&mut self, packet_id: PacketId, filters: &[TopicFilter], outcome: Option<&mut Outcome>) {
        let Some(Outcome::Unsubscribed(reasons)) = outcome else { return };
        self.end_reads(filters);
        let unsuback = Unsuback { packet_id, properties: None, reasons: std::mem::take(reasons) };
        self.send(&Packet::Unsuback(Box::new(unsuback)));
    }

    /// No more retained messages of these, which are unsubscribed from `[MQTT-3.10.4-2]`.
    pub fn end_reads(&mut self, filters: &[TopicFilter]) {
        if !self.retained_reads.is_empty() {
            let filters: BTreeSet<_> = filters.iter().collect();
            self.forget_reads(|filter| filters.contains(filter));
        }
    }

    fn forget_reads(&mut self, mut gone: impl FnMut(&TopicFilter) -> bool) {
        self.retained_reads.retain(|read| !gone(&read.filter));
    }

    /// The retained messages to read next, if there is room for them. Those that go through the queue of the Session wait until it is
    /// read to its end, or a slow Client would have them pile up there until it is full.
    pub fn retained_read(&self) -> Option<&RetainedRead> {
        self.retained_reads.front().filter(|_| self.has_room() && self.has_read_all())
    }

    /// A page was read: go on after `next`, or with the next subscription.
    pub fn retained_page(&mut self, next: Option<TopicName>) {
        match (next, self.retained_reads.front_mut()) {
            (Some(next), Some(read)) => read.after = Some(next),
            _ => drop(self.retained_reads.pop_front()),
        }
        if self.retained_reads.is_empty() {
            self.retained_reads = Default::default();
        }
    }
}

fn reasons_of(all: &[Subscribed]) -> Vec<Reason> {
    let reason = |one: &Subscribed| one.subscription.as_ref().map_or_else(|reason| *reason, |granted| Reason(granted.options.qos as u8));
    all.iter().map(reason).collect()
}

/// What is no Topic Filter at all breaks the rules `[MQTT-4.7.3-1]`, `[MQTT-4.8.2-1]`, `[MQTT-4.8.2-2]`; one with a misplaced wildcard is
/// one that is refused.
fn check_form(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(Fault::new(Reason::MALFORMED_PACKET, "a Topic Filter has at least one character"));
    }
    let Some(shared) = text.strip_prefix("$share/") else { return Ok(()) };
    match shared.split_once('/') {
        Some((share, filter)) if ShareName::new(share).is_some() && !filter.is_empty() => Ok(()),
        _ => Err(Fault::new(Reason::PROTOCOL_ERROR, "a Shared Subscription has a Share Name and a Topic Filter")),
    }
}

/// A Shared Subscription gets no retained messages (section 4.8.2); else Retain Handling decides (section 3.3.1.3).
fn retained_read(one: Subscribed) -> Option<RetainedRead> {
    let Subscription { selector, options, id } = one.subscription.ok()?;
    let wanted = match options.retain_handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => !one.existed,
        RetainHandling::DoNotSend => false,
    };
    let ids = id.map(|id| [id].as_slice().into());
    let grant = Grant { qos: options.qos.min(QoS::ExactlyOnce), retain_as_published: true, ids, group: None };
    (wanted && selector.share.is_none()).then_some(RetainedRead { filter: selector.filter, grant, after: None })
}
