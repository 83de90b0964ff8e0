//! What only the embedded store promises: its bounds, its counts, what it shares. The contract is held in `tests/it/store`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::message::Message;
use crate::packet::QoS;
use crate::subscription::Grant;
use crate::time::Span;

const NOW: Time = Time(1_700_000_000_000);
const QOS_1: Grant = Grant { qos: QoS::AtLeastOnce, retain_as_published: false, ids: None, group: None };

fn topic(text: &str) -> TopicName {
    TopicName::new(text.to_owned().into()).unwrap()
}

fn run_to(name: &str, len: usize, expires_at: Option<Time>) -> Arc<Run> {
    let message = |n: usize| Message {
        topic: topic(name),
        payload: Bytes::from(format!("payload {n}")),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: None,
        expires_at,
    };
    Arc::new(Run::new((0..len).map(message).collect()))
}

fn open(store: &Memory, id: &str, clean_start: bool) -> Result<Lease, StoreError> {
    let client_id = ClientId::new(id);
    let opened = store.open(&client_id, Open { clean_start, expiry: None, will: None }, NOW)?;
    Ok(Lease { client_id, epoch: opened.epoch })
}

fn append(store: &Memory, to: &Lease, run: &Arc<Run>) -> Written {
    store.write(vec![Write::Append { to: to.client_id.clone(), run: run.clone(), grant: QOS_1 }], NOW).unwrap()[0]
}

fn read(store: &Memory, lease: &Lease, now: Time) -> Vec<Stored> {
    store.read(lease, 0, usize::MAX, now).unwrap()
}

#[test]
fn a_batch_shares_one_copy_of_a_run() {
    let store = Memory::default();
    let leases: Vec<_> = (0..5).map(|n| open(&store, &format!("c{n}"), false).unwrap()).collect();
    let large = Bytes::from(vec![b'x'; 100_000]);
    let message = Message { payload: large.slice(10..20), ..run_to("a", 1, None).messages()[0].clone() };
    let run = Arc::new(Run::from(message));
    let writes = leases.iter().map(|lease| Write::Append { to: lease.client_id.clone(), run: run.clone(), grant: QOS_1 });
    store.write(writes.collect(), NOW).unwrap();
    let copies: Vec<_> = leases.iter().map(|lease| read(&store, lease, NOW).remove(0).message.run).collect();
    assert!(copies.iter().all(|copy| Arc::ptr_eq(copy, &copies[0])) && !Arc::ptr_eq(&copies[0], &run));
    drop(run);
    assert!(large.is_unique(), "the store does not pin what the message was read into");
    assert_eq!(store.stats().held_bytes * 5, store.stats().queued_bytes);
}

#[test]
fn a_full_queue_keeps_what_fits() {
    let store = Memory::new(Limits { queue_messages_max: 5, ..Limits::default() });
    let lease = open(&store, "c", false).unwrap();
    assert_eq!(append(&store, &lease, &run_to("a", 3, None)), Written::Done);
    assert_eq!(append(&store, &lease, &run_to("a", 3, None)), Written::QueueFull);
    let stored = read(&store, &lease, NOW);
    assert_eq!((stored.len(), store.stats().queued_messages, store.stats().dropped_full), (5, 5, 1));
    store.write(vec![Write::Acknowledge { of: lease.client_id.clone(), sequence: stored[0].sequence }], NOW).unwrap();
    assert_eq!(append(&store, &lease, &run_to("a", 1, None)), Written::Done);
}

#[test]
fn the_bytes_of_a_queue_are_bounded() {
    let store = Memory::new(Limits { queue_bytes_max: 500, ..Limits::default() });
    let lease = open(&store, "c", false).unwrap();
    assert_eq!(append(&store, &lease, &run_to("a", 4, None)), Written::QueueFull);
    let stats = store.stats();
    assert!(stats.queued_messages == 3 && stats.queued_bytes <= 500, "{stats:?}");
}

#[test]
fn what_has_expired_makes_room() {
    let store = Memory::new(Limits { queue_messages_max: 4, ..Limits::default() });
    let lease = open(&store, "c", false).unwrap();
    append(&store, &lease, &run_to("a", 2, Some(NOW + Span(1))));
    append(&store, &lease, &run_to("b", 2, None));
    assert_eq!(append(&store, &lease, &run_to("c", 2, None)), Written::QueueFull);
    let later = NOW + Span(1);
    let write = Write::Append { to: lease.client_id.clone(), run: run_to("c", 2, None), grant: QOS_1 };
    assert_eq!(store.write(vec![write], later).unwrap(), [Written::Done]);
    let topics: Vec<_> = read(&store, &lease, later).iter().map(|stored| stored.message.run.topic().to_string()).collect();
    assert_eq!((topics.join(" "), store.stats().expired), ("b b c c".to_owned(), 2));
}

