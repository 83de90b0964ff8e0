//! Retained messages in the order of their Topic Names.
//!
//! They are found through an index of names in their order. A filter that begins with a wildcard walks over all names of other branches
//! only to skip them, a name at a time where branches are small.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytestring::ByteString;
use redis::cmd;

use super::functions::Function;
use super::reply::{Reply, number};
use super::{Redis, encoding};
use crate::message::Run;
use crate::store::seek::{MISSES_MAX, Seek, first_match, seek};
use crate::store::{Page, StoreError};
use crate::time::Time;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Topic Names that one command brings: at least and at most.
const NAMES: (usize, usize) = (64, 512);
/// Commands for names that one call sends, before it leaves the rest to the next.
const ROUNDS_MAX: usize = 16;

/// Where a walk over the names goes on.
enum From {
    At(String),
    After(String),
}

impl Redis {
    pub(in crate::store) async fn retain(&self, topic: &TopicName, message: Option<Arc<Run>>, now: Time) -> Result<(), StoreError> {
        let keys = self.keys.retained();
        let Some(run) = message else {
            return self.unretain(topic.as_str(), now).await;
        };
        debug_assert!(run.topic() == topic && run.messages().len() == 1);
        if self.cluster.is_full() && !topic.is_system() {
            return Err(StoreError::Full); // what is left is for what must go on
        }
        let message = &run.messages()[0];
        let (encoded, expires_at) = (encoding::retained(message), message.expires_at.map_or_else(String::new, |at| at.0.to_string()));
        let reply = self.call(Function::Retain, &keys, |call| {
            call.arg(now.0).arg(topic.as_str()).arg(&encoded[..]).arg(&expires_at).arg(self.limits.retained_max);
        });
        let mut reply = Reply::new(reply.await?)?;
        let kept = reply.flag()?;
        self.expired.fetch_add(reply.number()?, Relaxed);
        if kept { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Removes a retained message, and some whose time is over; with an empty name only those.
    async fn unretain(&self, topic: &str, now: Time) -> Result<(), StoreError> {
        let expired = self
            .call(Function::Unretain, &self.keys.retained(), |call| {
                call.arg(now.0).arg(topic);
            })
            .await?;
        self.expired.fetch_add(number(&expired)?, Relaxed);
        Ok(())
    }

    pub(in crate::store) async fn retained(
        &self,
        filter: &TopicFilter,
        after: Option<&TopicName>,
        limit: usize,
        now: Time,
    ) -> Result<Page, StoreError> {
        let after = after.map(TopicName::as_str);
        if !filter.has_wildcard() {
            let is_wanted = after.is_none_or(|after| after < filter.as_str());
            let names: Vec<_> = is_wanted.then(|| filter.as_str().to_owned()).into_iter().collect();
            return Ok(Page { messages: self.retained_at(&names, now).await?, next: None });
        }
        let first = first_match(filter);
        let mut from = Some(match after.filter(|after| *after >= first) {
            Some(after) => From::After(after.to_owned()),
            None => From::At(first.to_owned()),
        });
        let limit = limit.max(1);
        let (mut matched, mut last) = (Vec::new(), None);
        for _ in 0..ROUNDS_MAX {
            let Some(start) = from.take() else { break };
            let count = limit.clamp(NAMES.0, NAMES.1);
            let names = self.retained_names(&start, count).await?;
            from = walk(filter, &names, names.len() == count, limit, &mut matched, &mut last);
            if matched.len() >= limit {
                break;
            }
        }
        let next = from.and(last).and_then(|name: String| TopicName::new(ByteString::from(name)));
        Ok(Page { messages: self.retained_at(&matched, now).await?, next })
    }

    async fn retained_names(&self, from: &From, count: usize) -> Result<Vec<String>, StoreError> {
        let [_, names, _] = self.keys.retained();
        let start = match from {
            From::At(name) => format!("[{name}"),
            From::After(name) => format!("({name}"),
        };
        let mut range = cmd("ZRANGE");
        range.arg(names).arg(start).arg("+").arg("BYLEX").arg("LIMIT").arg(0).arg(count);
        let names = Reply::new(self.command(range).await?)?.all_bytes()?;
        // A name that is no text was not written by us, and matches nothing.
        Ok(names.into_iter().filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect())
    }

    /// The messages of these Topic Names that are there and have not expired.
    async fn retained_at(&self, names: &[String], now: Time) -> Result<Vec<Arc<Run>>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let [messages, ..] = self.keys.retained();
        let mut get = cmd("HMGET");
        get.arg(messages).arg(names);
        let found = Reply::new(self.command(get).await?)?.all_optional_bytes()?;
        let found: Vec<_> = found.into_iter().flatten().filter_map(encoding::take_retained).collect();
        let before = found.len();
        let fresh = found.into_iter().filter(|message| message.expires_at.is_none_or(|at| at > now));
        let fresh: Vec<_> = fresh.map(|message| Arc::new(Run::from(message))).collect();
        if fresh.len() < before {
            self.unretain("", now).await?;
        }
        Ok(fresh)
    }

    pub(super) async fn retained_count(&self) -> Result<u64, StoreError> {
        let [messages, ..] = self.keys.retained();
        let mut length = cmd("HLEN");
        length.arg(messages);
        number(&self.command(length).await?)
    }
}

/// Goes over names in their order, adds those that match, and says where to go on. `has_more`: there may be names after these.
fn walk(
    filter: &TopicFilter,
    names: &[String],
    has_more: bool,
    limit: usize,
    matched: &mut Vec<String>,
    last: &mut Option<String>,
) -> Option<From> {
    let (mut misses, mut place) = (0, 0);
    while let Some(name) = names.get(place) {
        *last = Some(name.clone());
        place += 1;
        if TopicName::new(ByteString::from(name.as_str())).is_some_and(|topic| filter.matches(&topic)) {
            misses = 0;
            matched.push(name.clone());
            if matched.len() >= limit {
                break;
            }
            continue;
        }
        misses += 1;
        if misses == MISSES_MAX {
            misses = 0;
            match seek(filter, name) {
                Seek::Next => {}
                Seek::End => return None,
                Seek::To(target) => {
                    place += names[place..].partition_point(|name| *name < target);
                    if place == names.len() && has_more {
                        return Some(From::At(target));
                    }
                }
            }
        }
    }
    let is_end = place == names.len() && !has_more;
    last.clone().filter(|_| !is_end).map(From::After)
}
