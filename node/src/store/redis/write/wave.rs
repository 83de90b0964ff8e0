//! Commands on their way to Redis, and what each of their replies will mean.

use std::collections::HashMap;

use redis::{Cmd, cmd};

use super::group::Group;
use crate::store::Pending;
use crate::store::redis::encoding;
use crate::store::redis::functions::Function;
use crate::store::redis::keys::SessionKeys;

/// Commands on their way, by their shards.
#[derive(Default)]
pub(super) struct Wave {
    pub(super) shards: HashMap<u16, (Vec<Cmd>, Vec<Meaning>)>,
    pub(super) bytes: usize,
    /// Something is added to queues: what is done depends on which Redis does it.
    pub(super) has_appends: bool,
}

/// What a reply means.
pub(super) enum Meaning {
    /// Nothing but that it was done.
    Done,
    /// The sequence of a message of the write at `place`.
    Added { place: usize },
    /// The sequences of a queue are where they should be.
    Moved { group: usize },
    /// How long a queue is.
    Length { group: usize },
    /// How many messages of the write at `place` were not there yet, and how many of them fitted in.
    Once { place: usize },
    /// How many messages of the write at `place` fitted in.
    Fitted { place: usize, wanted: u64 },
    /// Whether the Session took the Packet Identifiers of the writes at these places.
    Received { places: Vec<usize> },
}

impl Wave {
    pub(super) fn add(&mut self, keys: &SessionKeys, command: Cmd, meaning: Meaning) {
        let (commands, meanings) = self.shards.entry(keys.write_shard()).or_default();
        commands.push(command);
        meanings.push(meaning);
    }
}

/// What leaves the queue: it also makes room for what is added after it.
pub(super) fn add_acknowledgements(wave: &mut Wave, keys: &SessionKeys, group: &Group<'_>) {
    if !group.acknowledged.is_empty() {
        let mut delete = cmd("XDEL");
        delete.arg(keys.queue());
        for sequence in &group.acknowledged {
            delete.arg(format!("0-{sequence}"));
        }
        wave.add(keys, delete, Meaning::Done);
    }
    if !group.released.is_empty() {
        let mut release = Function::Release.on(&[keys.queue(), keys.released()]);
        release.arg(&group.released);
        wave.add(keys, release, Meaning::Done);
    }
    if !group.completed.is_empty() {
        let mut complete = cmd("ZREM");
        complete.arg(keys.released()).arg(&group.completed);
        wave.add(keys, complete, Meaning::Done);
    }
}

/// Packet Identifiers in their order: one may be forgotten and received again in one turn.
pub(super) fn add_received(wave: &mut Wave, keys: &SessionKeys, group: &Group<'_>) {
    if !group.settled.is_empty() {
        let mut settle = Function::Settle.on(&[keys.received()]);
        for (packet_id, number) in &group.settled {
            settle.arg(packet_id.get()).arg(&number.to_be_bytes()[..]);
        }
        wave.add(keys, settle, Meaning::Done);
    }
    for part in group.received.chunk_by(|one, next| one.1.epoch == next.1.epoch && one.3.is_received() == next.3.is_received()) {
        let (_, lease, _, mark) = part[0];
        let is_received = mark.is_received();
        let function = if is_received { Function::Receive } else { Function::Forget };
        let mut call = function.on(&[keys.session(), keys.received()]);
        call.arg(lease.epoch);
        if is_received {
            call.arg(part.iter().filter_map(|(_, _, _, mark)| mark.pending()).map(Pending::number).max().unwrap_or(0));
        }
        for (_, _, packet_id, mark) in part {
            call.arg(packet_id.get());
            if is_received {
                call.arg(mark.pending().map(encoding::pending).as_deref().unwrap_or_default());
            }
        }
        let meaning = if is_received { Meaning::Received { places: part.iter().map(|one| one.0).collect() } } else { Meaning::Done };
        wave.add(keys, call, meaning);
    }
}
