//! Whose turn it is in a share group.

use redis::cmd;

use super::Redis;
use super::reply::number;
use crate::store::StoreError;
use crate::topic::filter::{ShareName, TopicFilter};

/// A cursor that nobody has asked for in so long begins again: it is a matter of fairness, not of truth.
const CURSOR_TTL_S: u32 = 7 * 24 * 3600;

impl Redis {
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
