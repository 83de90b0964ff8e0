//! How many Sessions there are, and what waits in their queues: a walk over all keys, a little at a time, by one node for all.
//!
//! A counter beside the Sessions would be in another slot, and so never quite true after a crash. A walk is true as of its length, and costs
//! Redis about 5 ms for 10,000 keys: with [`PAGES_MAX`] pages a second less than one hundredth of its time, however many keys there are.

use std::str::from_utf8;

use redis::{Value, cmd};

use super::scan::Scan;
use super::{Redis, failed, reply};
use crate::store::StoreError;

/// Pages in one part of a walk, which is made once a second.
const PAGES_MAX: usize = 10;

/// What was found, also the fields of the hash that keeps it.
const FIELDS: [&str; 3] = ["sessions", "messages", "bytes"];

/// Sessions, messages in their queues, and bytes of memory that those take.
pub(super) type Totals = [u64; FIELDS.len()];

/// A walk that is going on.
#[derive(Debug, Default)]
pub(super) struct Census {
    at: Scan,
    found: Totals,
}

impl Redis {
    /// Goes on with the walk; at its end all nodes know what was found, and the next part begins a new one.
    pub(in crate::store) async fn take_census(&self) -> Result<(), StoreError> {
        let mut census = self.census.lock().await;
        let pattern = self.keys.pattern();
        for _ in 0..PAGES_MAX {
            let Some(page) = census.at.next(&self.link, &pattern).await.inspect_err(|_| *census = Census::default())? else {
                let totals = std::mem::take(&mut *census).found;
                return self.note_totals(totals).await;
            };
            let words = page.iter().filter_map(|key| Some((key, self.keys.word_of_session(from_utf8(key).ok()?)?)));
            let mut looks = Vec::new();
            for (key, word) in words {
                match word {
                    "s" => census.found[0] += 1,
                    "queue" => looks.extend([cmd("XLEN").arg(&key[..]).take(), cmd("MEMORY").arg("USAGE").arg(&key[..]).take()]),
                    _ => {}
                }
            }
            if looks.is_empty() {
                continue;
            }
            for looked in self.link.write(0, looks).await.map_err(failed)?.chunks(2) {
                let [Ok(length), Ok(Value::Int(bytes))] = looked else { continue }; // it is gone
                let length = reply::number(length)?;
                census.found[1] += length;
                census.found[2] += if length > 0 { *bytes as u64 } else { 0 };
            }
        }
        Ok(())
    }

    async fn note_totals(&self, totals: Totals) -> Result<(), StoreError> {
        let mut set = cmd("HSET");
        set.arg(self.cluster.totals_key());
        for (field, total) in FIELDS.iter().zip(totals) {
            set.arg(field).arg(total);
        }
        self.command(set).await.map(drop)
    }

    /// As of the last walk; zeros before the first one.
    pub(super) async fn totals(&self) -> Result<Totals, StoreError> {
        let known = self.command(cmd("HMGET").arg(self.cluster.totals_key()).arg(&FIELDS).take()).await?;
        let mut known = reply::Reply::new(known)?;
        let mut totals = Totals::default();
        for total in &mut totals {
            *total = known.optional_number()?.unwrap_or(0);
        }
        Ok(totals)
    }
}
