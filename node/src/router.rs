//! From one message to its deliveries: overlapping subscriptions, No Local, QoS, share groups. No I/O, reads no clock.
//!
//! Filters without wildcards are found by one look in a hash map, all others by a walk through a trie. Neither map is ever iterated, so
//! the order of a [`Route`] depends on nothing but the subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::packet::QoS;
use crate::packet::subscribe::SubscriptionOptions;
use crate::subscription::{Grant, Selector, Subscription};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;
use crate::topic::trie::Trie;

mod exact;
#[cfg(test)]
mod tests;

use exact::Exact;

/// All subscriptions, arranged by Topic Filter. `K` is the key of a subscriber, small and `Copy`.
pub struct Router<K> {
    exact: Exact<Subscribers<K>>,
    wildcard: Trie<Subscribers<K>>,
    subscriptions: usize,
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<K> {
    /// Every subscriber with a matching subscription that is not shared, sorted by key.
    pub direct: Vec<Target<K>>,
    /// Every group of Shared Subscriptions that matches, sorted by Share Name and filter: one member of each gets the message.
    pub groups: Vec<Arc<Group<K>>>,
}

/// A subscriber that gets one copy, however many of its subscriptions match (section 3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<K> {
    pub key: K,
    /// For messages of others.
    pub grant: Grant,
    own: Own,
}

/// What a subscriber gets of its own messages: subscriptions with No Local do not count `[MQTT-3.8.3-3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Own {
    Same,
    Nothing,
    /// Boxed because it is rare and a Route can have 100,000 targets.
    Less(Box<Grant>),
}

/// The Shared Subscriptions with one Share Name and one Topic Filter (section 4.8.2). Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group<K> {
    pub share: ShareName,
    pub filter: TopicFilter,
    /// Sorted by key.
    pub members: Vec<Member<K>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<K> {
    pub key: K,
    pub grant: Grant,
}

impl<K> Target<K> {
    /// What this subscriber gets of a message; `is_own` when it published the message itself.
    pub fn grant_for(&self, is_own: bool) -> Option<&Grant> {
        match &self.own {
            Own::Nothing if is_own => None,
            Own::Less(grant) if is_own => Some(grant),
            _ => Some(&self.grant),
        }
    }
}

impl<K> Default for Router<K> {
    fn default() -> Router<K> {
        Router { exact: Exact::default(), wildcard: Trie::default(), subscriptions: 0 }
    }
}

impl<K: Copy + Ord> Router<K> {
    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.subscriptions
    }

    pub fn is_empty(&self) -> bool {
        self.subscriptions == 0
    }

    /// Adds a subscription; true when it replaced one with the same selector `[MQTT-3.8.4-3]`.
    pub fn subscribe(&mut self, key: K, subscription: &Subscription) -> bool {
        let Selector { share, filter } = &subscription.selector;
        let subscribers = match filter.has_wildcard() {
            true => self.wildcard.or_default(filter),
            false => self.exact.or_default(filter.as_str()),
        };
        let terms = Terms::of(subscription);
        let replaced = match share {
            Some(share) => subscribers.add_shared(share, filter, key, terms),
            None => subscribers.add(key, terms),
        };
        self.subscriptions += usize::from(!replaced);
        replaced
    }

    /// Removes a subscription; true when it existed.
    pub fn unsubscribe(&mut self, key: K, selector: &Selector) -> bool {
        let Selector { share, filter } = selector;
        let is_wildcard = filter.has_wildcard();
        let subscribers = match is_wildcard {
            true => self.wildcard.get_mut(filter),
            false => self.exact.get_mut(filter.as_str()),
        };
        let Some(subscribers) = subscribers else { return false };
        let existed = subscribers.remove(share.as_ref(), key);
        self.subscriptions -= usize::from(existed);
        if matches!(subscribers, Subscribers::Nobody) {
            if is_wildcard {
                self.wildcard.remove(filter);
            } else {
                self.exact.remove(filter.as_str());
            }
        }
        existed
    }

    /// The subscription of this subscriber with this selector, without its Retain Handling, which is of no use once it is made.
    pub fn subscription(&self, key: K, selector: &Selector) -> Option<Subscription> {
        let subscribers = match selector.filter.has_wildcard() {
            true => self.wildcard.get(&selector.filter)?,
            false => self.exact.get(selector.filter.as_str())?,
        };
        let terms = match (&selector.share, subscribers) {
            (None, Subscribers::One(only, terms)) if *only == key => *terms,
            (None, Subscribers::Many(crowd)) => *crowd.direct.get(&key)?,
            (Some(share), _) => {
                let group = subscribers.groups().iter().find(|group| group.share == *share)?;
                let grant = &group.members.iter().find(|member| member.key == key)?.grant;
                let (id, retain_as_published) = (grant.ids.as_ref().and_then(|ids| ids.first().copied()), grant.retain_as_published);
                let options = SubscriptionOptions { qos: grant.qos, retain_as_published, ..SubscriptionOptions::default() };
                return Some(Subscription { selector: selector.clone(), options, id });
            }
            _ => return None,
        };
        let options = SubscriptionOptions {
            qos: terms.qos(),
            no_local: terms.no_local(),
            retain_as_published: terms.retain_as_published(),
            ..SubscriptionOptions::default()
        };
        Some(Subscription { selector: selector.clone(), options, id: terms.id() })
    }

    /// Who gets a message with this Topic Name.
    pub fn route(&self, topic: &TopicName) -> Route<K> {
        let mut found: Vec<&Subscribers<K>> = self.exact.get(topic.as_str()).into_iter().collect();
        self.wildcard.matches(topic, |subscribers| found.push(subscribers));
        let mut groups: Vec<_> = found.iter().flat_map(|subscribers| subscribers.groups()).cloned().collect();
        groups.sort_by(|a, b| (&a.share, &a.filter).cmp(&(&b.share, &b.filter)));
        let direct = match found[..] {
            [] => Vec::new(),
            [subscribers] => subscribers.targets(),
            _ => merge(&found),
        };
        Route { direct, groups }
    }
}

