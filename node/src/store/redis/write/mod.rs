//! The writes of a turn: grouped by Session, so that each costs few commands; sent in waves, so that a large fan-out is not in memory twice.
//!
//! What is received with nothing pending is written after the messages of its batch; what is pending comes in a batch before them.

mod group;
mod replies;
mod wave;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;
use futures_util::future::join_all;
use redis::{Cmd, cmd};

use self::group::{Group, group};
use self::replies::Reading;
use self::wave::{Meaning, Wave, add_acknowledgements, add_received};
use super::functions::{self, Function};
use super::keys::SessionKeys;
use super::link::error::LinkError;
use super::sequences::Generation;
use super::{Redis, encoding, failed, library};
use crate::message::{Message, Run};
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::store::{StoreError, Write, Written};
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

/// The messages of a run that can be in a queue: the field that says when they expire, and the message.
type Encoded = Vec<(String, BytesMut)>;

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
