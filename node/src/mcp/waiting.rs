//! The requests that this node took and that wait for their answer: whose they are, how many, and how to call one off. No I/O.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::hook::request::Waiting as Seen;
use crate::mcp::json_rpc::Rpc;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::time::{Span, Time};

/// How many, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests in flight of this node.
    pub in_flight_max: usize,
    pub in_flight_per_client_max: usize,
    /// Bytes of their payloads.
    pub in_flight_bytes_max: usize,
    /// Requests of one Client in a second; 0 is no bound.
    pub rate_per_client_max: u32,
}

/// Requests that have ended and are remembered: an answer to one of them came too late.
const ENDED_MAX: usize = 16_384;

#[derive(Debug)]
pub struct Waiting {
    bounds: Bounds,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<Arc<str>, Entry>,
    by_client: HashMap<ClientId, Use>,
    by_deadline: BTreeSet<(Time, Arc<str>)>,
    bytes: usize,
    ended: HashSet<Arc<str>>,
    /// The same, the oldest first.
    in_order: VecDeque<Arc<str>>,
}

#[derive(Debug)]
pub struct Entry {
    pub client_id: ClientId,
    pub topic: String,
    pub correlation_data: Option<Bytes>,
    pub rpc: Rpc,
    pub deadline: Time,
    /// Of its payload.
    pub bytes: usize,
    /// Redis has it.
    pub is_kept: bool,
    /// What workers are handed in the stream.
    pub in_stream: Option<String>,
    /// Tells the handler, where that is in this process.
    pub cancel: Option<watch::Sender<bool>>,
}

/// Names a request in the words of its requester.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Cancel {
    pub client_id: String,
    /// In base64.
    pub correlation_data_b64: Option<String>,
    /// Of a JSON-RPC request, with the Topic Name it went to.
    pub rpc: Option<(String, Value)>,
}

#[derive(Debug, Default)]
struct Use {
    in_flight: BTreeSet<Arc<str>>,
    second: Time,
    in_second: u32,
}

