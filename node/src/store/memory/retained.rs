//! Retained messages in the order of their Topic Names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bounds::{Bounds, Kept};
use crate::message::Run;
use crate::store::seek::{MISSES_MAX, Seek, first_match, seek};
use crate::store::{Page, StoreError};
use crate::time::Time;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// How many Topic Names one call looks at: about a millisecond.
const VISITS_MAX: usize = 4_000;

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
