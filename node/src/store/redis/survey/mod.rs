//! A look at all that is kept, by somebody who is no node: which Sessions there are, what is in one, and what is left that nobody has. It
//! changes nothing. By our own link, so it works wherever a node does: alone, behind Sentinels, on a Redis Cluster, with TLS.

pub mod check;

use std::str::from_utf8;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use super::cluster::keys::Keys as ClusterKeys;
use super::keys::{Keys, unescape};
use super::link::Link;
use super::link::address::Address;
use super::link::start::StartError;
use super::reply::{Reply, bytes, number};
use super::{Redis, Settings, encoding, failed, link};
use crate::packet::connect::ClientId;
use crate::session::state::Sequence;
use crate::store::StoreError;
use crate::time::Time;

pub use super::scan::Scan;
pub use crate::store::look::{Queued, Row, Session};

/// Sessions that are looked at in one round trip.
const SESSIONS_AT_ONCE: usize = 100;

#[derive(Debug)]
pub struct Survey {
    link: Link,
    keys: Keys,
    cluster: ClusterKeys,
}

impl Survey {
    /// # Errors
    /// As for a node.
    pub async fn open(settings: Settings) -> Result<Survey, StartError> {
        let of_link = link::settings::Settings { prefix: settings.prefix.clone(), ..link::settings::Settings::default() };
        let link = Link::open(Address::parse(&settings.url)?.with(settings.access)?, of_link).await?;
        Ok(Survey { link, keys: Keys::new(&settings.prefix), cluster: ClusterKeys::new(&settings.prefix) })
    }

    /// By the link of a node.
    pub(super) fn of(redis: &Redis) -> Survey {
        let prefix = redis.link.prefix();
        Survey { keys: Keys::new(prefix), cluster: ClusterKeys::new(prefix), link: redis.link.clone() }
    }

    /// By the clock of Redis.
    pub async fn time(&self) -> Result<Time, StoreError> {
        let mut parts = Reply::new(self.call(cmd("TIME")).await?)?;
        Ok(Time(parts.number()? * 1000 + parts.number()? / 1000))
    }

    /// About `limit` Sessions from this place of the walk on, in no order, and where it goes on.
    pub async fn sessions(&self, mut from: Scan, limit: usize) -> Result<(Vec<Row>, Option<Scan>), StoreError> {
        let (mut rows, pattern) = (Vec::new(), self.keys.pattern());
        while rows.len() < limit {
            let Some(page) = from.next(&self.link, &pattern).await? else { return Ok((rows, None)) };
            let client = |key: &Bytes| match self.keys.parts(from_utf8(key).ok()?)? {
                (tag, "s") => Some(ClientId::new(&unescape(tag))),
                _ => None,
            };
            rows.extend(self.rows(&page.iter().filter_map(client).collect::<Vec<_>>()).await?);
        }
        Ok((rows, Some(from)))
    }

