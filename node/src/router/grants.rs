//! What subscriptions grant, one by one and together. No I/O, reads no clock.

use std::sync::Arc;

use super::route::{Key, Own, Target};
use crate::packet::QoS;
use crate::packet::subscribe::SubscriptionOptions;
use crate::subscription::{Grant, Subscription};

/// What counts of a subscription when a message is routed, in one word: QoS in 2 bits, No Local, Retain As Published, and the
/// Subscription Identifier in the upper 28 (section 3.8.2.1.2), zero for none. A broker holds millions of these.
#[derive(Clone, Copy)]
pub(super) struct Terms(pub(super) u32);

impl Terms {
    const NO_LOCAL: u32 = 1 << 2;
    const RETAIN_AS_PUBLISHED: u32 = 1 << 3;
    const ID_SHIFT: u32 = 4;

    pub(super) fn of(subscription: &Subscription) -> Terms {
        let options = &subscription.options;
        let id = subscription.id.unwrap_or(0);
        debug_assert!(id < 1 << 28, "a Subscription Identifier is a Variable Byte Integer");
        let no_local = if options.no_local { Terms::NO_LOCAL } else { 0 };
        let retain_as_published = if options.retain_as_published { Terms::RETAIN_AS_PUBLISHED } else { 0 };
        Terms(options.qos as u32 | no_local | retain_as_published | id << Terms::ID_SHIFT)
    }

    fn qos(self) -> QoS {
        QoS::from_bits((self.0 & 0b11) as u8).unwrap_or_default()
    }

    pub(super) fn no_local(self) -> bool {
        self.0 & Terms::NO_LOCAL != 0
    }

    fn retain_as_published(self) -> bool {
        self.0 & Terms::RETAIN_AS_PUBLISHED != 0
    }

    pub(super) fn options(self) -> SubscriptionOptions {
        let (qos, no_local, retain_as_published) = (self.qos(), self.no_local(), self.retain_as_published());
        SubscriptionOptions { qos, no_local, retain_as_published, ..SubscriptionOptions::default() }
    }

    pub(super) fn id(self) -> Option<u32> {
        let id = self.0 >> Terms::ID_SHIFT;
        (id != 0).then_some(id)
    }
}

/// Adds up grants.
#[derive(Default)]
pub(super) struct Grants {
    /// The last list of a single identifier: subscribers to one filter often chose the same, and then share the list.
    single: Option<Arc<[u32]>>,
}

impl Grants {
    pub(super) fn target(&mut self, key: Key, terms: Terms) -> Target {
        Target { key, grant: self.one(terms), own: if terms.no_local() { Own::Nothing } else { Own::Same } }
    }

    /// The target for several subscriptions of one subscriber.
    pub(super) fn merged_target(&mut self, same: &[(Key, Terms)]) -> Target {
        let all = || same.iter().map(|(_, terms)| *terms);
        let own = match all().filter(|terms| terms.no_local()).count() {
            0 => Own::Same,
            count if count == same.len() => Own::Nothing,
            _ => Own::Less(Box::new(self.sum(all().filter(|terms| !terms.no_local())))),
        };
        Target { key: same[0].0, grant: self.sum(all()), own }
    }

    pub(super) fn one(&mut self, terms: Terms) -> Grant {
        let ids = terms.id().map(|id| self.single(id));
        Grant { qos: terms.qos(), retain_as_published: terms.retain_as_published(), ids, group: None }
    }

    /// What several subscriptions of one subscriber grant together (section 3.3.4).
    fn sum(&mut self, all: impl IntoIterator<Item = Terms>) -> Grant {
        let mut grant = Grant::default();
        let mut ids = Vec::new(); // allocates nothing as long as there is no identifier
        for terms in all {
            grant.qos = grant.qos.max(terms.qos());
            grant.retain_as_published |= terms.retain_as_published();
            ids.extend(terms.id());
        }
        ids.sort_unstable();
        ids.dedup();
        grant.ids = match ids[..] {
            [] => None,
            [id] => Some(self.single(id)),
            _ => Some(ids.into()),
        };
        grant
    }

    fn single(&mut self, id: u32) -> Arc<[u32]> {
        match &self.single {
            Some(ids) if ids[0] == id => Arc::clone(ids),
            _ => Arc::clone(self.single.insert(Arc::new([id]))),
        }
    }
}
