//! From one message to its deliveries: overlapping subscriptions, No Local, QoS, share groups. No I/O, reads no clock.
//!
//! Filters without wildcards are found by one look in a hash map, all others by a walk through a trie. Neither map is ever iterated, so
//! the order of a [`Route`] depends on nothing but the subscriptions.
//!
//! It is made for millions of subscriptions. The text of a filter is kept once; whoever subscribed with it stands beside it in eight
//! bytes, and a subscriber has the numbers of its filters.

use std::collections::{BTreeSet, HashMap};

use crate::packet::subscribe::SubscriptionOptions;
use crate::subscription::{Selector, Subscription};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;
use crate::topic::trie::Trie;

mod exact;
mod grants;
mod owned;
pub mod route;
mod subscribers;
#[cfg(test)]
mod tests;

use exact::Exact;
use grants::{Grants, Terms};
use owned::Owned;
use route::{Key, Route, Target};
use subscribers::{Audience, Crowds, Subscribers};

/// All subscriptions, arranged by Topic Filter and by subscriber.
#[derive(Default)]
pub struct Router {
    exact: Exact<Subscribers>,
    wildcard: Trie<Subscribers>,
    crowds: Crowds,
    /// By key: where the filters are that it subscribed to, not counting Shared Subscriptions.
    owned: Vec<Owned>,
    /// Shared Subscriptions are rare.
    shared: HashMap<Key, BTreeSet<Selector>>,
    ordinary_len: usize,
    shared_len: usize,
}

/// How many subscriptions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that are not shared.
    pub ordinary: usize,
    pub shared: usize,
}

impl Router {
    pub fn count(&self) -> Count {
        Count { ordinary: self.ordinary_len, shared: self.shared_len }
    }

    /// How many of them this subscriber has.
    pub fn count_of(&self, key: Key) -> Count {
        let ordinary = self.owned.get(key.0 as usize).map_or(0, Owned::len);
        Count { ordinary, shared: self.shared.get(&key).map_or(0, BTreeSet::len) }
    }

    /// Adds a subscription; true when it replaced one with the same selector `[MQTT-3.8.4-3]`.
    pub fn subscribe(&mut self, key: Key, subscription: &Subscription) -> bool {
        let selector = &subscription.selector;
        let terms = Terms::of(subscription);
        let at = match selector.filter.has_wildcard() {
            true => At::wildcard(self.wildcard.find_or_add(&selector.filter)),
            false => At::exact(self.exact.find_or_add(selector.filter.as_str())),
        };
        let (subscribers, crowds) = self.subscribers(at);
        if let Some(share) = &selector.share {
            let replaced = crowds.add_shared(subscribers, share, selector, key, terms);
            if !replaced {
                self.shared_len += 1;
                self.shared.entry(key).or_default().insert(selector.clone());
            }
            return replaced;
        }
        let replaced = crowds.add(subscribers, key, terms);
        if !replaced {
            self.ordinary_len += 1;
            let owner = key.0 as usize;
            if owner >= self.owned.len() {
                self.owned.resize_with(owner + 1, Owned::default);
            }
            self.owned[owner].add(at.0);
        }
        replaced
    }

    /// Removes a subscription; true when it existed.
    pub fn unsubscribe(&mut self, key: Key, selector: &Selector) -> bool {
        let Some(at) = self.find(&selector.filter) else { return false };
        let existed = self.remove(at, selector.share.as_ref(), key);
        if !existed {
            return false;
        }
        match selector.share {
            None => self.owned[key.0 as usize].remove(at.0),
            Some(_) => {
                let left = self.shared.get_mut(&key).is_some_and(|shared| shared.remove(selector) && !shared.is_empty());
                if !left {
                    self.shared.remove(&key);
                }
            }
        }
        true
    }

    /// Removes some subscriptions of this subscriber; true when it may have more.
    pub fn forget(&mut self, key: Key, at_most: usize) -> bool {
        let filters: Vec<_> = self.owned.get(key.0 as usize).into_iter().flat_map(Owned::iter).take(at_most).map(At).collect();
        for at in &filters {
            self.remove(*at, None, key);
            self.owned[key.0 as usize].remove(at.0);
        }
        let shared: Vec<_> = self.shared.get(&key).into_iter().flatten().take(at_most - filters.len()).cloned().collect();
        for selector in &shared {
            self.unsubscribe(key, selector);
        }
        filters.len() + shared.len() == at_most
    }

    /// What this subscriber subscribes to, in order.
    pub fn selectors(&self, key: Key) -> Vec<Selector> {
        let ordinary = self.owned.get(key.0 as usize).into_iter().flat_map(Owned::iter).filter_map(|at| {
            let filter = TopicFilter::new(&self.text(At(at)))?;
            Some(Selector { share: None, filter })
        });
        let mut selectors: Vec<_> = ordinary.chain(self.shared.get(&key).into_iter().flatten().cloned()).collect();
        selectors.sort_unstable();
        selectors
    }

