//! A walk over all keys that begin with our prefix, on all primaries, a page at a time.
//!
//! As SCAN does, it finds every key that is there from its beginning to its end, and others perhaps; a key may come twice. In a Redis
//! Cluster whose primaries change meanwhile it may miss some.

use std::fmt;

use bytes::Bytes;
use redis::cmd;

use super::failed;
use super::link::Link;
use super::reply::Reply;
use crate::store::StoreError;

/// Keys that Redis looks at for one page: about 0.3 ms of its time.
const PAGE: usize = 1000;

/// Where a walk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// By its place among the primaries.
    pub primary: usize,
    /// As SCAN has it.
    pub cursor: u64,
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.primary, self.cursor)
    }
}

impl Scan {
    /// As it was shown.
    pub fn parse(text: &str) -> Option<Scan> {
        let (primary, cursor) = text.split_once(':')?;
        Some(Scan { primary: primary.parse().ok()?, cursor: cursor.parse().ok()? })
    }

    /// The next page, which may be empty; `None` when there are no more.
    pub(super) async fn next(&mut self, link: &Link, pattern: &str) -> Result<Option<Vec<Bytes>>, StoreError> {
        let scan = cmd("SCAN").arg(self.cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(PAGE).take();
        let Some(reply) = link.call_at(self.primary, scan).await.map_err(failed)? else { return Ok(None) };
        let mut reply = Reply::new(reply)?;
        self.cursor = reply.number()?;
        if self.cursor == 0 {
            self.primary += 1;
        }
        reply.list()?.all_bytes().map(Some)
    }
}
