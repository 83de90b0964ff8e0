//! Messages that have numbers: each is in a queue once, and pending with its publisher until it has reached everybody. Between nodes only.

use std::sync::Arc;

use mqttd::message::{InRun, Numbers, Run};
use mqttd::packet::{PacketId, QoS};
use mqttd::store::redis::Limits;
use mqttd::store::{Lease, Pending, Store, Write, Written};
use mqttd::subscription::{Grant, ShareGroup};
use mqttd::topic::filter::ShareName;
use mqttd_tests::deployment::Kind;

use super::kit::*;

/// Numbers go with the time in microseconds, and what is below the last hour is forgotten. These are of the year 2096.
const BASE: u64 = 4_000_000_000_000_000;

/// QoS 2 messages of the publisher with these numbers above [`BASE`] (zero: none), and the numbers as payloads.
fn numbered(publisher: &str, numbers: &[u64]) -> Arc<Run> {
    let texts: Vec<_> = numbers.iter().map(u64::to_string).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let run = Arc::into_inner(run(&texts)).expect("just made");
    Arc::new(run.numbered(Numbers {
        publisher: client(publisher),
        of: numbers.iter().map(|number| if *number == 0 { 0 } else { BASE + number }).collect(),
    }))
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn group(share: &str) -> Arc<ShareGroup> {
    Arc::new(ShareGroup { share: ShareName::new(share).unwrap(), filter: filter("a/+") })
}

async fn a_number_is_in_a_queue_once(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    let left = async |lease: &Lease, numbers: &[&str]| assert_eq!(payloads(&read(&store, lease, 0).await), numbers);
    for (publisher, numbers) in [("p", &[10, 11][..]), ("p", &[10, 11, 12]), ("p", &[11]), ("q", &[5]), ("p", &[0]), ("p", &[13])] {
        assert_eq!(write(&store, append(&lease, &numbered(publisher, numbers))).await, Written::Done);
    }
    left(&lease, &["10", "11", "12", "5", "0", "13"]).await;
    // What has left the queue does not come back, nor after a take-over.
    for stored in read(&store, &lease, 0).await {
        write(&store, acknowledge(&lease, stored.sequence)).await;
    }
    let (lease, _) = resume(&store, "c").await;
    write(&store, append(&lease, &numbered("p", &[12, 13, 14]))).await;
    left(&lease, &["14"]).await;
    // By way of a group it is another message than by a subscription of its own.
    for share in ["g", "h", "g"] {
        let grant = Grant { group: Some(group(share)), ..grant(QoS::ExactlyOnce) };
        write(&store, Write::Append { to: lease.client_id.clone(), run: numbered("p", &[14]), grant }).await;
    }
    left(&lease, &["14", "14", "14"]).await;
    assert_eq!(write(&store, append(&super::kit::lease("nobody", 1), &numbered("p", &[1]))).await, Written::NoSession);
}

async fn a_clean_start_forgets_numbers(store: Store) {
    let (lease, _) = resume(&store, "c").await;
    write(&store, append(&lease, &numbered("p", &[7]))).await;
    let (lease, _) = open(&store, "c", true, MINUTE, None, NOW).await;
    write(&store, append(&lease, &numbered("p", &[7]))).await;
    assert_eq!(payloads(&read(&store, &lease, 0).await), ["7"], "it is another Session");
}

fn receive(of: &Lease, packet_id: u16, number: u64, turns: Vec<(Arc<ShareGroup>, mqttd::packet::connect::ClientId)>) -> Write {
    let message = InRun { run: numbered(of.client_id.as_str(), &[number]), index: 0 };
    Write::Receive { of: of.clone(), packet_id: id(packet_id), pending: Some(Box::new(Pending { message, turns })) }
}

async fn what_is_pending_is_kept_until_it_is_settled(store: Store) {
    let (lease, _) = resume(&store, "p").await;
    let turns = vec![(group("g"), client("member"))];
    let writes = [(3, 30, turns.clone()), (1, 31, vec![]), (2, 32, vec![])];
    for (packet_id, number, turns) in writes {
        assert_eq!(write(&store, receive(&lease, packet_id, number, turns)).await, Written::Done);
    }
    let settle = |packet_id, number| Write::Settle { of: client("p"), packet_id: id(packet_id), number: BASE + number };
    write(&store, settle(1, 31)).await;
    write(&store, settle(2, 99)).await; // of another message: nothing
    write(&store, settle(9, 1)).await;
    let pending = store.pending(&lease.client_id).await.unwrap();
    let found: Vec<_> = pending.iter().map(|(id, pending)| (id.get(), pending.number() - BASE)).collect();
    assert_eq!(found, [(3, 30), (2, 32)], "in the order of their numbers");
    assert_eq!(pending[0].1.turns, turns);

    let (new, opened) = resume(&store, "p").await;
    assert_eq!(opened.pending.len(), 2, "whoever opens the Session is told");
    let mut received = opened.state.unwrap().received;
    received.sort();
    assert_eq!(received, [id(1), id(2), id(3)], "settled or not, it was received");
    assert_eq!(write(&store, receive(&lease, 4, 33, vec![])).await, Written::NoSession, "an older owner");
    // The same Packet Identifier for a new message: a late word about the old one settles nothing.
    write(&store, Write::Forget { of: new.clone(), packet_id: id(2) }).await;
    write(&store, receive(&new, 2, 40, vec![])).await;
    write(&store, settle(2, 32)).await;
    let pending = store.pending(&lease.client_id).await.unwrap();
    assert_eq!(pending.iter().map(|(_, pending)| pending.number() - BASE).collect::<Vec<_>>(), [30, 40]);
}

async fn all(kind: Kind) {
    if let Some(store) = redis_as(kind).await {
        a_number_is_in_a_queue_once(store).await;
    }
    if let Some(store) = redis_as(kind).await {
        a_clean_start_forgets_numbers(store).await;
    }
    if let Some(store) = redis_as(kind).await {
        what_is_pending_is_kept_until_it_is_settled(store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_on_redis() {
    all(Kind::Standalone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_on_a_redis_cluster() {
    all(Kind::Cluster).await;
}

/// A number that did not fit is not taken for one that is there.
#[tokio::test]
async fn a_full_queue_drops_new_numbers() {
    let Some(store) = redis_with(Limits { queue_messages_max: 3, retained_max: 1 }).await else { return };
    let (lease, _) = resume(&store, "c").await;
    assert_eq!(write(&store, append(&lease, &numbered("p", &[1, 2, 3, 4]))).await, Written::QueueFull);
    assert_eq!(store.stats().await.unwrap().dropped_full, 1);
    assert_eq!(write(&store, append(&lease, &numbered("p", &[3, 4]))).await, Written::Done, "all of it was there, or dropped and counted");
    assert_eq!(payloads(&read(&store, &lease, 0).await), ["1", "2", "3"]);
}
