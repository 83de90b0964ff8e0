//! A hash map from filters without wildcards to values, for millions of them. No I/O, reads no clock.

use std::array;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Growing one table of a million filters takes a quarter of a second, in which nobody could route. So it is many small tables, by
/// bits of the hash that a small table does not use itself.
const TABLES: usize = 256;
const TABLE_SHIFT: u32 = 40;

pub(super) struct Exact<V> {
    tables: Box<[HashTable<Entry<V>>; TABLES]>,
    hasher: RandomState,
}

struct Entry<V> {
    filter: Box<str>,
    value: V,
}

impl<V> Default for Exact<V> {
    fn default() -> Exact<V> {
        Exact { tables: Box::new(array::from_fn(|_| HashTable::new())), hasher: RandomState::default() }
    }
}

impl<V> Exact<V> {
    pub(super) fn get(&self, filter: &str) -> Option<&V> {
        let hash = self.hasher.hash_one(filter);
        self.tables[table(hash)].find(hash, |entry| *entry.filter == *filter).map(|entry| &entry.value)
    }

    pub(super) fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        let hash = self.hasher.hash_one(filter);
        self.tables[table(hash)].find_mut(hash, |entry| *entry.filter == *filter).map(|entry| &mut entry.value)
    }

    /// The value of this filter, made when there is none.
    pub(super) fn or_default(&mut self, filter: &str) -> &mut V
    where
        V: Default,
    {
        let (hash, hasher) = (self.hasher.hash_one(filter), &self.hasher);
        let same = |entry: &Entry<V>| *entry.filter == *filter;
        let place = self.tables[table(hash)].entry(hash, same, |entry| hasher.hash_one(&*entry.filter));
        let entry = place.or_insert_with(|| Entry { filter: filter.into(), value: V::default() });
        &mut entry.into_mut().value
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let (hash, hasher) = (self.hasher.hash_one(filter), &self.hasher);
        let table = &mut self.tables[table(hash)];
        let Ok(entry) = table.find_entry(hash, |entry| *entry.filter == *filter) else { return };
        entry.remove();
        if table.len() < table.capacity() / 4 {
            table.shrink_to(table.len() * 2, |entry| hasher.hash_one(&*entry.filter));
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.is_empty())
    }
}

fn table(hash: u64) -> usize {
    (hash >> TABLE_SHIFT) as usize % TABLES
}
