//! The queue of one Session.

use std::collections::VecDeque;
use std::sync::Arc;

use super::bounds::{Kept, weight};
use crate::message::{InRun, Message};
use crate::session::state::Sequence;
use crate::store::Stored;
use crate::subscription::Grant;
use crate::time::Time;

/// An empty queue with more places than this gives its memory back; a smaller one keeps it for the next message.
const PLACES_KEPT: usize = 64;

/// Messages in the order of their sequences.
///
/// It holds stretches of runs, not messages, so that a run costs the same whatever its length. A message that leaves shortens its
/// stretch or splits it in two. A split moves at most the stretches before it, which are no more than the Client has in flight.
#[derive(Debug, Default)]
pub(super) struct Queue {
    stretches: VecDeque<Stretch>,
    /// How many messages it holds.
    pub(super) messages: u64,
    /// The sum of their weights.
    pub(super) bytes: u64,
    /// No message that may be swept expires before this.
    next_expiry: Option<Time>,
}

/// Consecutive messages of a run under consecutive sequences.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) first: Sequence,
    pub(super) kept: Arc<Kept>,
    pub(super) grant: Grant,
    /// The place of the first message in the run.
    pub(super) index: u32,
    /// Never zero.
    pub(super) len: u32,
}

impl Stretch {
    fn end(&self) -> Sequence {
        self.first + u64::from(self.len)
    }

    fn messages(&self) -> &[Message] {
        &self.kept.run.messages()[self.index as usize..][..self.len as usize]
    }

    /// Leaves out the first `count` messages.
    fn skip(&mut self, count: u32) {
        self.first += u64::from(count);
        self.index += count;
        self.len -= count;
    }
}

impl Queue {
    /// Puts a stretch of this weight at the end.
    pub(super) fn push(&mut self, stretch: Stretch, bytes: u64) {
        debug_assert!(stretch.len > 0 && self.stretches.back().is_none_or(|last| last.end() <= stretch.first));
        self.messages += u64::from(stretch.len);
        self.bytes += bytes;
        self.next_expiry = earlier(self.next_expiry, stretch.kept.next_expiry);
        self.stretches.push_back(stretch);
    }

    /// Takes one message out; its weight, or `None` when it is not there.
    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<u64> {
        let place = self.place(sequence);
        let stretch = self.stretches.get_mut(place).filter(|stretch| stretch.first <= sequence)?;
        let offset = (sequence - stretch.first) as u32;
        let freed = weight(&stretch.messages()[offset as usize]);
        let mut rest = None;
        match (offset, stretch.len) {
            (0, 1) => drop(self.stretches.remove(place)),
            (0, _) => stretch.skip(1),
            (offset, len) => {
                if offset + 1 < len {
                    let after = rest.insert(stretch.clone());
                    after.skip(offset + 1);
                }
                stretch.len = offset;
            }
        }
        if let Some(rest) = rest {
            self.stretches.insert(place + 1, rest);
        }
        self.messages -= 1;
        self.bytes -= freed;
        self.give_back();
        Some(freed)
    }

    /// The messages after `after`: at most `limit` that have not expired or are not beyond `sent`, and the sequences of those that are both.
    pub(super) fn read(&self, after: Sequence, limit: usize, sent: Sequence, now: Time) -> (Vec<Stored>, Vec<Sequence>) {
        let mut page = Vec::with_capacity(limit.min(self.messages as usize));
        let mut expired = Vec::new();
        let Some(next) = after.checked_add(1) else { return (page, expired) };
        for stretch in self.stretches.range(self.place(next)..) {
            let skipped = next.saturating_sub(stretch.first).min(u64::from(stretch.len)) as u32;
            for offset in skipped..stretch.len {
                if page.len() == limit {
                    return (page, expired);
                }
                let (sequence, index) = (stretch.first + u64::from(offset), stretch.index + offset);
                // A run that does not expire is not looked into.
                let may_expire = stretch.kept.next_expiry.is_some_and(|at| at <= now);
                if may_expire && sequence > sent && has_expired(&stretch.messages()[offset as usize], now) {
                    expired.push(sequence);
                    continue;
                }
                let message = InRun { run: stretch.kept.run.clone(), index };
                page.push(Stored { sequence, message, grant: stretch.grant.clone() });
            }
        }
        (page, expired)
    }

    /// Takes out what has expired beyond `sent`. Costs nothing when nothing can have.
    pub(super) fn sweep(&mut self, sent: Sequence, now: Time) -> Vec<u64> {
        if self.next_expiry.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let (mut gone, mut next) = (Vec::new(), None);
        for stretch in self.stretches.range(self.place(sent.saturating_add(1))..) {
            for (sequence, message) in (stretch.first..).zip(stretch.messages()).filter(|(sequence, _)| *sequence > sent) {
                match has_expired(message, now) {
                    true => gone.push(sequence),
                    false => next = earlier(next, message.expires_at),
                }
            }
        }
        self.next_expiry = next;
        // From the end, so that fewer stretches have to move.
        gone.into_iter().rev().filter_map(|sequence| self.remove(sequence)).collect()
    }

    /// The first stretch that reaches `sequence` or begins after it.
    fn place(&self, sequence: Sequence) -> usize {
        match self.stretches.front() {
            Some(first) if first.end() > sequence => 0, // the usual case: acknowledgements come in order
            _ => self.stretches.partition_point(|stretch| stretch.end() <= sequence),
        }
    }

    fn give_back(&mut self) {
        if self.stretches.is_empty() && self.stretches.capacity() > PLACES_KEPT {
            self.stretches = VecDeque::new();
        }
    }
}

fn has_expired(message: &Message, now: Time) -> bool {
    message.expires_at.is_some_and(|at| at <= now)
}

fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    one.into_iter().chain(other).min()
}
