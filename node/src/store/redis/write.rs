//! The writes of a turn: grouped by Session, so that each costs few commands; sent in waves, so that a large fan-out is not in memory twice.
//!
//! What is received with nothing pending is written after the messages of its batch; what is pending comes in a batch before them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;
use futures_util::future::join_all;
use redis::{Cmd, RedisError, Value, cmd};

use super::functions::{self, Function};
use super::keys::SessionKeys;
use super::library;
use super::link::error::LinkError;
use super::reply::{Reply, number};
use super::sequences::Generation;
use super::{Redis, encoding, failed};
use crate::message::{Message, Number, Run};
use crate::packet::connect::ClientId;
use crate::packet::{PacketId, QoS};
use crate::session::state::Sequence;
use crate::store::{Lease, Pending, StoreError, Write, Written};
use crate::subscription::Grant;
use crate::time::Time;

/// Bytes of commands that are made before they are sent.
const WAVE_BYTES: usize = 1 << 20;
/// What a command has beside its message, about.
const COMMAND_OVERHEAD: usize = 128;
/// How often a turn is made anew because Redis has become another meanwhile.
const RENEWALS_MAX: usize = 3;
/// Sessions of whose queues it is known how much room there is. More are forgotten all at once, and looked at again by their next write.
const ROOMS_MAX: usize = 100_000;

/// All writes of a turn to one Session; a place is that of the write in the turn.
struct Group<'a> {
    client_id: &'a ClientId,
    appends: Vec<(usize, &'a Arc<Run>, &'a Grant)>,
    acknowledged: Vec<Sequence>,
    released: Vec<Sequence>,
    completed: Vec<Sequence>,
    received: Vec<(usize, &'a Lease, PacketId, Mark<'a>)>,
    settled: Vec<(PacketId, Number)>,
}

/// What is said of a Packet Identifier.
#[derive(Clone, Copy)]
enum Mark<'a> {
    Received(Option<&'a Pending>),
    Forgotten,
}

/// How messages are added to a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There is room for sure.
    Plain,
    /// There is room, but the length is to be looked at.
    Look,
    /// As many as fit.
    Function,
}

/// What a reply means.
enum Meaning {
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

/// Commands on their way, by their shards.
#[derive(Default)]
struct Wave {
    shards: HashMap<u16, (Vec<Cmd>, Vec<Meaning>)>,
    bytes: usize,
    /// Something is added to queues: what is done depends on which Redis does it.
    has_appends: bool,
}

/// The messages of a run that can be in a queue: the field that says when they expire, and the message.
type Encoded = Vec<(String, BytesMut)>;

impl Wave {
    fn add(&mut self, keys: &SessionKeys, command: Cmd, meaning: Meaning) {
        let (commands, meanings) = self.shards.entry(keys.write_shard()).or_default();
        commands.push(command);
        meanings.push(meaning);
    }
}

impl Redis {
    pub(in crate::store) async fn write(&self, writes: Vec<Write>, now: Time) -> Result<Vec<Written>, StoreError> {
        for _ in 0..RENEWALS_MAX {
            match self.write_once(&writes, now).await {
                Err(NotWritten::Stale) => {}
                Err(NotWritten::Failed(error)) => return Err(error),
                Ok(written) => return Ok(written),
            }
        }
        Err(StoreError::Unavailable)
    }

    async fn write_once(&self, writes: &[Write], now: Time) -> Result<Vec<Written>, NotWritten> {
        let generation = self.sequences.begin(self.link.state().generation, now);
        let mut groups = group(writes);
        let mut is_begun = false;
        let mut written = vec![Written::Done; writes.len()];
        // By the address of the run, which `writes` keeps alive.
        let mut encoded: HashMap<usize, Encoded> = HashMap::new();
        let mut wave = Wave::default();
        if self.cluster.is_full() {
            // Well before Redis refuses everything: acknowledgements and ends need what is left.
            groups.iter_mut().for_each(|group| self.refuse(group, &mut written));
        }
        let has_appends = groups.iter().any(|group| !group.appends.is_empty());
        for (place, group) in groups.iter().enumerate() {
            let keys = self.keys.session(group.client_id);
            add_acknowledgements(&mut wave, &keys, group);
            self.add_appends(&mut wave, &keys, (place, group), &mut encoded, generation, now);
            if !has_appends {
                add_received(&mut wave, &keys, group);
            }
            if wave.bytes >= WAVE_BYTES {
                self.send(std::mem::take(&mut wave), &groups, generation, &mut is_begun, &mut written).await?;
            }
        }
        self.send(std::mem::take(&mut wave), &groups, generation, &mut is_begun, &mut written).await?;
        if has_appends {
            groups.iter().for_each(|group| add_received(&mut wave, &self.keys.session(group.client_id), group));
            self.send(wave, &groups, generation, &mut is_begun, &mut written).await?;
        }
        Ok(written)
    }

