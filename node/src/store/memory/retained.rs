//! Retained messages in the order of their Topic Names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bounds::{Bounds, Kept};
use crate::message::Run;
use crate::store::{Page, StoreError};
use crate::time::Time;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// How many Topic Names one call looks at: about a millisecond.
const VISITS_MAX: usize = 4_000;
/// After so many Topic Names that do not match it is cheaper to look for the next that can.
const MISSES_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Retained {
    bounds: Arc<Bounds>,
    topics: RwLock<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<TopicName, Arc<Kept>>,
    by_expiry: BTreeSet<(Time, TopicName)>,
}

impl Retained {
    pub(super) fn new(bounds: Arc<Bounds>) -> Retained {
        Retained { bounds, topics: RwLock::default() }
    }

    pub(super) fn set(&self, topic: &TopicName, run: &Run, now: Time) -> Result<(), StoreError> {
        debug_assert!(run.topic() == topic && run.messages().len() == 1);
        let mut topics = self.topics_mut();
        self.drop_expired(&mut topics, now);
        let kept = Kept::new(run, &self.bounds).map(Arc::new).ok_or(StoreError::Full)?;
        let known = topics.by_name.contains_key(topic);
        if !known && !self.bounds.admit_retained() {
            return Err(StoreError::Full);
        }
        let (topic, expiry) = (kept.run.topic().clone(), kept.next_expiry);
        topics.by_expiry.extend(expiry.map(|at| (at, topic.clone())));
        // The key would stay the one of the first message, and pin its memory.
        let old = topics.by_name.remove(&topic);
        topics.by_name.insert(topic.clone(), kept);
        let old_expiry = old.and_then(|old| old.next_expiry).filter(|at| Some(*at) != expiry);
        old_expiry.map(|at| topics.by_expiry.remove(&(at, topic)));
        Ok(())
    }

    pub(super) fn remove(&self, topic: &TopicName) {
        let mut topics = self.topics_mut();
        if let Some(kept) = topics.by_name.remove(topic) {
            kept.next_expiry.map(|at| topics.by_expiry.remove(&(at, topic.clone())));
            self.bounds.retained.fetch_sub(1, Relaxed);
        }
    }

    pub(super) fn page(&self, filter: &TopicFilter, after: Option<&TopicName>, limit: usize, now: Time) -> Page {
        let topics = self.topics();
        if topics.by_expiry.first().is_none_or(|(at, _)| *at > now) {
            return topics.page(filter, after, limit);
        }
        drop(topics);
        let mut topics = self.topics_mut();
        self.drop_expired(&mut topics, now);
        topics.page(filter, after, limit)
    }

    /// Each is dropped once, so this costs its callers a constant in the long run.
    fn drop_expired(&self, topics: &mut Topics, now: Time) {
        while topics.by_expiry.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, topic)) = topics.by_expiry.pop_first() {
                topics.by_name.remove(&topic);
                self.bounds.retained.fetch_sub(1, Relaxed);
                self.bounds.expired.fetch_add(1, Relaxed);
            }
        }
    }

    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().expect("nothing panics while it holds the retained messages")
    }

    fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().expect("nothing panics while it holds the retained messages")
    }
}

impl Topics {
    fn page(&self, filter: &TopicFilter, after: Option<&TopicName>, limit: usize) -> Page {
        let after = after.map(TopicName::as_str);
        let mut page = Page::default();
        if !filter.has_wildcard() {
            let found = self.by_name.get(filter.as_str()).filter(|_| after.is_none_or(|after| after < filter.as_str()));
            page.messages.extend(found.map(|kept| kept.run.clone()));
            return page;
        }
        let first = first_match(filter);
        let start = after.filter(|after| *after >= first).map_or(Bound::Included(first), Bound::Excluded);
        let mut range = self.by_name.range::<str, _>((start, Bound::Unbounded));
        let mut misses = 0;
        let mut last = None;
        for _ in 0..VISITS_MAX {
            let Some((topic, kept)) = range.next() else { return page };
            last = Some(topic);
            if filter.matches(topic) {
                misses = 0;
                page.messages.push(kept.run.clone());
                if page.messages.len() >= limit {
                    break;
                }
                continue;
            }
            misses += 1;
            if misses == MISSES_MAX {
                misses = 0;
                match seek(filter, topic.as_str()) {
                    Seek::Next => {}
                    Seek::To(target) => range = self.by_name.range::<str, _>((Bound::Included(&*target), Bound::Unbounded)),
                    Seek::End => return page,
                }
            }
        }
        page.next = range.next().and(last).cloned();
        page
    }
}

/// Nothing before this text matches: the levels before the first wildcard. `a/#` matches `a` too.
fn first_match(filter: &TopicFilter) -> &str {
    let text = filter.as_str();
    let wildcard = text.find(['+', '#']).unwrap_or(text.len());
    let literal = &text[..wildcard];
    if text[wildcard..].starts_with('#') { literal.strip_suffix('/').unwrap_or(literal) } else { literal }
}

/// Where to go on after a Topic Name that does not match.
#[derive(Debug, PartialEq, Eq)]
enum Seek {
    /// Nothing is known: with the next one.
    Next,
    /// Nothing before this text matches.
    To(String),
    /// Nothing matches any more.
    End,
}

/// Topic Names are ordered as text, where some characters come before `/`: `a!` stands between `a` and `a/b`.
fn seek(filter: &TopicFilter, topic: &str) -> Seek {
    if topic.starts_with('$') && filter.as_str().starts_with(['+', '#']) {
        return Seek::To("%".to_owned()); // the character after `$`
    }
    let mut wanted = filter.levels();
    let mut offset = 0; // of the level within the Topic Name
    for level in topic.split('/') {
        match wanted.next() {
            Some("#") => return Seek::Next,
            Some(want) if want == "+" || want == level => {}
            Some(want) => return seek_level(topic, offset, want),
            None => return past(&topic[..offset]), // it has more levels than the filter, and so has all that begins with these
        }
        offset += level.len() + 1;
    }
    Seek::Next // it has fewer levels than the filter
}

/// The level at `offset` is another than the one that is wanted there.
fn seek_level(topic: &str, offset: usize, want: &str) -> Seek {
    let mut target = format!("{}{want}", &topic[..offset]);
    if topic < target.as_str() {
        return Seek::To(target);
    }
    target.push('/');
    if topic < target.as_str() { Seek::To(target) } else { past(&topic[..offset]) }
}

/// Beyond all that begins with `prefix`, which ends in `/` unless it is empty.
fn past(prefix: &str) -> Seek {
    match prefix.strip_suffix('/') {
        Some(levels) => Seek::To(format!("{levels}0")), // the character after `/`
        None => Seek::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeks_what_can_match_next() {
        let to = |text: &str| Seek::To(text.to_owned());
        let rows = [
            ("+/+/x", "a/b/c", to("a/b/x")),
            ("+/+/x", "a/b/y", to("a/b0")),
            ("+/+/x", "a/b/x!", to("a/b/x/")),
            ("+/+/x", "a/b/x/y", to("a/b/x0")),
            ("+/+/x", "a", Seek::Next),
            ("a/+/x", "b/c", Seek::End),
            ("a/#", "a!", to("a/")),
            ("a/#", "b", Seek::End),
            ("#", "$SYS/a", to("%")),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(seek(&TopicFilter::new(filter).unwrap(), topic), expected, "{filter} {topic}");
        }
    }
}
