//! A stream that is read as it grows, on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::core::pause;
use crate::store::StoreError;
use crate::store::redis::link::Link;
use crate::store::redis::link::apart::Blocking;
use crate::store::redis::reply;

/// How long one XREAD waits for something new. Only a connection that is dead without a word makes it matter.
const BLOCK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Feed {
    connection: Blocking,
    /// Of the link, when the connection was made: another than last time means that Redis may have lost something.
    pub(super) generation: u64,
}

/// An entry with one field.
#[derive(Debug)]
pub(super) struct Entry {
    /// The two parts of its id.
    pub(super) id: (u64, u64),
    pub(super) value: Bytes,
}

impl Feed {
    /// Of this stream. Returns when there is a connection, however long that takes.
    pub(super) async fn open(link: &Link, key: &str) -> Feed {
        loop {
            match link.blocking(key).await {
                Ok(connection) => return Feed { connection, generation: link.state().generation },
                Err(_) => pause().await,
            }
        }
    }

    /// At most `count` entries after this one; none: nothing came for a while. After an error the connection is of no use.
    pub(super) async fn read(&mut self, key: &str, after: (u64, u64), count: usize) -> Result<Vec<Entry>, StoreError> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(count).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(key).arg(format!("{}-{}", after.0, after.1));
        let streams = reply::list(self.connection.query(&read, BLOCK).await?)?;
        let Some(stream) = streams.into_iter().next() else { return Ok(Vec::new()) };
        let Some(entries) = reply::list(stream)?.pop() else { return Ok(Vec::new()) };
        reply::list(entries)?.into_iter().map(entry).collect()
    }

    pub(super) async fn query(&mut self, command: &Cmd) -> Result<Value, StoreError> {
        Ok(self.connection.query(command, Duration::ZERO).await?)
    }
}

fn entry(value: Value) -> Result<Entry, StoreError> {
    let [id, fields] = <[Value; 2]>::try_from(reply::list(value)?).map_err(|found| reply::unexpected(&Value::Array(found)))?;
    let text = reply::text(id)?;
    let parts = text.split_once('-').and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
    let id = parts.ok_or(StoreError::Unavailable)?;
    let value = reply::list(fields)?.pop().ok_or(StoreError::Unavailable)?;
    Ok(Entry { id, value: reply::bytes(value)? })
}