impl Waiting {
    pub fn new(bounds: Bounds) -> Waiting {
        Waiting { bounds, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why this Client cannot ask for anything of so many bytes now. It is counted as having asked.
    pub fn admits(&self, client_id: &ClientId, bytes: usize, now: Time) -> Result<(), Reason> {
        let mut open = self.open();
        if self.is_full(&open, bytes) {
            return Err(Reason::QUOTA_EXCEEDED);
        }
        if self.bounds.rate_per_client_max > 0 {
            let used = open.by_client.entry(client_id.clone()).or_default();
            if now.since(used.second) >= Span::seconds(1) {
                (used.second, used.in_second) = (now, 0);
            }
            used.in_second += 1;
            if used.in_second > self.bounds.rate_per_client_max {
                return Err(Reason::QUOTA_EXCEEDED); // PUBACK has no other word for it (section 3.4.2.1)
            }
        }
        let in_flight = open.by_client.get(client_id).map_or(0, |used| used.in_flight.len());
        if in_flight >= self.bounds.in_flight_per_client_max { Err(Reason::QUOTA_EXCEEDED) } else { Ok(()) }
    }

    fn is_full(&self, open: &Open, bytes: usize) -> bool {
        open.by_id.len() >= self.bounds.in_flight_max || open.bytes + bytes > self.bounds.in_flight_bytes_max
    }

    /// Enters a request. False: there are too many.
    pub fn enter(&self, id: &Arc<str>, entry: Entry) -> bool {
        let mut open = self.open();
        let full = self.is_full(&open, entry.bytes);
        let used = open.by_client.entry(entry.client_id.clone()).or_default();
        if full || used.in_flight.len() >= self.bounds.in_flight_per_client_max {
            return false;
        }
        used.in_flight.insert(id.clone());
        open.by_deadline.insert((entry.deadline, id.clone()));
        open.bytes += entry.bytes;
        open.by_id.insert(id.clone(), entry);
        true
    }

    /// Redis has it. False: it has ended already.
    pub fn keep(&self, id: &str, in_stream: Option<&String>) -> bool {
        let mut open = self.open();
        let Some(entry) = open.by_id.get_mut(id) else { return false };
        (entry.is_kept, entry.in_stream) = (true, in_stream.cloned());
        true
    }

    /// Those that Redis has, unless they have ended.
    pub fn kept(&self) -> Vec<Arc<str>> {
        self.open().by_id.iter().filter(|(_, entry)| entry.is_kept).map(|(id, _)| id.clone()).collect()
    }

    /// It has ended, here or elsewhere.
    pub fn remove(&self, id: &str) -> Option<Entry> {
        let mut open = self.open();
        let (id, entry) = open.by_id.remove_entry(id)?;
        if let Some(used) = open.by_client.get_mut(&entry.client_id) {
            used.in_flight.remove(&id);
            if used.in_flight.is_empty() && self.bounds.rate_per_client_max == 0 {
                open.by_client.remove(&entry.client_id);
            }
        }
        open.by_deadline.remove(&(entry.deadline, id.clone()));
        open.bytes -= entry.bytes;
        if open.in_order.len() >= ENDED_MAX
            && let Some(oldest) = open.in_order.pop_front()
        {
            open.ended.remove(&oldest);
        }
        open.in_order.push_back(id.clone());
        open.ended.insert(id);
        Some(entry)
    }

    pub fn contains(&self, id: &str) -> bool {
        self.open().by_id.contains_key(id)
    }

    /// Whether it was one of this node, not long ago.
    pub fn has_ended(&self, id: &str) -> bool {
        self.open().ended.contains(id)
    }

    pub fn topic(&self, id: &str) -> Option<String> {
        self.open().by_id.get(id).map(|entry| entry.topic.clone())
    }

    pub fn in_flight(&self) -> usize {
        self.open().by_id.len()
    }

    /// Those that are wanted: how many, and the first `reach`, the next to be late first.
    pub fn list(&self, wanted: &dyn Fn(&Seen) -> bool, reach: usize) -> (usize, Vec<Seen>) {
        let open = self.open();
        let seen = open.by_deadline.iter().filter_map(|(_, id)| {
            let Entry { client_id, topic, deadline, cancel, .. } = open.by_id.get(id)?;
            let (id, client_id, topic) = (id.clone(), client_id.clone(), topic.clone());
            Some(Seen { id, client_id, topic, deadline: *deadline, is_here: cancel.is_some() })
        });
        let (mut count, mut first) = (0, Vec::new());
        for one in seen.filter(|one| wanted(one)) {
            count += 1;
            if first.len() < reach {
                first.push(one);
            }
        }
        (count, first)
    }

    /// When the next one is late.
    pub fn next_deadline(&self) -> Option<Time> {
        self.open().by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out what is past its deadline and not answered within this process, and forgets Clients that ask for nothing.
    pub fn sweep(&self, before: Time) -> Vec<Entry> {
        let late: Vec<_> = {
            let open = self.open();
            let late = open.by_deadline.iter().take_while(|(deadline, _)| *deadline < before).map(|(_, id)| id);
            late.filter(|id| open.by_id.get(*id).is_some_and(|entry| entry.cancel.is_none())).cloned().collect()
        };
        let late = late.iter().filter_map(|id| self.remove(id)).collect();
        self.open().by_client.retain(|_, used| !used.in_flight.is_empty() || used.second >= before);
        late
    }

    /// The request that is meant, if this node has it.
    pub fn find(&self, cancel: &Cancel) -> Option<Arc<str>> {
        let data = cancel.correlation_data_b64.as_deref().and_then(mcp_worker_sdk::wire::decode);
        let open = self.open();
        let is_meant = |entry: &Entry| {
            let by_rpc = |(topic, id): &(String, Value)| *topic == entry.topic && entry.rpc == Rpc::Request(id.clone());
            match &cancel.rpc {
                Some(rpc) => by_rpc(rpc),
                None => data.is_some() && entry.correlation_data == data,
            }
        };
        let own = &open.by_client.get(&ClientId::new(&cancel.client_id))?.in_flight;
        own.iter().find(|id| open.by_id.get(*id).is_some_and(is_meant)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(client: &str, data: &'static str, deadline: u64) -> Entry {
        Entry {
            client_id: ClientId::new(client),
            topic: "t".to_owned(),
            correlation_data: Some(Bytes::from_static(data.as_bytes())),
            rpc: Rpc::Request(1.into()),
            deadline: Time(deadline),
            bytes: 10,
            is_kept: false,
            in_stream: None,
            cancel: None,
        }
    }

    fn bounds(in_flight_max: usize, in_flight_per_client_max: usize, rate_per_client_max: u32) -> Bounds {
        Bounds { in_flight_max, in_flight_per_client_max, in_flight_bytes_max: 1 << 20, rate_per_client_max }
    }

    #[test]
    fn bounds_hold_per_client_and_in_all() {
        let waiting = Waiting::new(bounds(3, 2, 0));
        for (id, client, fits) in [("1", "a", true), ("2", "a", true), ("3", "a", false), ("4", "b", true), ("5", "c", false)] {
            assert_eq!(waiting.enter(&id.into(), entry(client, "d", 9)), fits, "{id}");
        }
        assert_eq!(waiting.admits(&ClientId::new("a"), 1, Time(0)), Err(Reason::QUOTA_EXCEEDED));
        assert!(!waiting.has_ended("1") && waiting.remove("1").is_some() && waiting.remove("1").is_none() && waiting.has_ended("1"));
        assert_eq!(waiting.admits(&ClientId::new("a"), 1, Time(0)), Ok(()));
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let waiting = Waiting::new(Bounds { in_flight_bytes_max: 25, ..bounds(9, 9, 0) });
        for (id, fits) in [("1", true), ("2", true), ("3", false)] {
            assert_eq!(waiting.enter(&id.into(), entry("a", "d", 9)), fits, "{id}");
        }
        let admits = |bytes| waiting.admits(&ClientId::new("b"), bytes, Time(0)).is_ok();
        assert!(admits(5) && !admits(6));
        waiting.remove("1");
        assert!(admits(15) && !admits(16));
    }

    #[test]
    fn what_is_late_leaves_unless_it_is_answered_here() {
        let waiting = Waiting::new(bounds(9, 9, 0));
        let (cancel, _cancelled) = watch::channel(false);
        waiting.enter(&"here".into(), Entry { cancel: Some(cancel), ..entry("a", "d", 5) });
        for (id, deadline) in [("late", 5), ("early", 9)] {
            waiting.enter(&id.into(), entry("a", "d", deadline));
            assert!(waiting.keep(id, Some(&format!("{id}-0"))));
        }
        let late = waiting.sweep(Time(6));
        assert_eq!(late.iter().map(|entry| entry.in_stream.as_deref()).collect::<Vec<_>>(), [Some("late-0")]);
        assert_eq!((waiting.in_flight(), waiting.kept()), (2, vec!["early".into()]));
        assert!(!waiting.keep("late", None));
    }

    #[test]
    fn a_rate_is_that_of_a_second() {
        let waiting = Waiting::new(bounds(9, 9, 2));
        let at = |ms| waiting.admits(&ClientId::new("a"), 1, Time(ms));
        assert_eq!([at(5000), at(5001), at(5999)], [Ok(()), Ok(()), Err(Reason::QUOTA_EXCEEDED)]);
        assert_eq!(at(6001), Ok(()));
    }

    #[test]
    fn a_client_names_only_its_own() {
        let waiting = Waiting::new(bounds(9, 9, 0));
        waiting.enter(&"1".into(), entry("a", "x", 9));
        let named = |client: &str, data: Option<&str>, rpc: Option<i64>| {
            let correlation_data_b64 = data.map(|data| mcp_worker_sdk::wire::encode(data.as_bytes()));
            waiting.find(&Cancel { client_id: client.to_owned(), correlation_data_b64, rpc: rpc.map(|id| ("t".to_owned(), id.into())) })
        };
        assert_eq!(named("a", Some("x"), None).as_deref(), Some("1"));
        assert_eq!(named("a", None, Some(1)).as_deref(), Some("1"));
        assert!(named("b", Some("x"), None).is_none() && named("a", Some("y"), None).is_none() && named("a", None, Some(2)).is_none());
        assert!(named("a", None, None).is_none());
    }
}
