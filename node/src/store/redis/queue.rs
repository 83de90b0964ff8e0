//! The queue of a Session, read page by page.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use redis::{Cmd, Value, cmd};

use super::functions::Function;
use super::keys::SessionKeys;
use super::reply::{Reply, number, unexpected};
use super::{Redis, encoding};
use crate::message::{InRun, Run};
use crate::session::state::Sequence;
use crate::store::{Lease, StoreError, Stored};
use crate::time::Time;

/// Messages of one call: Redis does nothing else while it gathers them.
const PAGE_MAX: usize = 256;

/// An entry as it is in the queue.
struct Entry {
    sequence: Sequence,
    /// In ms; `None`: never.
    expires_at: Option<u64>,
    message: Value,
}

/// What is known of the messages of a Session that may have been sent.
struct Handed {
    /// The last sequence that an earlier connection may have sent.
    before: Sequence,
    /// The last sequence that is noted as read by this one.
    now: Sequence,
}

impl Redis {
    pub(in crate::store) async fn read(&self, lease: &Lease, after: Sequence, limit: usize, now: Time) -> Result<Vec<Stored>, StoreError> {
        let (mut stored, mut after) = (Vec::new(), after);
        while stored.len() < limit {
            let wanted = (limit - stored.len()).min(PAGE_MAX);
            let (last, looked_at) = self.read_page(lease, after, wanted, now, &mut stored).await?;
            match last {
                Some(last) if looked_at == wanted => after = last,
                _ => break,
            }
        }
        Ok(stored)
    }

    /// Looks at so many messages; the last sequence among them and how many there were.
    ///
    /// What may be sent is noted before it is read. Sequences without gaps are counted ahead; where there were gaps it is noted once more, before
    /// anybody gets the messages. Never is more noted than was there.
    async fn read_page(
        &self,
        lease: &Lease,
        after: Sequence,
        wanted: usize,
        now: Time,
        stored: &mut Vec<Stored>,
    ) -> Result<(Option<Sequence>, usize), StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let mut range = cmd("XRANGE");
        range.arg(keys.queue()).arg(format!("(0-{after}")).arg("+").arg("COUNT").arg(wanted);
        let hand = hand(&keys, lease, after.saturating_add(wanted as u64));
        let [handed, entries] = self.by_lane(&keys, [hand, range]).await?;
        let (Some(handed), entries) = (take_handed(handed)?, Reply::new(entries)?) else { return Ok((None, 0)) };
        let entries = entries.map(take_entry).collect::<Result<Vec<_>, _>>()?;
        let Some(last) = entries.last().map(|entry| entry.sequence) else { return Ok((None, 0)) };
        if last > handed.now {
            let [again] = self.by_lane(&keys, [self::hand(&keys, lease, last)]).await?;
            if take_handed(again)?.is_none() {
                return Ok((None, 0)); // another connection has the Session by now
            }
        }
        let looked_at = entries.len();
        let mut expired = Vec::new();
        for Entry { sequence, expires_at, message } in entries {
            if sequence > handed.before && expires_at.is_some_and(|at| at <= now.0) {
                expired.push(format!("0-{sequence}"));
                continue;
            }
            match encoding::take_queued(super::reply::bytes(message)?) {
                Some((grant, message)) => {
                    let message = InRun { run: Arc::new(Run::from(message)), index: 0 };
                    stored.push(Stored { sequence, message, grant });
                }
                None => {
                    tracing::error!(client_id = %lease.client_id, sequence, "a message in the Store is not understood, and is left out");
                }
            }
        }
        if !expired.is_empty() {
            let [gone] = self.by_lane(&keys, [cmd("XDEL").arg(keys.queue()).arg(&expired).take()]).await?;
            self.expired.fetch_add(number(&gone)?, Relaxed);
        }
        Ok((Some(last), looked_at))
    }
}

/// Notes that the messages up to this sequence are read.
fn hand(keys: &SessionKeys, lease: &Lease, up_to: Sequence) -> Cmd {
    Function::Hand.on(&[keys.session(), keys.queue()]).arg(lease.epoch).arg(up_to).take()
}

fn take_handed(reply: Value) -> Result<Option<Handed>, StoreError> {
    let Some(mut reply) = Reply::optional(reply)? else { return Ok(None) };
    Ok(Some(Handed { before: reply.number()?, now: reply.number()? }))
}

/// `0-SEQUENCE`, and a field whose name says when it expires.
fn take_entry(value: Value) -> Result<Entry, StoreError> {
    let mut parts = Reply::new(value)?;
    let id = parts.bytes()?;
    let sequence = std::str::from_utf8(&id).ok().and_then(|id| id.strip_prefix("0-")?.parse().ok());
    let sequence = sequence.ok_or_else(|| unexpected(&Value::BulkString(id.to_vec())))?;
    let mut fields = parts.list()?;
    let expires_at = std::str::from_utf8(&fields.bytes()?).ok().and_then(|at| at.parse().ok());
    Ok(Entry { sequence, expires_at, message: fields.value() })
}
