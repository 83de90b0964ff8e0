//! The filters of one subscriber, by their numbers. No I/O, reads no clock.

use std::collections::BTreeSet;

/// So many filters need no memory of their own.
const FEW: usize = 5;

/// No filter has this number.
const NONE: u32 = u32::MAX;

/// A set of numbers, small when it has few.
pub(super) enum Owned {
    /// In no order; NONE fills up.
    Few([u32; FEW]),
    #[expect(clippy::box_collection, reason = "most subscribers have few: with the set in here each would take eight bytes more")]
    Many(Box<BTreeSet<u32>>),
}

impl Default for Owned {
    fn default() -> Owned {
        Owned::Few([NONE; FEW])
    }
}

impl Owned {
    pub(super) fn len(&self) -> usize {
        match self {
            Owned::Few(few) => few.iter().filter(|filter| **filter != NONE).count(),
            Owned::Many(many) => many.len(),
        }
    }

    /// Adds one that is not there yet.
    pub(super) fn add(&mut self, filter: u32) {
        match self {
            Owned::Few(few) => match few.iter_mut().find(|place| **place == NONE) {
                Some(place) => *place = filter,
                None => *self = Owned::Many(Box::new(few.iter().copied().chain([filter]).collect())),
            },
            Owned::Many(many) => {
                many.insert(filter);
            }
        }
    }

    pub(super) fn remove(&mut self, filter: u32) {
        match self {
            Owned::Few(few) => few.iter_mut().filter(|place| **place == filter).for_each(|place| *place = NONE),
            Owned::Many(many) => {
                many.remove(&filter);
                if many.is_empty() {
                    *self = Owned::default();
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (few, many) = match self {
            Owned::Few(few) => (Some(few), None),
            Owned::Many(many) => (None, Some(many)),
        };
        few.into_iter().flatten().chain(many.into_iter().flat_map(|many| many.iter())).copied().filter(|filter| *filter != NONE)
    }
}
