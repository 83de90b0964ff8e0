//! A Redis Cluster: slots move and primaries die under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::Access;
use mqttd::store::redis::link::error::LinkError;
use mqttd::store::redis::link::settings::{Durability, Settings};
use mqttd::store::redis::link::start::StartError;
use mqttd_tests::cluster::until;
use mqttd_tests::deployment::{Deployment, Kind};
use mqttd_tests::redis::Redis;
use redis::{Value, cmd};

use super::{list, open, open_with, push};

/// A tag in each third of the slots, and its slot.
const TAGS: [(&str, u16); 3] = [("b", 3300), ("c", 7365), ("a", 15495)];

fn key(tag: &str) -> String {
    format!("list{{{tag}}}")
}

#[tokio::test]
async fn commands_go_where_their_keys_are() {
    let Some(redis) = Deployment::start(Kind::Cluster) else { return };
    let link = open(&redis.url()).await.unwrap();
    let both = |number| TAGS.iter().map(|(tag, _)| push(&key(tag), number)).collect();
    for number in 0..10 {
        assert_eq!(link.write(0, both(number)).await.unwrap(), vec![Ok(Value::Int(number + 1)); 3], "replies in the order of the commands");
    }
    for (at, (tag, slot)) in TAGS.into_iter().enumerate() {
        assert_eq!(redis.owner(slot), at);
        assert_eq!(list(&link, &key(tag)).await.len(), 10);
        assert_eq!(redis.servers[at].query::<i64>(&["LLEN", &key(tag)]), 10);
        assert!(link.blocking(&key(tag)).await.unwrap().query(cmd("BLPOP").arg(key(tag)).arg(1), Duration::from_secs(1)).await.is_ok());
    }
    assert_eq!(link.call_all(cmd("PING")).await.unwrap().len(), 3);
    let mut subscriber = link.subscriber().await.unwrap();
    subscriber.subscribe(&TAGS.map(|(tag, _)| tag)[..]).await.unwrap();
    for (tag, _) in TAGS {
        link.call(cmd("PUBLISH").arg(tag).arg("x").take()).await.unwrap();
        assert_eq!(subscriber.next().await.unwrap().get_channel_name(), tag);
    }
    let alone = open(&redis.servers[0].url()).await.unwrap_err();
    assert!(matches!(&alone, StartError::Address(why) if why.contains("redis+cluster://")), "{alone}");
    let Some(single) = Redis::start() else { return };
    assert!(open(&single.url().replace("redis:", "redis+cluster:")).await.is_err());
}

/// What one writer had confirmed, and whether it was cut short.
struct Written {
    confirmed: Vec<String>,
}

/// Writes rising numbers to a list, three in a call, until it is told to end. Each call waits for the one before it.
async fn write(link: Link, shard: u16, key: String, end: Arc<AtomicBool>) -> Written {
    let (mut confirmed, mut next) = (Vec::new(), 0);
    while !end.load(Ordering::Relaxed) {
        let numbers = [next, next + 1, next + 2];
        match link.write(shard, numbers.iter().map(|number| push(&key, number)).collect()).await {
            Ok(replies) if replies.iter().all(Result::is_ok) => confirmed.extend(numbers.map(|number| number.to_string())),
            // It may have been done or not: nothing is sent again.
            Ok(_) | Err(LinkError::Unknown | LinkError::Unavailable | LinkError::NotReplicated) => {}
            Err(error) => panic!("{error}"),
        }
        next += 3;
    }
    Written { confirmed }
}

/// Everything that was confirmed is there once, and all that is there is in its order.
fn check(written: &Written, found: &[String]) {
    let numbers: Vec<u64> = found.iter().map(|number| number.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "in order, and each only once: {numbers:?}");
    let mut found = found.iter();
    for number in &written.confirmed {
        assert!(found.any(|other| other == number), "{number} was confirmed, and is lost");
    }
}

async fn under_load(link: &Link, work: impl FnOnce() + Send + 'static) -> Vec<(String, Written)> {
    let end = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6u16)
        .map(|writer| {
            let key = format!("list{writer}{{{}}}", TAGS[usize::from(writer % 3)].0);
            (key.clone(), tokio::spawn(write(link.clone(), writer, key, end.clone())))
        })
        .collect();
    tokio::task::spawn_blocking(work).await.unwrap();
    end.store(true, Ordering::Relaxed);
    let mut written = Vec::new();
    for (key, writer) in writers {
        written.push((key, writer.await.unwrap()));
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_moves_under_load_and_nothing_is_lost_or_out_of_order() {
    let Some(redis) = Deployment::start(Kind::Cluster) else { return };
    let redis = Arc::new(redis);
    let link = open(&redis.url()).await.unwrap();
    let moving = redis.clone();
    let written = under_load(&link, move || {
        for (turn, (_, slot)) in (0..4).flat_map(|turn| TAGS.map(|tag| (turn, tag))) {
            moving.move_slot(slot, (moving.owner(slot) + 1 + turn % 2) % 3);
        }
    })
    .await;
    for (key, written) in &written {
        let found = list(&link, key).await;
        check(written, &found);
        assert_eq!(found.len(), written.confirmed.len(), "a slot that moves refuses nothing: {key}");
        assert!(found.len() > 100, "{key}: {}", found.len());
    }
    assert!(link.state().is_healthy());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_primary_dies_under_load_and_its_replica_takes_over() {
    let Some(mut redis) = Deployment::cluster(1) else { return };
    let durability = Durability::Replicated { replicas: 1, within: Duration::from_millis(300) };
    let settings = Settings { durability, ..Settings::default() };
    let link = open_with(&redis.url(), Access::default(), settings).await.unwrap();
    let before = link.state();
    let (probe, handle) = (link.clone(), tokio::runtime::Handle::current());
    let (sender, receiver) = std::sync::mpsc::channel();
    let written = under_load(&link, move || {
        // Some is written before, and some after.
        let busy = |redis: &Deployment, at: usize| redis.servers[at].query::<i64>(&["LLEN", "list1{c}"]) > 50;
        until("there is load", || busy(&redis, 1));
        redis.servers[1].kill();
        until("the replica serves", || {
            let replies = handle.block_on(probe.call(cmd("LLEN").arg("list1{c}").take()));
            let role: Vec<Value> = redis.servers[4].query(&["ROLE"]);
            replies.is_ok() && role.len() == 3
        });
        // The third of the slots has no replica any more; what is not on one is not confirmed.
        sender.send(redis).unwrap();
    })
    .await;
    let redis = receiver.recv().unwrap();
    for (key, written) in &written {
        let found = list(&link, key).await;
        check(written, &found);
        assert!(!written.confirmed.is_empty(), "{key}");
    }
    assert!(link.state().generation > before.generation);
    assert_eq!(redis.owner(TAGS[0].1), 0);
}
