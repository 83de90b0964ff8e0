//! Whose turn it is in each share group.

use std::collections::HashMap;
use std::sync::Mutex;

use super::lock;
use crate::topic::filter::{ShareName, TopicFilter};

/// Beyond so many share groups all begin again with their first member: a cursor is a matter of fairness, not of truth.
const CURSORS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Cursors(Mutex<HashMap<(ShareName, TopicFilter), u64>>);

impl Cursors {
    pub(super) fn lease(&self, share: &ShareName, filter: &TopicFilter, count: u64) -> u64 {
        let mut cursors = lock(&self.0);
        let key = (share.clone(), filter.clone());
        if cursors.len() >= CURSORS_MAX && !cursors.contains_key(&key) {
            cursors.clear();
        }
        let cursor = cursors.entry(key).or_default();
        let first = *cursor;
        *cursor = first.wrapping_add(count);
        first
    }
}