#[test]
fn a_full_store_refuses_and_says_so() {
    let limits = Limits { sessions_max: 2, messages_max: 3, retained_max: 1, ..Limits::default() };
    let store = Memory::new(limits);
    let (one, two) = (open(&store, "one", false).unwrap(), open(&store, "two", false).unwrap());
    assert_eq!(open(&store, "three", false).unwrap_err(), StoreError::Full);
    assert_eq!(append(&store, &one, &run_to("a", 2, None)), Written::Done);
    assert_eq!(append(&store, &two, &run_to("a", 2, None)), Written::StoreFull);
    assert_eq!(append(&store, &two, &run_to("a", 1, None)), Written::Done);

    store.retain(&topic("a"), Some(run_to("a", 1, None)), NOW).unwrap();
    store.retain(&topic("a"), Some(run_to("a", 1, None)), NOW).unwrap();
    assert_eq!(store.retain(&topic("b"), Some(run_to("b", 1, None)), NOW), Err(StoreError::Full));
    store.retain(&topic("a"), None, NOW).unwrap();
    store.retain(&topic("b"), Some(run_to("b", 1, Some(NOW + Span(1)))), NOW).unwrap();
    store.retain(&topic("c"), Some(run_to("c", 1, None)), NOW + Span(1)).unwrap();
}

#[test]
fn bytes_are_held_until_the_last_message_of_a_run_is_gone() {
    let store = Memory::new(Limits { bytes_max: 600, ..Limits::default() });
    let lease = open(&store, "c", false).unwrap();
    assert_eq!(append(&store, &lease, &run_to("a", 4, None)), Written::Done);
    assert_eq!(append(&store, &lease, &run_to("a", 4, None)), Written::StoreFull);
    assert_eq!(store.retain(&topic("a"), Some(run_to("a", 1, None)), NOW), Err(StoreError::Full));
    let held = store.stats().held_bytes;
    for (place, stored) in read(&store, &lease, NOW).into_iter().enumerate() {
        store.write(vec![Write::Acknowledge { of: lease.client_id.clone(), sequence: stored.sequence }], NOW).unwrap();
        assert_eq!(store.stats().held_bytes, if place == 3 { 0 } else { held });
    }
}

/// A small generator of numbers, so that a failure is the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Thousands of random steps against a model that is plainly right; at the end nothing may be left of the counts.
#[test]
fn a_queue_is_a_map_from_sequences_to_messages() {
    let store = Memory::default();
    let mut lease = open(&store, "c", false).unwrap();
    let mut model: BTreeMap<Sequence, (Bytes, Option<Time>)> = BTreeMap::new();
    let mut numbers = Numbers(1);
    let mut now = NOW;
    for step in 0..20_000 {
        match numbers.below(12) {
            0 => {
                let expires_at = (numbers.below(3) == 0).then(|| now + Span(numbers.below(50)));
                let run = run_to("a", 1 + numbers.below(9) as usize, expires_at);
                assert_eq!(
                    store.write(vec![Write::Append { to: lease.client_id.clone(), run: run.clone(), grant: QOS_1 }], now),
                    Ok(vec![Written::Done])
                );
                let first = store.sessions.find(&lease.client_id).map(|record| lock(&record).durable.as_ref().unwrap().last).unwrap() + 1;
                let sequences = first - run.messages().len() as u64..first;
                model.extend(sequences.zip(run.messages().iter().map(|message| (message.payload.clone(), expires_at))));
            }
            1 if step % 500 == 0 => {
                lease = open(&store, "c", true).unwrap();
                model.clear();
            }
            2 => now = now + Span(1),
            3 => {
                let limit = numbers.below(20) as usize;
                let after = model.keys().nth(numbers.below(30) as usize).map_or(0, |sequence| sequence - 1);
                let page = store.read(&lease, after, limit, now).unwrap();
                let fresh = |at: &Option<Time>| at.is_none_or(|at| at > now);
                let expected = model.range(after + 1..).filter(|(_, (_, at))| fresh(at)).take(limit);
                let found = page.iter().map(|stored| (stored.sequence, stored.message.message().payload.clone()));
                assert!(found.eq(expected.map(|(sequence, (payload, _))| (*sequence, payload.clone()))), "step {step}");
                let until = if page.len() < limit { Sequence::MAX } else { page.last().map_or(after, |last| last.sequence) };
                model.retain(|sequence, (_, at)| *sequence <= after || *sequence > until || fresh(at));
            }
            _ => {
                let Some(sequence) = model.keys().nth(numbers.below(40) as usize).copied() else { continue };
                store.write(vec![Write::Acknowledge { of: lease.client_id.clone(), sequence }], now).unwrap();
                model.remove(&sequence);
            }
        }
        assert_eq!(store.stats().queued_messages, model.len() as u64, "step {step}");
    }
    open(&store, "c", true).unwrap();
    let stats = store.stats();
    assert_eq!((stats.queued_messages, stats.queued_bytes, stats.held_bytes), (0, 0, 0));
}

#[test]
fn a_session_that_ends_with_its_connection_is_small() {
    assert!(size_of::<Mutex<record::Record>>() <= 160, "{}", size_of::<Mutex<record::Record>>());
}
