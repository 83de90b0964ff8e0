//! What a worker of the SDK has in hand: kept while it lives, taken over when it does not, let go of when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mcp_worker_sdk::{Delivery, Request};
use mqttd_tests::cluster::until;
use mqttd_tests::*;

use super::kit::*;

#[test]
fn what_a_dead_worker_had_another_one_answers() {
    let Some(house) = house() else { return };
    let (started, begun) = std::sync::mpsc::channel();
    let first = house.start(house.worker().group("g").route("t", move |_: Request| {
        started.send(()).unwrap();
        std::future::pending::<String>()
    }));
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    begun.recv_timeout(PATIENCE).unwrap();
    let _second = house.start(house.worker().group("g").route("t", |r: Request| async move { format!("attempt {}", r.attempt) }));
    first.abort();
    client.expect_within(PATIENCE, answer(&replies, "attempt 2", "d"));
    client.expect_nothing();
}

/// Longer than the lease: the worker is heard of, so nobody takes it away.
#[test]
fn a_slow_handler_keeps_its_lease() {
    let Some(house) = house() else { return };
    let calls = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let calls = calls.clone();
            house.start(house.worker().route("t", move |r: Request| {
                calls.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(Duration::from_millis(1800)).await;
                    r.payload
                }
            }))
        })
        .collect();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "x", "d"));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    drop(workers);
}

/// As when Redis was away for longer than the lease: what a worker has in hand looks as though it had been left.
#[test]
fn what_runs_here_is_not_begun_again_here() {
    let Some(house) = house() else { return };
    let (calls, (noticed, cancelled)) = (Arc::new(AtomicU32::new(0)), std::sync::mpsc::channel());
    let count = calls.clone();
    // Heard of every 10 s by itself, and it looks every second for what was left. One attempt: it would be given up, were it taken for dead.
    let worker = house.worker().name("w").group("g").lease(Duration::from_secs(30)).max_attempts(1).route("t", move |r: Request| {
        let (number, noticed) = (count.fetch_add(1, Ordering::Relaxed), noticed.clone());
        async move {
            if number == 0 {
                r.cancelled().await;
                noticed.send(()).unwrap();
            }
            r.payload
        }
    });
    let worker = house.start(worker);
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    until("it runs", || calls.load(Ordering::Relaxed) == 1);
    let stream = house.key("{mcp}:requests");
    let idle = || -> Vec<(String, String, u64, u64)> { house.redis.query(&["XPENDING", &stream, "g", "-", "+", "10"]) };
    let entry = idle()[0].0.clone();
    house.redis.query::<Vec<String>>(&["XCLAIM", &stream, "g", "w", "0", &entry, "IDLE", "100000", "JUSTID"]);
    until("its lease is renewed", || idle()[0].2 < 30_000);
    assert_eq!((worker.stats().running, calls.load(Ordering::Relaxed)), (1, 1));
    client.ask(message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    cancelled.recv_timeout(PATIENCE).unwrap();
    until("it is over", || worker.stats().running == 0 && idle().is_empty());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    client.expect_nothing();
}

#[test]
fn a_claim_on_the_channel_does_not_outlive_its_answer_for_long() {
    let Some(house) = house() else { return };
    let _worker = house.start(house.worker().delivery(Delivery::Channel).route("t", |r: Request| async move { r.payload }));
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "x", "d"));
    let claims: Vec<String> = house.redis.query(&["KEYS", &house.key("mcp:claim:*")]);
    assert_eq!(claims.len(), 1);
    until("its end is near", || house.redis.query::<i64>(&["PTTL", &claims[0]]) <= 10_000);
}

