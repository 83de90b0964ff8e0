//! What an operator sees of Sessions. Nothing changes by it.

use super::record::{Hold, Record};
use super::sessions::Sessions;
use super::{Memory, lock};
use crate::packet::connect::ClientId;
use crate::session::state::{Epoch, Sequence};
use crate::store::look::{Queued, Row, Rows, Session};
use crate::time::Time;

impl Memory {
    /// In the order of their Client Identifiers, those after this one.
    pub fn rows(&self, after: Option<&str>, limit: usize, now: Time) -> Rows {
        let mut names = self.sessions.names(|name| after.is_none_or(|after| name.as_str() > after));
        let more = names.len() > limit;
        if more {
            names.select_nth_unstable(limit);
            names.truncate(limit);
        }
        names.sort_unstable();
        let next = names.last().filter(|_| more).map(|name| name.as_str().to_owned());
        (names.iter().filter_map(|name| self.sessions.row(name, now)).collect(), next)
    }

    pub fn epoch(&self, client_id: &ClientId) -> Option<Epoch> {
        let record = self.sessions.find(client_id)?;
        let record = lock(&record);
        (!matches!(record.hold, Hold::Gone)).then_some(record.epoch)
    }

    pub fn session(&self, client_id: &ClientId, limit: usize, now: Time) -> Option<Session> {
        let row = self.sessions.row(client_id, now)?;
        let record = self.sessions.find(client_id)?;
        let record = lock(&record);
        let state = record.durable.as_ref().map(|durable| durable.state()).unwrap_or_default();
        let received = state.received.iter().map(|packet_id| (packet_id.get(), false)).collect();
        let released = state.released.clone();
        drop(record);
        let queue = self.queue(client_id, 0, limit);
        Some(Session { row, subscriptions: state.subscriptions, queue, released, received, wills_owed: Vec::new() })
    }

    pub fn queue(&self, client_id: &ClientId, after: Sequence, limit: usize) -> Vec<Queued> {
        let Some(record) = self.sessions.find(client_id) else { return Vec::new() };
        let record = lock(&record);
        let Some(durable) = &record.durable else { return Vec::new() };
        // As of the beginning of time: nothing has expired, so nothing is left out.
        let (stored, _) = durable.queue.read(after, limit, durable.sent, Time(0));
        stored.into_iter().map(|stored| (stored.sequence, stored.grant, stored.message.message().clone())).collect()
    }
}

impl Sessions {
    /// `None`: there is none, or its time is over.
    fn row(&self, client_id: &ClientId, now: Time) -> Option<Row> {
        let record = self.find(client_id)?;
        let record = lock(&record);
        let ends = match record.hold {
            Hold::Gone => return None,
            Hold::Offline(waiting) if waiting.has_ended(now) => return None,
            Hold::Offline(waiting) => waiting.ends_at,
            Hold::Owned => None,
        };
        Some(row(client_id, &record, ends))
    }
}

fn row(client_id: &ClientId, record: &Record, ends: Option<Time>) -> Row {
    let durable = record.durable.as_deref();
    let count = |count: Option<usize>| count.unwrap_or_default() as u64;
    Row {
        client_id: client_id.clone(),
        epoch: record.epoch,
        owner: matches!(record.hold, Hold::Owned).then(String::new),
        durable: durable.is_some(),
        expiry_ms: record.expiry.map(|expiry| expiry.0),
        ends,
        has_will: record.will.is_some(),
        queued: durable.map_or(0, |durable| durable.queue.messages),
        released: count(durable.map(|durable| durable.released.len())),
        received: count(durable.map(|durable| durable.received.len())),
        subscriptions: count(durable.map(|durable| durable.subscriptions.len())),
        handed: durable.map_or(0, |durable| durable.handed.max(durable.sent)),
    }
}
