//! A hash map from filters without wildcards to values, for millions of them. No I/O, reads no clock.

use std::array;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::topic::texts::{Place, Texts};

/// Growing one table of a million filters takes a quarter of a second, in which nobody could route. So it is many small tables, by
/// bits of the hash that a small table does not use itself.
const TABLES: usize = 256;
const TABLE_SHIFT: u32 = 40;

/// A filter has a number for as long as it is here; its value is the default one at first.
pub(super) struct Exact<V> {
    /// The numbers of the filters, hashed by their texts.
    tables: Box<[HashTable<u32>; TABLES]>,
    /// By their numbers.
    filters: Vec<Filter<V>>,
    /// Numbers that are free for reuse.
    free: Vec<u32>,
    texts: Texts,
    hasher: RandomState,
}

struct Filter<V> {
    text: Place,
    value: V,
}

impl<V> Default for Exact<V> {
    fn default() -> Exact<V> {
        Exact {
            tables: Box::new(array::from_fn(|_| HashTable::new())),
            filters: Vec::new(),
            free: Vec::new(),
            texts: Texts::default(),
            hasher: RandomState::default(),
        }
    }
}

impl<V: Copy + Default> Exact<V> {
    pub(super) fn find(&self, filter: &str) -> Option<u32> {
        self.find_hashed(self.hash(filter.as_bytes()), filter.as_bytes())
    }

    pub(super) fn find_or_add(&mut self, filter: &str) -> u32 {
        let hash = self.hash(filter.as_bytes());
        self.find_hashed(hash, filter.as_bytes()).unwrap_or_else(|| self.add(hash, filter.as_bytes()))
    }

    pub(super) fn value(&self, filter: u32) -> V {
        self.filters[filter as usize].value
    }

    pub(super) fn value_mut(&mut self, filter: u32) -> &mut V {
        &mut self.filters[filter as usize].value
    }

    /// The text of a filter.
    pub(super) fn text(&self, filter: u32) -> String {
        String::from_utf8_lossy(self.texts.get(self.filters[filter as usize].text)).into_owned()
    }

    pub(super) fn remove(&mut self, filter: u32) {
        let text = self.filters[filter as usize].text;
        let hash = self.hash(self.texts.get(text));
        let table = &mut self.tables[table(hash)];
        if let Ok(entry) = table.find_entry(hash, |&other| other == filter) {
            entry.remove();
        }
        if table.len() < table.capacity() / 4 {
            let (filters, texts, hasher) = (&self.filters, &self.texts, &self.hasher);
            table.shrink_to(table.len() * 2, |&other| hasher.hash_one(texts.get(filters[other as usize].text)));
        }
        let filters = &mut self.filters;
        self.texts.remove(text, |filter, place| filters[filter as usize].text = place);
        self.free.push(filter);
        if self.free.len() == self.filters.len() {
            *self = Exact::default(); // gives the memory of a burst of filters back
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.is_empty())
    }

    fn find_hashed(&self, hash: u64, filter: &[u8]) -> Option<u32> {
        self.tables[table(hash)].find(hash, |&other| self.texts.get(self.filters[other as usize].text) == filter).copied()
    }

    fn add(&mut self, hash: u64, text: &[u8]) -> u32 {
        let filter = self.free.pop().unwrap_or_else(|| {
            let filter = u32::try_from(self.filters.len()).expect("four billion filters do not fit in memory");
            self.filters.push(Filter { text: Place::NONE, value: V::default() });
            filter
        });
        self.filters[filter as usize] = Filter { text: self.texts.add(filter, text), value: V::default() };
        let (filters, texts, hasher) = (&self.filters, &self.texts, &self.hasher);
        let rehash = |&other: &u32| hasher.hash_one(texts.get(filters[other as usize].text));
        self.tables[table(hash)].insert_unique(hash, filter, rehash);
        filter
    }

    fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }
}

fn table(hash: u64) -> usize {
    (hash >> TABLE_SHIFT) as usize % TABLES
}