    /// Those that there are.
    async fn rows(&self, clients: &[ClientId]) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        for clients in clients.chunks(SESSIONS_AT_ONCE) {
            let looks = clients.iter().flat_map(|client_id| self.looks(client_id)).collect();
            let found = self.link.write(0, looks).await.map_err(failed)?;
            for (client_id, found) in clients.iter().zip(found.chunks(LOOKS)) {
                let found = found.iter().cloned().collect::<Result<Vec<_>, _>>().map_err(|error| failed(error.into()))?;
                rows.extend(row(client_id, &found)?);
            }
        }
        Ok(rows)
    }

    fn looks(&self, client_id: &ClientId) -> [Cmd; LOOKS] {
        let keys = self.keys.session(client_id);
        let count = |verb: &str, key: String| cmd(verb).arg(key).take();
        [
            cmd("HMGET").arg(keys.session()).arg(&["e", "n", "d", "x", "t", "w", "h", "r"]).take(),
            count("XLEN", keys.queue()),
            count("ZCARD", keys.released()),
            count("HLEN", keys.received()),
            count("HLEN", keys.subscriptions()),
        ]
    }

    /// One Session, with at most `limit` messages of its queue; `None`: there is none of this Client.
    pub async fn session(&self, client_id: &ClientId, limit: usize) -> Result<Option<Session>, StoreError> {
        let Some(row) = self.rows(std::slice::from_ref(client_id)).await?.pop() else { return Ok(None) };
        let keys = self.keys.session(client_id);
        let pairs = |reply: Reply| -> Result<Vec<(Bytes, Bytes)>, StoreError> {
            let all = reply.all_bytes()?;
            Ok(all.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
        };
        let all = |key: String| self.call(cmd("HGETALL").arg(key).take());
        let subscriptions = pairs(Reply::new(all(keys.subscriptions()).await?)?)?;
        let received = pairs(Reply::new(all(keys.received()).await?)?)?;
        let released = Reply::new(self.call(cmd("ZRANGE").arg(keys.released()).arg(0).arg(-1).take()).await?)?;
        let wills = Reply::new(self.call(cmd("HKEYS").arg(keys.wills()).take()).await?)?;
        let queue = self.queue(client_id, 0, limit).await?;
        let text = |bytes: &Bytes| from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        Ok(Some(Session {
            row,
            subscriptions: subscriptions.iter().filter_map(|(field, value)| encoding::take_subscription(field, value)).collect(),
            queue,
            released: released.all_numbers()?,
            received: received.iter().filter_map(|(id, pending)| Some((text(id)? as u16, !pending.is_empty()))).collect(),
            wills_owed: wills.all_bytes()?.iter().filter_map(text).collect(),
        }))
    }

    /// At most `limit` messages of a queue that come after this one.
    pub async fn queue(&self, client_id: &ClientId, after: Sequence, limit: usize) -> Result<Vec<Queued>, StoreError> {
        let (queue, from) = (self.keys.session(client_id).queue(), format!("(0-{after}"));
        entries(self.call(cmd("XRANGE").arg(queue).arg(from).arg("+").arg("COUNT").arg(limit).take()).await?)
    }

    async fn call(&self, command: Cmd) -> Result<Value, StoreError> {
        self.link.call(command).await.map_err(failed)
    }
}

/// Commands of [`Survey::looks`].
const LOOKS: usize = 5;

fn row(client_id: &ClientId, found: &[Value]) -> Result<Option<Row>, StoreError> {
    let [fields, queued, released, received, subscriptions] = found else { return Err(StoreError::Unavailable) };
    let mut fields = Reply::new(fields.clone())?;
    let Some(epoch) = fields.optional_number()? else { return Ok(None) };
    let text = |bytes: Option<Bytes>| bytes.and_then(|bytes| String::from_utf8(bytes.into()).ok()).filter(|text| !text.is_empty());
    let owner = text(fields.optional_bytes()?);
    let durable = text(fields.optional_bytes()?).is_some_and(|flag| flag == "1");
    let expiry_ms = text(fields.optional_bytes()?).and_then(|text| text.parse().ok());
    let ends = fields.optional_number()?.map(Time);
    let has_will = fields.optional_bytes()?.is_some();
    let handed = fields.optional_number()?.unwrap_or(0).max(fields.optional_number()?.unwrap_or(0));
    Ok(Some(Row {
        client_id: client_id.clone(),
        epoch,
        owner,
        durable,
        expiry_ms,
        ends,
        has_will,
        queued: number(queued)?,
        released: number(released)?,
        received: number(received)?,
        subscriptions: number(subscriptions)?,
        handed,
    }))
}

/// Those that are understood.
fn entries(queue: Value) -> Result<Vec<Queued>, StoreError> {
    let Value::Array(entries) = queue else { return Ok(Vec::new()) };
    let mut messages = Vec::new();
    for entry in entries {
        let Value::Array(parts) = entry else { continue };
        let [id, Value::Array(fields)] = &parts[..] else { continue };
        let [_, message] = &fields[..] else { continue };
        let id = bytes(id.clone())?;
        let sequence = from_utf8(&id).ok().and_then(|id| id.strip_prefix("0-")?.parse().ok());
        messages.extend(
            sequence.zip(encoding::take_queued(bytes(message.clone())?)).map(|(sequence, (grant, message))| (sequence, grant, message)),
        );
    }
    Ok(messages)
}
