//! What became of the writes, by the replies of Redis.

use std::sync::atomic::Ordering::Relaxed;

use redis::{RedisError, Value};

use super::group::Group;
use super::wave::Meaning;
use crate::store::redis::link::error::LinkError;
use crate::store::redis::reply::{Reply, number};
use crate::store::redis::sequences::Generation;
use crate::store::redis::{Redis, failed};
use crate::store::{StoreError, Written};

/// The replies of one shard as they are read.
pub(super) struct Reading<'a, 'b> {
    pub(super) store: &'a Redis,
    pub(super) groups: &'a [Group<'b>],
    pub(super) generation: Generation,
    pub(super) written: &'a mut [Written],
}

impl Reading<'_, '_> {
    pub(super) fn note(&mut self, reply: Result<Value, RedisError>, meaning: Meaning) -> Result<(), StoreError> {
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
