//! The writes of a turn.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;

use super::bounds::{Bounds, Kept, weight};
use super::lock;
use super::queue::Stretch;
use super::record::{Durable, Record};
use super::sessions::Sessions;
use crate::message::Run;
use crate::packet::QoS;
use crate::store::{Write, Written};
use crate::subscription::Grant;
use crate::time::Time;

/// What one batch looks up or copies once.
struct Batch<'a> {
    bounds: &'a Arc<Bounds>,
    now: Time,
    /// By the address of the run, which the batch keeps alive.
    kept: HashMap<*const Run, Arc<Kept>, RandomState>,
}

pub(super) fn write(sessions: &Sessions, bounds: &Arc<Bounds>, writes: &[Write], now: Time) -> Vec<Written> {
    let mut written = Vec::with_capacity(writes.len());
    let mut batch = Batch { bounds, now, kept: HashMap::default() };
    // By the address of the client id, which the batch keeps alive: the many writes of a turn to one Session share it.
    let mut records: HashMap<*const u8, Option<Arc<Mutex<Record>>>, RandomState> = HashMap::default();
    for group in writes.chunk_by(|one, next| address(one) == address(next)) {
        let find = || sessions.find(group[0].client_id());
        // Many batches are about one Session, and need no memory of it.
        let only = if group.len() == writes.len() { find() } else { None };
        match only.as_ref().or_else(|| records.entry(address(&group[0])).or_insert_with(find).as_ref()) {
            Some(record) => {
                let mut record = lock(record);
                written.extend(group.iter().map(|write| batch.write(&mut record, write)));
            }
            None => written.extend(group.iter().map(Write::without_session)),
        }
    }
    written
}

fn address(write: &Write) -> *const u8 {
    write.client_id().as_str().as_ptr()
}

impl Write {
    /// What to say when there is no such Session: only a promise is refused.
    fn without_session(&self) -> Written {
        match self {
            Write::Append { .. } | Write::Receive { .. } => Written::NoSession,
            _ => Written::Done,
        }
    }
}

impl Batch<'_> {
    fn write(&mut self, record: &mut Record, write: &Write) -> Written {
        let is_owner = match write {
            Write::Receive { of, .. } | Write::Forget { of, .. } => record.is_owned_by(of),
            _ => true,
        };
        let Some(durable) = record.durable_at(self.now).filter(|_| is_owner) else { return write.without_session() };
        match write {
            Write::Append { run, grant, .. } => return self.append(durable, run, grant),
            Write::Acknowledge { sequence, .. } => drop(self.remove(durable, *sequence)),
            Write::Release { sequence, .. } => {
                let found = self.remove(durable, *sequence);
                durable.released.extend(found.map(|_| *sequence));
            }
            Write::Complete { sequence, .. } => {
                let place = durable.released.iter().position(|released| released == sequence);
                place.map(|place| durable.released.remove(place));
            }
            Write::Receive { packet_id, .. } => drop(durable.received.insert(*packet_id)),
            Write::Forget { packet_id, .. } => drop(durable.received.remove(packet_id)),
            Write::Settle { .. } => {} // nothing is kept as pending here
        }
        Written::Done
    }

    fn remove(&self, durable: &mut Durable, sequence: u64) -> Option<u64> {
        let freed = durable.queue.remove(sequence)?;
        self.bounds.release_messages(1, freed);
        Some(freed)
    }

    fn append(&mut self, durable: &mut Durable, run: &Arc<Run>, grant: &Grant) -> Written {
        if grant.qos == QoS::AtMostOnce {
            return Written::Done;
        }
        let kept = match self.kept.entry(Arc::as_ptr(run)) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => match Kept::new(run, self.bounds) {
                Some(kept) => place.insert(Arc::new(kept)).clone(),
                None => return self.refuse(run.messages().len() as u64),
            },
        };
        let len = run.messages().len() as u64;
        if kept.lowest > QoS::AtMostOnce && self.fits(durable, len, kept.weight) {
            return self.push(durable, &kept, grant, 0, len as u32, kept.weight);
        }
        self.append_part(durable, &kept, grant)
    }

    /// Message by message, for a run that has some at QoS 0 or that does not fit as a whole.
    fn append_part(&mut self, durable: &mut Durable, kept: &Arc<Kept>, grant: &Grant) -> Written {
        let mut answer = Written::Done;
        for (index, message) in kept.run.messages().iter().enumerate().filter(|(_, message)| message.qos > QoS::AtMostOnce) {
            let bytes = weight(message);
            if !self.fits(durable, 1, bytes) {
                self.bounds.dropped_full.fetch_add(1, Relaxed);
                answer = Written::QueueFull;
            } else if self.push(durable, kept, grant, index as u32, 1, bytes) == Written::StoreFull {
                return Written::StoreFull;
            }
        }
        answer
    }

    fn push(&self, durable: &mut Durable, kept: &Arc<Kept>, grant: &Grant, index: u32, len: u32, bytes: u64) -> Written {
        if !self.bounds.admit_messages(u64::from(len), bytes) {
            return self.refuse(u64::from(len));
        }
        let stretch = Stretch { first: durable.last + 1, kept: kept.clone(), grant: grant.clone(), index, len };
        durable.last += u64::from(len);
        durable.queue.push(stretch, bytes);
        Written::Done
    }

    /// Whether the queue has room, after what has expired in it is out of the way.
    fn fits(&self, durable: &mut Durable, messages: u64, bytes: u64) -> bool {
        let limits = &self.bounds.limits;
        let has_room = |durable: &Durable| {
            let queue = &durable.queue;
            queue.messages + messages <= limits.queue_messages_max && queue.bytes + bytes <= limits.queue_bytes_max
        };
        if has_room(durable) {
            return true;
        }
        let freed = durable.queue.sweep(durable.sent.max(durable.handed), self.now);
        self.bounds.release_messages(freed.len() as u64, freed.iter().sum());
        self.bounds.expired.fetch_add(freed.len() as u64, Relaxed);
        has_room(durable)
    }

    fn refuse(&self, messages: u64) -> Written {
        self.bounds.dropped_full.fetch_add(messages, Relaxed);
        Written::StoreFull
    }
}
