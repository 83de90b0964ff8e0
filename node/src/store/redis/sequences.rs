//! Sequences of queues go forward when Redis goes back: a failover or a restart may forget the last messages and the sequences they had
//! (REDIS.md 3.2, trap 3). Given again, they would be Packet Identifiers that Clients still hold for other messages, and a connection that has
//! read further would not see them. So the first write of a node to a queue, in each generation of Redis, moves it on to a time that is later
//! than all sequences. No I/O, reads no clock.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::packet::connect::ClientId;
use crate::session::state::Sequence;
use crate::time::{Span, Time};

/// How far the clock of this node may be behind the one of Redis.
const MARGIN: Span = Span(1000);

/// Queues of which it is known that they have been moved. More are forgotten all at once, and looked at again by their next write.
const MOVED_MAX: usize = 1_000_000;

/// Which queues this node has moved on.
#[derive(Debug, Default)]
pub(super) struct Sequences(Mutex<Moved>);

#[derive(Debug, Default)]
struct Moved {
    generation: u64,
    floor: Sequence,
    /// Hashes of Client Identifiers: a fleet of a million takes some megabytes.
    queues: HashSet<u64>,
    hasher: RandomState,
}

/// A generation of Redis, and what is below all sequences that are given in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) floor: Sequence,
}

impl Sequences {
    /// What holds for a write that is made now, by this generation of the link.
    pub(super) fn begin(&self, generation: u64, now: Time) -> Generation {
        let mut moved = self.moved();
        if moved.generation != generation || moved.floor == 0 {
            moved.generation = generation;
            moved.floor = moved.floor.max((now + MARGIN).0.saturating_mul(1000)); // sequences begin with microseconds
            moved.queues.clear();
        }
        Generation { number: moved.generation, floor: moved.floor }
    }

    /// Whether this queue is to be moved on before something is added.
    pub(super) fn is_behind(&self, client_id: &ClientId) -> bool {
        let moved = self.moved();
        !moved.queues.contains(&moved.hasher.hash_one(client_id))
    }

    /// It was moved on in this generation.
    pub(super) fn note_moved(&self, client_id: &ClientId, generation: Generation) {
        let mut moved = self.moved();
        if moved.generation == generation.number {
            if moved.queues.len() >= MOVED_MAX {
                moved.queues.clear();
            }
            let hash = moved.hasher.hash_one(client_id);
            moved.queues.insert(hash);
        }
    }

    fn moved(&self) -> MutexGuard<'_, Moved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generation_moves_every_queue_once_and_never_back() {
        let (sequences, client) = (Sequences::default(), ClientId::new("c"));
        let first = sequences.begin(1, Time(5_000));
        assert_eq!(first, Generation { number: 1, floor: 6_000_000 });
        assert!(sequences.is_behind(&client));
        sequences.note_moved(&client, first);
        assert_eq!(sequences.begin(1, Time(9_000)), first);
        assert!(!sequences.is_behind(&client));

        let second = sequences.begin(2, Time(4_000));
        assert_eq!(second, Generation { number: 2, floor: 6_000_000 });
        assert!(sequences.is_behind(&client));
        sequences.note_moved(&client, first); // an answer that comes late
        assert!(sequences.is_behind(&client));
        assert_eq!(sequences.begin(3, Time(20_000)).floor, 21_000_000);
    }
}
