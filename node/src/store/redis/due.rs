//! Wills and expiries whose time has come.
//!
//! The index says when to look at a Session, under its name and epoch: an epoch ends only once, so what is written late about an old one
//! can only be superfluous. What is due, and to whom it is leased, is decided at the Session itself.

use bytes::Bytes;
use redis::cmd;

use super::functions::Function;
use super::keys::DUE_SHARDS;
use super::reply::Reply;
use super::sessions::{take_selectors, take_will};
use super::{Redis, failed};
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::store::{DUE_LEASE, Due, Lease, StoreError};
use crate::time::Time;

/// Items that a shard is asked for at a time.
const ROUND_MAX: usize = 1000;

/// How a Session stands in the index.
pub(super) fn member(client_id: &ClientId, epoch: Epoch) -> String {
    format!("{epoch}:{client_id}")
}

fn take_member(member: &[u8]) -> Option<Lease> {
    let (epoch, client_id) = std::str::from_utf8(member).ok()?.split_once(':')?;
    Some(Lease { client_id: ClientId::new(client_id), epoch: epoch.parse().ok()? })
}

fn take_client_id(member: &[u8]) -> &[u8] {
    member.splitn(2, |byte| *byte == b':').nth(1).unwrap_or(member)
}

/// What the index says of a Session.
struct Indexed {
    shard: u16,
    member: Bytes,
    at: Time,
}

/// What a look at a Session found, and when to look again.
struct Look {
    found: Option<Due>,
    again: Option<Time>,
}

impl Redis {
    pub(in crate::store) async fn due(&self, now: Time, limit: usize) -> Result<Vec<Due>, StoreError> {
        let mut found = Vec::new();
        // Each round moves every item that it saw beyond `now`, or finds that somebody else just did.
        while found.len() < limit {
            let mut seen = self.first_in_index((limit - found.len()).min(ROUND_MAX), Some(now)).await?;
            if seen.is_empty() {
                break;
            }
            // The first of all shards: who has waited longest comes first.
            seen.sort_by(|one, other| (one.at, take_client_id(&one.member)).cmp(&(other.at, take_client_id(&other.member))));
            seen.truncate(limit - found.len());
            for item in &seen {
                found.extend(self.look(item, now).await?);
            }
        }
        Ok(found)
    }

    pub(in crate::store) async fn next_due(&self) -> Result<Option<Time>, StoreError> {
        Ok(self.first_in_index(1, None).await?.iter().map(|item| item.at).min())
    }

    /// The first items of each shard, those until a moment or whenever.
    async fn first_in_index(&self, count: usize, until: Option<Time>) -> Result<Vec<Indexed>, StoreError> {
        let range = |shard| {
            let mut range = cmd("ZRANGE");
            range.arg(self.keys.due(shard)).arg("-inf").arg(until.map_or_else(|| "+inf".to_owned(), |until| until.0.to_string()));
            range.arg("BYSCORE").arg("LIMIT").arg(0).arg(count).arg("WITHSCORES");
            range
        };
        let replies = self.link.write(0, (0..DUE_SHARDS).map(range).collect()).await.map_err(failed)?;
        let mut items = Vec::new();
        for (shard, reply) in (0..).zip(replies) {
            let mut reply = Reply::new(reply.map_err(|error| failed(error.into()))?)?;
            while reply.len() >= 2 {
                items.push(Indexed { shard, member: reply.bytes()?, at: Time(reply.number()?) });
            }
        }
        Ok(items)
    }

    /// Leases what is due of a Session that the index has, and puts the index right.
    async fn look(&self, item: &Indexed, now: Time) -> Result<Option<Due>, StoreError> {
        let look = match take_member(&item.member) {
            Some(lease) => self.look_at(lease, now).await?,
            None => Look { found: None, again: None },
        };
        self.index(item.shard, &item.member, look.again, Some(item.at)).await?;
        Ok(look.found)
    }

    /// Writes when a Session is to be looked at, or that it is not; with `seen` only if that is what the index says.
    pub(super) async fn index(&self, shard: u16, member: &[u8], at: Option<Time>, seen: Option<Time>) -> Result<(), StoreError> {
        let number = |at: Option<Time>| at.map_or_else(String::new, |at| at.0.to_string());
        let reply = self.call(Function::Index, &[self.keys.due(shard)], |call| {
            call.arg(member).arg(number(at)).arg(number(seen));
        });
        reply.await.map(drop)
    }

    async fn look_at(&self, lease: Lease, now: Time) -> Result<Look, StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let until = now + DUE_LEASE;
        let reply = self.call(Function::Due, &[keys.session(), keys.subscriptions(), keys.wills()], |call| {
            call.arg(lease.epoch).arg(now.0).arg(until.0);
        });
        let mut reply = Reply::new(reply.await?)?;
        let kind = reply.bytes()?;
        if &kind[..] == b"owned" {
            // Its owner is about to close it, and may be lost before it has put the index right: somebody looks again.
            return Ok(Look { found: None, again: Some(until) });
        }
        let again = reply.optional_number()?.map(Time);
        let found = match &kind[..] {
            b"will" => take_will(&mut reply)?.map(|will| Due::Will { lease, will }),
            b"end" => {
                let will = take_will(&mut reply)?;
                Some(Due::Expired { lease, will, selectors: take_selectors(reply.list()?)? })
            }
            _ => None,
        };
        Ok(Look { found, again })
    }

    pub(in crate::store) async fn will_done(&self, lease: &Lease) -> Result<(), StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let reply = self
            .call(Function::WillDone, &[keys.session(), keys.wills()], |call| {
                call.arg(lease.epoch);
            })
            .await?;
        if let Some(mut reply) = Reply::optional(reply)? {
            // The end may have been put off because of the will.
            let again = reply.optional_number()?.map(Time);
            self.index(keys.due_shard(), member(&lease.client_id, lease.epoch).as_bytes(), again, None).await?;
        }
        Ok(())
    }
}