    /// The subscription of this subscriber with this selector, without its Retain Handling, which is of no use once it is made.
    pub fn subscription(&self, key: Key, selector: &Selector) -> Option<Subscription> {
        let audience = self.crowds.audience(self.subscribers_at(self.find(&selector.filter)?));
        let (options, id) = match (&selector.share, audience) {
            (None, audience) => {
                let terms = audience.terms_of(key)?;
                (terms.options(), terms.id())
            }
            (Some(share), Audience::Many(crowd)) => {
                let grant = &crowd.group(share)?.members.iter().find(|member| member.key == key)?.grant;
                let (qos, retain_as_published) = (grant.qos, grant.retain_as_published);
                let options = SubscriptionOptions { qos, retain_as_published, ..SubscriptionOptions::default() };
                (options, grant.ids.as_ref().and_then(|ids| ids.first().copied()))
            }
            _ => return None,
        };
        Some(Subscription { selector: selector.clone(), options, id })
    }

    /// Who gets a message with this Topic Name.
    pub fn route(&self, topic: &TopicName) -> Route {
        let exact = self.exact.find(topic.as_str()).map(|filter| self.exact.value(filter));
        let mut found: Vec<_> = exact.into_iter().map(|subscribers| self.crowds.audience(subscribers)).collect();
        self.wildcard.matches(topic, |subscribers| found.push(self.crowds.audience(subscribers)));
        let mut groups: Vec<_> = found.iter().flat_map(|audience| audience.groups()).cloned().collect();
        groups.sort_by(|a, b| (&a.share, &a.filter).cmp(&(&b.share, &b.filter)));
        let direct = match &found[..] {
            [] => Vec::new(),
            [audience] => targets(audience),
            _ => merge(&found),
        };
        Route { direct, groups }
    }

    fn find(&self, filter: &TopicFilter) -> Option<At> {
        match filter.has_wildcard() {
            true => self.wildcard.find(filter).map(At::wildcard),
            false => self.exact.find(filter.as_str()).map(At::exact),
        }
    }

    fn remove(&mut self, at: At, share: Option<&ShareName>, key: Key) -> bool {
        let (subscribers, crowds) = self.subscribers(at);
        let existed = crowds.remove(subscribers, share, key);
        let is_nobody = subscribers.is_nobody();
        let len = if share.is_some() { &mut self.shared_len } else { &mut self.ordinary_len };
        *len -= usize::from(existed);
        if is_nobody {
            match at.place() {
                Place::Exact(filter) => self.exact.remove(filter),
                Place::Wildcard(filter) => self.wildcard.tidy(filter),
            }
        }
        existed
    }

    fn subscribers(&mut self, at: At) -> (&mut Subscribers, &mut Crowds) {
        let subscribers = match at.place() {
            Place::Exact(filter) => self.exact.value_mut(filter),
            Place::Wildcard(filter) => self.wildcard.value_mut(filter),
        };
        (subscribers, &mut self.crowds)
    }

    fn subscribers_at(&self, at: At) -> Subscribers {
        match at.place() {
            Place::Exact(filter) => self.exact.value(filter),
            Place::Wildcard(filter) => self.wildcard.value(filter),
        }
    }

    fn text(&self, at: At) -> String {
        match at.place() {
            Place::Exact(filter) => self.exact.text(filter),
            Place::Wildcard(filter) => self.wildcard.text(filter),
        }
    }
}

/// Where a filter is: its number in one of the two maps, and a bit that says in which.
#[derive(Clone, Copy)]
struct At(u32);

enum Place {
    Exact(u32),
    Wildcard(u32),
}

impl At {
    const WILDCARD: u32 = 1 << 31;

    fn exact(filter: u32) -> At {
        At(filter)
    }

    fn wildcard(filter: u32) -> At {
        At(filter | At::WILDCARD)
    }

    fn place(self) -> Place {
        if self.0 & At::WILDCARD == 0 { Place::Exact(self.0) } else { Place::Wildcard(self.0 & !At::WILDCARD) }
    }
}

/// One target for each subscription that is not shared: the usual case, in which no other filter matches.
fn targets(audience: &Audience<'_>) -> Vec<Target> {
    let mut grants = Grants::default();
    let mut targets = Vec::with_capacity(audience.direct_len());
    audience.each_direct(|key, terms| targets.push(grants.target(key, terms)));
    targets
}

/// One target for each subscriber that at least one of several filters has.
fn merge(found: &[Audience<'_>]) -> Vec<Target> {
    let mut sorted = Vec::with_capacity(found.iter().map(Audience::direct_len).sum());
    found.iter().for_each(|audience| audience.each_direct(|key, terms| sorted.push((key, terms))));
    // The stable sort, because it finds the sorted run that each filter brought and only merges them.
    sorted.sort_by_key(|(key, _)| *key);
    let mut grants = Grants::default();
    let mut targets = Vec::with_capacity(sorted.len());
    for same in sorted.chunk_by(|a, b| a.0 == b.0) {
        targets.push(match *same {
            [(key, terms)] => grants.target(key, terms),
            _ => grants.merged_target(same),
        });
    }
    targets
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("subscriptions", &self.count()).finish_non_exhaustive()
    }
}