/// What counts of a subscription when a message is routed, in one word: QoS in 2 bits, No Local, Retain As Published, and the
/// Subscription Identifier in the upper 28 (section 3.8.2.1.2), zero for none. A broker holds millions of these.
#[derive(Clone, Copy)]
struct Terms(u32);

impl Terms {
    const NO_LOCAL: u32 = 1 << 2;
    const RETAIN_AS_PUBLISHED: u32 = 1 << 3;
    const ID_SHIFT: u32 = 4;

    fn of(subscription: &Subscription) -> Terms {
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

    fn no_local(self) -> bool {
        self.0 & Terms::NO_LOCAL != 0
    }

    fn retain_as_published(self) -> bool {
        self.0 & Terms::RETAIN_AS_PUBLISHED != 0
    }

    fn id(self) -> Option<u32> {
        let id = self.0 >> Terms::ID_SHIFT;
        (id != 0).then_some(id)
    }
}

/// Everybody who subscribed with one Topic Filter. One ordinary subscriber, by far the usual case, needs no memory of its own.
#[derive(Default)]
enum Subscribers<K> {
    /// Only between a change and its end: the maps hold no filter that nobody subscribed with.
    #[default]
    Nobody,
    One(K, Terms),
    Many(Box<Crowd<K>>),
}

struct Crowd<K> {
    /// A tree, so that a change is quick with 100,000 subscribers too.
    direct: BTreeMap<K, Terms>,
    /// Sorted by Share Name. Shared with the Routes that were handed out.
    groups: Vec<Arc<Group<K>>>,
}

impl<K: Copy + Ord> Subscribers<K> {
    fn add(&mut self, key: K, terms: Terms) -> bool {
        match self {
            Subscribers::Nobody => {
                *self = Subscribers::One(key, terms);
                false
            }
            Subscribers::One(same, old) if *same == key => {
                *old = terms;
                true
            }
            _ => self.crowd().direct.insert(key, terms).is_some(),
        }
    }

    fn add_shared(&mut self, share: &ShareName, filter: &TopicFilter, key: K, terms: Terms) -> bool {
        let groups = &mut self.crowd().groups;
        let place = groups.binary_search_by(|group| group.share.cmp(share)).unwrap_or_else(|place| {
            groups.insert(place, Arc::new(Group { share: share.clone(), filter: filter.clone(), members: Vec::new() }));
            place
        });
        let members = &mut Arc::make_mut(&mut groups[place]).members;
        let member = Member { key, grant: Grants::default().one(terms) };
        match members.binary_search_by(|member| member.key.cmp(&key)) {
            Ok(place) => members[place] = member,
            Err(place) => {
                members.insert(place, member);
                return false;
            }
        }
        true
    }

