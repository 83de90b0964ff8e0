//! Who subscribed with one Topic Filter: nobody, one ordinary subscriber, or a crowd. No I/O, reads no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::grants::{Grants, Terms};
use super::route::{Group, Key, Member};
use crate::subscription::Selector;
use crate::topic::filter::ShareName;

/// Everybody who subscribed with one Topic Filter, in eight bytes: one ordinary subscriber, by far the usual case, needs no memory of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscribers {
    /// The only one, or [`NOBODY`], or [`CROWD`].
    key: Key,
    /// Its terms, or which crowd it is.
    word: u32,
}

/// No keys of subscribers: these come one after the other, from zero.
const NOBODY: Key = Key(u32::MAX);
const CROWD: Key = Key(u32::MAX - 1);

/// What [`Subscribers`] stand for.
pub(super) enum Audience<'a> {
    Nobody,
    One(Key, Terms),
    Many(&'a Crowd),
}

#[derive(Default)]
pub(super) struct Crowd {
    /// A tree, so that a change is quick with 100,000 subscribers too.
    direct: BTreeMap<Key, Terms>,
    /// Sorted by Share Name. Shared with the Routes that were handed out.
    groups: Vec<Arc<Group>>,
}

/// All crowds of a router.
#[derive(Default)]
pub(super) struct Crowds {
    crowds: Vec<Crowd>,
    /// Indices in `crowds` that are free for reuse.
    free: Vec<u32>,
}

impl Default for Subscribers {
    fn default() -> Subscribers {
        Subscribers { key: NOBODY, word: 0 }
    }
}

impl Subscribers {
    fn one(key: Key, Terms(word): Terms) -> Subscribers {
        Subscribers { key, word }
    }

    pub(super) fn is_nobody(self) -> bool {
        self.key == NOBODY
    }
}

impl Crowds {
    pub(super) fn audience(&self, subscribers: Subscribers) -> Audience<'_> {
        match subscribers.key {
            NOBODY => Audience::Nobody,
            CROWD => Audience::Many(&self.crowds[subscribers.word as usize]),
            key => Audience::One(key, Terms(subscribers.word)),
        }
    }

    /// Adds an ordinary subscription; true when it replaced one.
    pub(super) fn add(&mut self, to: &mut Subscribers, key: Key, terms: Terms) -> bool {
        let known = to.key;
        if known == NOBODY || known == key {
            *to = Subscribers::one(key, terms);
            return known == key;
        }
        self.crowd(to).direct.insert(key, terms).is_some()
    }

    /// Adds a Shared Subscription; true when it replaced one.
    pub(super) fn add_shared(&mut self, to: &mut Subscribers, share: &ShareName, selector: &Selector, key: Key, terms: Terms) -> bool {
        let groups = &mut self.crowd(to).groups;
        let place = groups.binary_search_by(|group| group.share.cmp(share)).unwrap_or_else(|place| {
            groups.insert(place, Arc::new(Group { share: share.clone(), filter: selector.filter.clone(), members: Vec::new() }));
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

    /// Removes a subscription; true when it existed.
    pub(super) fn remove(&mut self, from: &mut Subscribers, share: Option<&ShareName>, key: Key) -> bool {
        if from.key != CROWD {
            let existed = share.is_none() && from.key == key;
            if existed {
                *from = Subscribers::default();
            }
            return existed;
        }
        let crowd = &mut self.crowds[from.word as usize];
        let existed = match share {
            Some(share) => crowd.remove_shared(share, key),
            None => crowd.direct.remove(&key).is_some(),
        };
        self.settle(from);
        existed
    }

    /// Gives the crowd up when one is left, or nobody.
    fn settle(&mut self, subscribers: &mut Subscribers) {
        let crowd = &mut self.crowds[subscribers.word as usize];
        if !crowd.groups.is_empty() || crowd.direct.len() > 1 {
            return;
        }
        self.free.push(subscribers.word);
        *subscribers = crowd.direct.pop_first().map_or_else(Subscribers::default, |(key, terms)| Subscribers::one(key, terms));
        if self.free.len() == self.crowds.len() {
            *self = Crowds::default(); // gives the memory of a burst of crowds back
        }
    }

    /// The crowd, made of whoever is there.
    fn crowd(&mut self, subscribers: &mut Subscribers) -> &mut Crowd {
        if subscribers.key != CROWD {
            let index = self.free.pop().unwrap_or_else(|| {
                self.crowds.push(Crowd::default());
                self.crowds.len() as u32 - 1
            });
            if let Audience::One(key, terms) = self.audience(*subscribers) {
                self.crowds[index as usize].direct.insert(key, terms);
            }
            *subscribers = Subscribers { key: CROWD, word: index };
        }
        &mut self.crowds[subscribers.word as usize]
    }
}

impl Crowd {
    pub(super) fn group(&self, share: &ShareName) -> Option<&Arc<Group>> {
        self.groups.iter().find(|group| group.share == *share)
    }

    fn remove_shared(&mut self, share: &ShareName, key: Key) -> bool {
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

impl Audience<'_> {
    pub(super) fn groups(&self) -> &[Arc<Group>] {
        match self {
            Audience::Many(crowd) => &crowd.groups,
            _ => &[],
        }
    }

    /// What this subscriber asked for, if not in a group.
    pub(super) fn terms_of(&self, key: Key) -> Option<Terms> {
        match self {
            Audience::One(only, terms) if *only == key => Some(*terms),
            Audience::Many(crowd) => crowd.direct.get(&key).copied(),
            _ => None,
        }
    }

    /// How many have a subscription that is not shared.
    pub(super) fn direct_len(&self) -> usize {
        match self {
            Audience::Nobody => 0,
            Audience::One(..) => 1,
            Audience::Many(crowd) => crowd.direct.len(),
        }
    }

    /// Every subscription that is not shared, sorted by key.
    pub(super) fn each_direct(&self, mut visit: impl FnMut(Key, Terms)) {
        match self {
            Audience::Nobody => {}
            Audience::One(key, terms) => visit(*key, *terms),
            Audience::Many(crowd) => crowd.direct.iter().for_each(|(key, terms)| visit(*key, *terms)),
        }
    }
}
