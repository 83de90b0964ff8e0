//! The QoS 1 and 2 messages that were sent to the Client and are not yet settled, by Packet Identifier.

use std::collections::VecDeque;

use crate::message::InRun;
use crate::packet::PacketId;
use crate::session::state::{Sequence, packet_id};
use crate::subscription::ShareGroup;
use std::sync::Arc;

/// What the Client owes for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaiting {
    Puback,
    Pubrec,
    Pubcomp,
    /// Settled, but an older one is not yet.
    Nothing,
}

/// The message awaits something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAwaited;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) sequence: Sequence,
    pub(super) awaiting: Awaiting,
    /// A message of a share group is kept, for another member gets it if this one leaves without an acknowledgement.
    pub(super) shared: Option<Box<(InRun, Arc<ShareGroup>)>>,
}

/// Ordered by sequence; acknowledgements usually come in order, so most of them take the oldest.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    slots: VecDeque<Slot>,
    open: usize,
}

impl InFlight {
    /// How many messages are not settled.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Whether the Packet Identifier of this sequence is held by an earlier message: then the message must wait.
    pub(super) fn is_taken(&self, sequence: Sequence) -> bool {
        let Some(oldest) = self.slots.front() else { return false };
        let span = sequence.abs_diff(oldest.sequence);
        span >= 65_535
            && self.slots.iter().any(|slot| slot.awaiting != Awaiting::Nothing && packet_id(slot.sequence) == packet_id(sequence))
    }

    /// Takes in a message that is sent now. Sequences nearly always grow; those of resumed PUBRELs may not.
    pub(super) fn insert(&mut self, slot: Slot) {
        self.open += 1;
        match self.slots.back() {
            Some(last) if last.sequence > slot.sequence => {
                let at = self.slots.partition_point(|other| other.sequence < slot.sequence);
                self.slots.insert(at, slot);
            }
            _ => self.slots.push_back(slot),
        }
    }

    pub(super) fn find(&mut self, id: PacketId) -> Option<&mut Slot> {
        let at = self.place(id)?;
        self.slots.get_mut(at)
    }

    /// Where the message with this Packet Identifier is, if it is not settled.
    fn place(&self, id: PacketId) -> Option<usize> {
        let oldest = self.slots.front()?;
        if oldest.awaiting != Awaiting::Nothing && packet_id(oldest.sequence) == id {
            return Some(0);
        }
        let (first, last) = (oldest.sequence, self.slots.back()?.sequence);
        if last - first >= 65_535 {
            return self.slots.iter().position(|slot| slot.awaiting != Awaiting::Nothing && packet_id(slot.sequence) == id);
        }
        let ahead = (u64::from(id.get()) + 65_535 - u64::from(packet_id(first).get())) % 65_535;
        let sequence = first + ahead;
        // Without gaps a message stands as far from the front as its sequence does.
        let guess = ahead as usize;
        let at = match self.slots.get(guess) {
            Some(slot) if slot.sequence == sequence => guess,
            _ => self.slots.binary_search_by_key(&sequence, |slot| slot.sequence).ok()?,
        };
        (self.slots[at].awaiting != Awaiting::Nothing).then_some(at)
    }

    /// The Client has sent what was `expected` of it: the message is settled. Its sequence, if there is such a message.
    pub(super) fn settle(&mut self, id: PacketId, expected: Awaiting) -> Result<Option<Sequence>, NotAwaited> {
        let Some(at) = self.place(id) else { return Ok(None) };
        let slot = &mut self.slots[at];
        if slot.awaiting != expected {
            return Err(NotAwaited);
        }
        let sequence = slot.sequence;
        slot.awaiting = Awaiting::Nothing;
        slot.shared = None;
        self.open -= 1;
        while self.slots.front().is_some_and(|slot| slot.awaiting == Awaiting::Nothing) {
            self.slots.pop_front();
        }
        if self.slots.is_empty() {
            self.slots.shrink_to(256);
        }
        Ok(Some(sequence))
    }

    /// Messages of share groups for which no PUBACK or PUBREC came, oldest first.
    pub(super) fn take_shared(&mut self) -> impl Iterator<Item = (InRun, Arc<ShareGroup>)> + '_ {
        self.slots
            .drain(..)
            .filter(|slot| matches!(slot.awaiting, Awaiting::Puback | Awaiting::Pubrec))
            .filter_map(|slot| slot.shared.map(|shared| *shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(sequence: Sequence) -> Slot {
        Slot { sequence, awaiting: Awaiting::Puback, shared: None }
    }

    #[test]
    fn finds_by_packet_id_across_gaps_and_the_wrap() {
        let mut flight = InFlight::default();
        let sequences = [65_530, 65_531, 65_534, 65_535, 65_536, 65_540];
        for sequence in sequences {
            flight.insert(slot(sequence));
        }
        for sequence in sequences.into_iter().rev() {
            assert_eq!(flight.find(packet_id(sequence)).map(|slot| slot.sequence), Some(sequence));
        }
        assert!(flight.find(packet_id(65_532)).is_none());
        for sequence in sequences {
            assert_eq!(flight.settle(packet_id(sequence), Awaiting::Puback), Ok(Some(sequence)));
        }
        assert_eq!((flight.len(), flight.slots.len()), (0, 0));
    }

    #[test]
    fn a_packet_id_in_flight_is_not_used_twice() {
        let mut flight = InFlight::default();
        flight.insert(slot(7));
        flight.insert(slot(8));
        assert!(flight.is_taken(7 + 65_535));
        assert!(!flight.is_taken(9 + 65_535));
        assert_eq!(flight.settle(packet_id(7), Awaiting::Pubcomp), Err(NotAwaited));
        assert_eq!(flight.settle(packet_id(7), Awaiting::Puback), Ok(Some(7)));
        assert_eq!(flight.settle(packet_id(7), Awaiting::Puback), Ok(None));
        assert!(!flight.is_taken(7 + 65_535));
    }

    #[test]
    fn older_sequences_are_put_in_their_place() {
        let mut flight = InFlight::default();
        for sequence in [5, 9, 3, 4] {
            flight.insert(slot(sequence));
        }
        let order: Vec<_> = flight.slots.iter().map(|slot| slot.sequence).collect();
        assert_eq!(order, [3, 4, 5, 9]);
    }
}