    fn remove(&mut self, share: Option<&ShareName>, key: K) -> bool {
        let existed = match self {
            Subscribers::Nobody => false,
            Subscribers::One(only, _) => {
                let existed = share.is_none() && *only == key;
                if existed {
                    *self = Subscribers::Nobody;
                }
                return existed;
            }
            Subscribers::Many(crowd) => match share {
                Some(share) => crowd.remove_shared(share, key),
                None => crowd.direct.remove(&key).is_some(),
            },
        };
        self.settle();
        existed
    }

    /// Gives the crowd up when one is left, or nobody.
    fn settle(&mut self) {
        let Subscribers::Many(crowd) = self else { return };
        if !crowd.groups.is_empty() || crowd.direct.len() > 1 {
            return;
        }
        *self = match crowd.direct.pop_first() {
            Some((key, terms)) => Subscribers::One(key, terms),
            None => Subscribers::Nobody,
        };
    }

    fn crowd(&mut self) -> &mut Crowd<K> {
        if !matches!(self, Subscribers::Many(_)) {
            let mut crowd = Box::new(Crowd { direct: BTreeMap::new(), groups: Vec::new() });
            if let Subscribers::One(key, terms) = *self {
                crowd.direct.insert(key, terms);
            }
            *self = Subscribers::Many(crowd);
        }
        match self {
            Subscribers::Many(crowd) => crowd,
            _ => unreachable!("it was just made one"),
        }
    }

    fn groups(&self) -> &[Arc<Group<K>>] {
        match self {
            Subscribers::Many(crowd) => &crowd.groups,
            _ => &[],
        }
    }

    /// How many have a subscription that is not shared.
    fn direct_len(&self) -> usize {
        match self {
            Subscribers::Nobody => 0,
            Subscribers::One(..) => 1,
            Subscribers::Many(crowd) => crowd.direct.len(),
        }
    }

    /// Every subscription that is not shared, sorted by key.
    fn each_direct(&self, mut visit: impl FnMut(K, Terms)) {
        match self {
            Subscribers::Nobody => {}
            Subscribers::One(key, terms) => visit(*key, *terms),
            Subscribers::Many(crowd) => crowd.direct.iter().for_each(|(key, terms)| visit(*key, *terms)),
        }
    }

    /// One target for each subscription that is not shared: the usual case, in which no other filter matches.
    fn targets(&self) -> Vec<Target<K>> {
        let mut grants = Grants::default();
        let mut targets = Vec::with_capacity(self.direct_len());
        self.each_direct(|key, terms| targets.push(grants.target(key, terms)));
        targets
    }
}

impl<K: Copy + Ord> Crowd<K> {
    fn remove_shared(&mut self, share: &ShareName, key: K) -> bool {
        let Ok(place) = self.groups.binary_search_by(|group| group.share.cmp(share)) else { return false };
        let Ok(member) = self.groups[place].members.binary_search_by(|member| member.key.cmp(&key)) else { return false };
        if self.groups[place].members.len() == 1 {
            self.groups.remove(place);
        } else {
            Arc::make_mut(&mut self.groups[place]).members.remove(member);
        }
        true
    }
}

/// One target for each subscriber that at least one of several filters has.
fn merge<K: Copy + Ord>(found: &[&Subscribers<K>]) -> Vec<Target<K>> {
    let mut sorted = Vec::with_capacity(found.iter().map(|subscribers| subscribers.direct_len()).sum());
    found.iter().for_each(|subscribers| subscribers.each_direct(|key, terms| sorted.push((key, terms))));
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

/// Adds up grants.
#[derive(Default)]
struct Grants {
    /// The last list of a single identifier: subscribers to one filter often chose the same, and then share the list.
    single: Option<Arc<[u32]>>,
}

impl Grants {
    fn target<K>(&mut self, key: K, terms: Terms) -> Target<K> {
        Target { key, grant: self.one(terms), own: if terms.no_local() { Own::Nothing } else { Own::Same } }
    }

    /// The target for several subscriptions of one subscriber.
    fn merged_target<K: Copy>(&mut self, same: &[(K, Terms)]) -> Target<K> {
        let all = || same.iter().map(|(_, terms)| *terms);
        let own = match all().filter(|terms| terms.no_local()).count() {
            0 => Own::Same,
            count if count == same.len() => Own::Nothing,
            _ => Own::Less(Box::new(self.sum(all().filter(|terms| !terms.no_local())))),
        };
        Target { key: same[0].0, grant: self.sum(all()), own }
    }

    fn one(&mut self, terms: Terms) -> Grant {
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

impl<K: Copy + Ord> std::fmt::Debug for Router<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("subscriptions", &self.len()).finish_non_exhaustive()
    }
}