/// Who comes late on the channel, all its hands having been full, sees that the request is answered, though nobody claims it.
#[test]
fn what_was_answered_meanwhile_is_not_worked_on() {
    let Some(house) = house() else { return };
    let calls = Arc::new(AtomicU32::new(0));
    let (count, (go, gone)) = (calls.clone(), tokio::sync::watch::channel(false));
    let worker = house.worker().delivery(Delivery::Channel).concurrency(1).route("t", move |r: Request| {
        let mut gone = gone.clone();
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            gone.wait_for(|gone| *gone).await.unwrap();
            r.payload
        }
    });
    let worker = house.start(worker);
    let mut plain = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "1", &replies, "d"));
    plain.next();
    until("its only hand is full", || worker.stats().running == 1);
    client.ask(request("t", "2", &replies, "e"));
    let second = plain.next();
    plain.answer(&second, "by another");
    client.expect_within(PATIENCE, answer(&replies, "by another", "e"));
    let kept = house.key(&format!("request:{}", second["correlation_id"].as_str().unwrap()));
    until("it is over", || house.redis.query::<u64>(&["EXISTS", &kept]) == 0);
    go.send_replace(true);
    client.expect_within(PATIENCE, answer(&replies, "1", "d"));
    until("it has hands", || worker.stats().running == 0);
    client.ask(request("t", "3", &replies, "f"));
    client.expect_within(PATIENCE, answer(&replies, "3", "f"));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[test]
fn dead_workers_are_forgotten_unless_they_have_left_something() {
    let Some(house) = house() else { return };
    let worker = house
        .worker()
        .group("g")
        .name("lives")
        .lease(Duration::from_millis(100))
        .concurrency(1)
        .route("t", |_: Request| async { std::future::pending::<String>().await });
    let worker = house.start(worker);
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    // Its only hand is full, so it takes nothing over.
    until("it has no hand left", || worker.stats().running == 1);
    let stream = house.key("{mcp}:requests");
    house.redis.query::<u64>(&["XGROUP", "CREATECONSUMER", &stream, "g", "dead"]);
    house.redis.query::<String>(&["XADD", &stream, "*", "json", "{}"]);
    house.redis.query::<::redis::Value>(&["XREADGROUP", "GROUP", "g", "left-something", "STREAMS", &stream, ">"]);
    let consumers = || format!("{:?}", house.redis.query::<::redis::Value>(&["XINFO", "CONSUMERS", &stream, "g"]));
    until("the dead one is forgotten", || !consumers().contains("dead"));
    for kept in ["lives", "left-something"] {
        assert!(consumers().contains(kept), "{}", consumers());
    }
}

/// More than one look shows: entries of a read that was cut off, behind others that were handed back already.
#[test]
fn a_worker_that_ends_hands_back_all_that_it_has() {
    let Some(house) = house() else { return };
    let stream = house.key("{mcp}:requests");
    house.redis.query::<()>(&["XGROUP", "CREATE", &stream, "g", "0", "MKSTREAM"]);
    for _ in 0..300 {
        house.redis.query::<String>(&["XADD", &stream, "*", "json", "{}"]);
    }
    house.redis.query::<::redis::Value>(&["XREADGROUP", "GROUP", "g", "w", "COUNT", "300", "STREAMS", &stream, ">"]);
    let idle = || -> Vec<(String, String, u64, u64)> { house.redis.query(&["XPENDING", &stream, "g", "-", "+", "1000"]) };
    // The first 200 were handed back.
    let first: Vec<String> = idle().into_iter().take(200).map(|entry| entry.0).collect();
    let mut claim = vec!["XCLAIM", &stream, "g", "w", "0"];
    claim.extend(first.iter().map(String::as_str));
    claim.extend(["IDLE", "86400000", "JUSTID"]);
    house.redis.query::<Vec<String>>(&claim);
    // Without hands it takes nothing over.
    let worker = house
        .worker()
        .name("w")
        .group("g")
        .lease(Duration::from_secs(60))
        .concurrency(1)
        .route("t", |_: Request| async { std::future::pending::<String>().await });
    let worker = worker.drain_timeout(Duration::ZERO).build().unwrap();
    house.runtime.block_on(worker.run_until(async {})).unwrap();
    assert_eq!(idle().iter().filter(|entry| entry.2 < 60_000).count(), 0);
}
