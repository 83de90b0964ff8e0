//! Contexts of requests that wait for their answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::lock;
use crate::store::StoreError;
use crate::time::{Span, Time};

#[derive(Debug)]
pub(super) struct Contexts {
    max: usize,
    open: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_id: HashMap<Arc<str>, (Bytes, Time)>,
    by_end: BTreeSet<(Time, Arc<str>)>,
}

impl Contexts {
    pub(super) fn new(max: usize) -> Contexts {
        Contexts { max, open: Mutex::default() }
    }

    pub(super) fn put(&self, id: &str, context: &Bytes, ttl: Span, now: Time) -> Result<bool, StoreError> {
        let mut waiting = lock(&self.open);
        waiting.drop_expired(now);
        if waiting.by_id.contains_key(id) {
            return Ok(false);
        }
        if waiting.by_id.len() >= self.max {
            return Err(StoreError::Full);
        }
        let (id, end) = (Arc::<str>::from(id), now + ttl);
        waiting.by_end.insert((end, id.clone()));
        // A copy, for the context may be a slice of a large read buffer.
        waiting.by_id.insert(id, (Bytes::copy_from_slice(context), end));
        Ok(true)
    }

    pub(super) fn take(&self, id: &str, now: Time) -> Option<Bytes> {
        let mut waiting = lock(&self.open);
        waiting.drop_expired(now);
        let (id, (context, end)) = waiting.by_id.remove_entry(id)?;
        waiting.by_end.remove(&(end, id));
        Some(context)
    }
}

impl Waiting {
    /// Each is dropped once, so this costs its callers a constant in the long run.
    fn drop_expired(&mut self, now: Time) {
        while self.by_end.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, id)) = self.by_end.pop_first() {
                self.by_id.remove(&id);
            }
        }
    }
}