    /// Adds nothing for this Session: neither messages, nor that one was received.
    fn refuse(&self, group: &mut Group<'_>, written: &mut [Written]) {
        for (place, run, _) in group.appends.drain(..) {
            written[place] = Written::StoreFull;
            self.dropped_full.fetch_add(run.messages().iter().filter(|message| message.qos > QoS::AtMostOnce).count() as u64, Relaxed);
        }
    }

    fn add_appends(
        &self,
        wave: &mut Wave,
        keys: &SessionKeys,
        (group_place, group): (usize, &Group<'_>),
        encoded: &mut HashMap<usize, Encoded>,
        generation: Generation,
        now: Time,
    ) {
        let queue = keys.queue();
        let messages: usize = group.appends.iter().map(|(_, run, _)| run.messages().len()).sum();
        if messages == 0 {
            return;
        }
        wave.has_appends = true;
        if self.sequences.is_behind(group.client_id) {
            let mut resync = Function::Resync.on(std::slice::from_ref(&queue));
            resync.arg(generation.floor);
            wave.add(keys, resync, Meaning::Moved { group: group_place });
        }
        let way = self.way(group.client_id, messages as u64);
        let is_plain = way != Way::Function;
        let mut has_plain = false;
        for (place, run, grant) in &group.appends {
            let entries = encoded.entry(Arc::as_ptr(run).addr()).or_insert_with(|| encode(run));
            let mut head = BytesMut::new();
            encoding::put_head(grant, &mut head);
            wave.bytes += entries.iter().map(|(_, message)| head.len() + message.len() + COMMAND_OVERHEAD).sum::<usize>();
            if run.numbers().is_some() {
                if !entries.is_empty() {
                    wave.add(keys, self.append_once(keys, run, grant, &head, entries, now), Meaning::Once { place: *place });
                }
            } else if is_plain {
                has_plain = true;
                for (field, message) in entries {
                    let mut add = cmd("XADD");
                    add.arg(&queue).arg("NOMKSTREAM").arg("0-*").arg(field).arg(&entry(&head, message)[..]);
                    wave.add(keys, add, Meaning::Added { place: *place });
                }
            } else if !entries.is_empty() {
                let mut append = Function::Append.on(&[keys.session(), queue.clone()]);
                append.arg(now.0).arg(self.limits.queue_messages_max);
                for (field, message) in entries.iter() {
                    append.arg(field).arg(&entry(&head, message)[..]);
                }
                wave.add(keys, append, Meaning::Fitted { place: *place, wanted: entries.len() as u64 });
            }
        }
        if way != Way::Plain && has_plain || way == Way::Function {
            let mut length = cmd("XLEN");
            length.arg(&queue);
            wave.add(keys, length, Meaning::Length { group: group_place });
        }
    }

    /// What comes by way of a share group is apart from what the same Session subscribes to itself: it gets a message both ways.
    fn append_once(&self, keys: &SessionKeys, run: &Run, grant: &Grant, head: &BytesMut, entries: &Encoded, now: Time) -> Cmd {
        let mut append = Function::AppendOnce.on(&[keys.session(), keys.queue(), keys.once()]);
        let (publisher, numbers) = run.numbers().map_or(("", &[][..]), |numbers| (numbers.publisher.as_str(), &numbers.of[..]));
        append.arg(now.0).arg(self.limits.queue_messages_max);
        match &grant.group {
            None => append.arg(publisher),
            Some(group) => append.arg(format!("{publisher}\0{}\0{}", group.share.as_str(), group.filter.as_str())),
        };
        let queued = run.messages().iter().zip(numbers).filter(|(message, _)| message.qos > QoS::AtMostOnce);
        for ((field, message), (_, number)) in entries.iter().zip(queued) {
            append.arg(number).arg(field).arg(&entry(head, message)[..]);
        }
        append
    }

    /// Sends a wave and notes what became of it. `is_begun`: something of the turn has been done, or may have been.
    async fn send(
        &self,
        wave: Wave,
        groups: &[Group<'_>],
        generation: Generation,
        is_begun: &mut bool,
        written: &mut [Written],
    ) -> Result<(), NotWritten> {
        let has_appends = wave.has_appends;
        let mut sending = Vec::with_capacity(wave.shards.len());
        let mut meanings = Vec::with_capacity(wave.shards.len());
        for (shard, (commands, meaning)) in wave.shards {
            sending.push(async move {
                if has_appends {
                    self.link.write_in(generation.number, shard, commands).await
                } else {
                    self.link.write(shard, commands).await
                }
            });
            meanings.push(meaning);
        }
        let replies = join_all(sending).await;
        let is_nothing = |replies: &Result<_, LinkError>| replies.as_ref().is_err_and(|error| *error == LinkError::Stale);
        if !*is_begun && !replies.is_empty() && replies.iter().all(is_nothing) {
            return Err(NotWritten::Stale);
        }
        *is_begun = true;
        for (replies, meanings) in replies.into_iter().zip(meanings) {
            let replies = replies.map_err(failed)?;
            if replies.iter().any(|reply| reply.as_ref().is_err_and(library::is_missing)) {
                functions::load(&self.link).await.map_err(failed)?;
                return Err(StoreError::Unavailable.into()); // part of it is done
            }
            let mut reading = Reading { store: self, groups, generation, written: &mut *written };
            for (reply, meaning) in replies.into_iter().zip(meanings) {
                reading.note(reply, meaning)?;
            }
        }
        Ok(())
    }

    /// How so many messages are added: the bound of a queue is looked at once for an eighth of it, as long as it is less than half full.
    fn way(&self, client_id: &ClientId, messages: u64) -> Way {
        let share = self.limits.queue_messages_max / 8;
        if messages > share {
            return Way::Function;
        }
        match self.rooms().get_mut(client_id) {
            None => Way::Look,
            Some(None) => Way::Function,
            Some(Some(left)) if *left < messages => Way::Look,
            Some(Some(left)) => {
                *left -= messages;
                Way::Plain
            }
        }
    }

    fn note_length(&self, client_id: &ClientId, length: u64) {
        let bound = self.limits.queue_messages_max;
        let mut rooms = self.rooms();
        if rooms.len() >= ROOMS_MAX {
            rooms.clear();
        }
        rooms.insert(client_id.clone(), (length <= bound / 2).then_some(bound / 8));
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, HashMap<ClientId, Option<u64>>> {
        self.rooms.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Why a turn was not written.
enum NotWritten {
    /// Nothing of it was done: Redis has become another since it was made.
    Stale,
    Failed(StoreError),
}

impl From<StoreError> for NotWritten {
    fn from(error: StoreError) -> NotWritten {
        NotWritten::Failed(error)
    }
}

/// The replies of one shard as they are read.
struct Reading<'a, 'b> {
    store: &'a Redis,
    groups: &'a [Group<'b>],
    generation: Generation,
    written: &'a mut [Written],
}

impl Reading<'_, '_> {
    fn note(&mut self, reply: Result<Value, RedisError>, meaning: Meaning) -> Result<(), StoreError> {
        let reply = match reply.map_err(LinkError::from) {
            Ok(reply) => reply,
            Err(LinkError::Full) => return self.note_full(meaning),
            Err(error) => return Err(failed(error)),
        };
        match meaning {
            Meaning::Done => {}
            Meaning::Added { place } if reply == Value::Nil => self.written[place] = Written::NoSession,
            Meaning::Added { .. } => {}
            Meaning::Moved { group } => self.store.sequences.note_moved(self.groups[group].client_id, self.generation),
            Meaning::Length { group } => self.store.note_length(self.groups[group].client_id, number(&reply)?),
            Meaning::Fitted { place, wanted } => match Reply::optional(reply)? {
                None => self.written[place] = Written::NoSession,
                Some(mut reply) => self.note_fitted(place, wanted, &mut reply)?,
            },
            Meaning::Once { place } => match Reply::optional(reply)? {
                None => self.written[place] = Written::NoSession,
                Some(mut reply) => {
                    let wanted = reply.number()?;
                    self.note_fitted(place, wanted, &mut reply)?;
                }
            },
            Meaning::Received { places } if number(&reply)? == 0 => self.say(&places, Written::NoSession),
            Meaning::Received { .. } => {}
        }
        Ok(())
    }

    /// How many fitted, and how many expired ones made room.
    fn note_fitted(&mut self, place: usize, wanted: u64, reply: &mut Reply) -> Result<(), StoreError> {
        let fitted = reply.number()?;
        self.store.expired.fetch_add(reply.number()?, Relaxed);
        if fitted < wanted {
            self.written[place] = Written::QueueFull;
            self.store.dropped_full.fetch_add(wanted - fitted, Relaxed);
        }
        Ok(())
    }

    /// Redis had no memory for it. What frees memory is never refused for that.
    fn note_full(&mut self, meaning: Meaning) -> Result<(), StoreError> {
        match meaning {
            Meaning::Added { place } | Meaning::Once { place } => self.drop_messages(place, 1),
            Meaning::Fitted { place, wanted } => self.drop_messages(place, wanted),
            Meaning::Received { places } => self.say(&places, Written::StoreFull),
            Meaning::Done | Meaning::Moved { .. } | Meaning::Length { .. } => return Err(StoreError::Full),
        }
        Ok(())
    }

    fn drop_messages(&mut self, place: usize, count: u64) {
        self.written[place] = Written::StoreFull;
        self.store.dropped_full.fetch_add(count, Relaxed);
    }

    fn say(&mut self, places: &[usize], answer: Written) {
        places.iter().for_each(|place| self.written[*place] = answer);
    }
}

/// The writes by the Sessions that they are for, in the order of their first.
fn group(writes: &[Write]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, write) in writes.iter().enumerate() {
        let client_id = write.client_id();
        let at = *places.entry(client_id.as_str()).or_insert_with(|| {
            groups.push(Group::new(client_id));
            groups.len() - 1
        });
        groups[at].add(place, write);
    }
    groups
}

impl<'a> Mark<'a> {
    fn is_received(self) -> bool {
        matches!(self, Mark::Received(_))
    }

    fn pending(self) -> Option<&'a Pending> {
        if let Mark::Received(pending) = self { pending } else { None }
    }
}

impl<'a> Group<'a> {
    fn new(client_id: &'a ClientId) -> Group<'a> {
        Group {
            client_id,
            appends: Vec::new(),
            acknowledged: Vec::new(),
            released: Vec::new(),
            completed: Vec::new(),
            received: Vec::new(),
            settled: Vec::new(),
        }
    }

    fn add(&mut self, place: usize, write: &'a Write) {
        match write {
            Write::Append { grant, .. } if grant.qos == QoS::AtMostOnce => {}
            Write::Append { run, grant, .. } => self.appends.push((place, run, grant)),
            Write::Acknowledge { sequence, .. } => self.acknowledged.push(*sequence),
            Write::Release { sequence, .. } => self.released.push(*sequence),
            Write::Complete { sequence, .. } => self.completed.push(*sequence),
            Write::Receive { of, packet_id, pending } => self.received.push((place, of, *packet_id, Mark::Received(pending.as_deref()))),
            Write::Forget { of, packet_id } => self.received.push((place, of, *packet_id, Mark::Forgotten)),
            Write::Settle { packet_id, number, .. } => self.settled.push((*packet_id, *number)),
        }
    }
}

/// What leaves the queue: it also makes room for what is added after it.
fn add_acknowledgements(wave: &mut Wave, keys: &SessionKeys, group: &Group<'_>) {
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
fn add_received(wave: &mut Wave, keys: &SessionKeys, group: &Group<'_>) {
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

/// What an entry of a queue holds.
fn entry(head: &[u8], message: &[u8]) -> Vec<u8> {
    [head, message].concat()
}

fn encode(run: &Run) -> Encoded {
    let messages = run.messages().iter().filter(|message| message.qos > QoS::AtMostOnce);
    let entry = |message: &Message| {
        let mut out = BytesMut::with_capacity(64 + message.topic.as_str().len() + message.payload.len());
        encoding::put_message(message, &mut out);
        (message.expires_at.map_or_else(|| "m".to_owned(), |at| at.0.to_string()), out)
    };
    messages.map(entry).collect()
}
