//! The queue of a Session, read page by page.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::functions::Function;
use super::reply::Reply;
use super::{Redis, encoding};
use crate::message::{InRun, Run};
use crate::session::state::Sequence;
use crate::store::{Lease, StoreError, Stored};
use crate::time::Time;

/// Messages of one call: Redis does nothing else while it gathers them.
const PAGE_MAX: usize = 128;

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
    async fn read_page(
        &self,
        lease: &Lease,
        after: Sequence,
        wanted: usize,
        now: Time,
        stored: &mut Vec<Stored>,
    ) -> Result<(Option<Sequence>, usize), StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let reply = self.call(Function::Read, &[keys.session(), keys.queue()], |call| {
            call.arg(lease.epoch).arg(after).arg(wanted).arg(now.0);
        });
        let mut reply = Reply::new(reply.await?)?;
        let last = reply.optional_number()?;
        let expired = reply.number()?;
        self.expired.fetch_add(expired, Relaxed);
        let looked_at = expired as usize + reply.len() / 2;
        while reply.len() >= 2 {
            let sequence = reply.number()?;
            match encoding::take_queued(reply.bytes()?) {
                Some((grant, message)) => {
                    let message = InRun { run: Arc::new(Run::from(message)), index: 0 };
                    stored.push(Stored { sequence, message, grant });
                }
                None => {
                    tracing::error!(client_id = %lease.client_id, sequence, "a message in the Store is not understood, and is left out");
                }
            }
        }
        Ok((last, looked_at))
    }
}
