//! Contexts of requests that wait for their answer, and whose turn it is in a share group.

use bytes::Bytes;
use redis::{Value, cmd};

use super::Redis;
use super::functions::Function;
use super::reply::{bytes, number};
use crate::store::StoreError;
use crate::time::{Span, Time};
use crate::topic::filter::{ShareName, TopicFilter};

/// Digits of the moment, in ms, that stands before a context: when it ends.
const END_DIGITS: usize = 16;

/// A cursor that nobody has asked for in so long begins again: it is a matter of fairness, not of truth.
const CURSOR_TTL_S: u32 = 7 * 24 * 3600;

impl Redis {
    pub(in crate::store) async fn put_context(&self, id: &str, context: Bytes, ttl: Span, now: Time) -> Result<bool, StoreError> {
        let reply = self.call(Function::PutContext, &[self.keys.request(id)], |call| {
            call.arg(now.0).arg(ttl.0).arg(&context[..]);
        });
        Ok(number(&reply.await?)? != 0)
    }

    pub(in crate::store) async fn take_context(&self, id: &str, now: Time) -> Result<Option<Bytes>, StoreError> {
        let mut take = cmd("GETDEL");
        take.arg(self.keys.request(id));
        let reply = self.command(take).await?;
        if reply == Value::Nil {
            return Ok(None);
        }
        let mut context = bytes(reply)?;
        let end = context.split_to(END_DIGITS.min(context.len()));
        let end = std::str::from_utf8(&end).ok().and_then(|text| text.parse().ok()).map(Time);
        Ok(end.filter(|end| *end > now).map(|_| context))
    }

    pub(in crate::store) async fn cursor(&self, share: &ShareName, filter: &TopicFilter, count: u64) -> Result<u64, StoreError> {
        let key = self.keys.cursor(share, filter);
        let (mut lease, mut expire) = (cmd("INCRBY"), cmd("EXPIRE"));
        lease.arg(&key).arg(count);
        expire.arg(&key).arg(CURSOR_TTL_S);
        let after = self.command(lease).await?;
        self.command(expire).await?;
        Ok(number(&after)?.wrapping_sub(count))
    }
}
