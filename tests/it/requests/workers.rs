//! Workers of the SDK: both lanes, retries, deaths, the end of a worker, what it says of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mcp_worker_sdk::{Delivery, Failure, Request};
use mqttd_tests::cluster::until;
use mqttd_tests::*;

use super::kit::*;

async fn echo(request: Request) -> bytes::Bytes {
    request.payload
}

#[test]
fn a_handler_answers_by_either_lane() {
    for (delivery, nodes) in
        [(Delivery::Stream, "both"), (Delivery::Stream, "streams"), (Delivery::Channel, "both"), (Delivery::Channel, "pubsub")]
    {
        let Some(house) = house_with(|config| config.mcp.delivery = nodes.to_owned()) else { return };
        let worker = house.start(house.worker().delivery(delivery).route("devices/+/echo", |r: Request| async move {
            mcp_worker_sdk::Reply::new(r.payload).with_content_type("text/x").with_user_property("device", &r.params[0])
        }));
        let (mut client, replies) = house.requester();
        client.ask(request("devices/7/echo", "hi", &replies, "d"));
        let expected = answer(&replies, "hi", "d").user("device", "7").with(|properties| properties.content_type = Some("text/x".into()));
        client.expect_within(PATIENCE, expected);
        // A topic that no route matches is nobody's, and this is known at once.
        if delivery == Delivery::Stream {
            client.ask(request("devices/7/other", "hi", &replies, "d"));
            client.expect_within(Duration::from_secs(2), trouble(&replies, "no worker answers this topic", "no-worker", "d"));
        }
        assert_eq!(worker.stats().answered, 1);
        house.runtime.block_on(worker.shutdown()).unwrap();
        until("no entry is left", || house.redis.query::<u64>(&["XLEN", &house.key("{mcp}:responses")]) == 0);
        client.expect_nothing();
    }
}

#[test]
fn of_several_workers_one_answers() {
    for delivery in [Delivery::Stream, Delivery::Channel] {
        let Some(house) = house() else { return };
        let calls = Arc::new(AtomicU32::new(0));
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let calls = calls.clone();
                house.start(house.worker().delivery(delivery).route("t", move |r: Request| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    async move { r.payload }
                }))
            })
            .collect();
        let (mut client, replies) = house.requester();
        for n in 0..50 {
            client.send(request("t", format!("{n}"), &replies, "d").qos(0));
        }
        let mut came: Vec<u32> = (0..50).map(|_| std::str::from_utf8(&client.hear().payload).unwrap().parse().unwrap()).collect();
        came.sort_unstable();
        assert_eq!(came, (0..50).collect::<Vec<_>>(), "{delivery:?}");
        client.expect_nothing();
        assert_eq!(calls.load(Ordering::Relaxed), 50, "{delivery:?}");
        workers.into_iter().for_each(|worker| house.runtime.block_on(worker.shutdown()).unwrap());
    }
}

/// More at once than all hands of all workers: nobody says a request twice on the channel, so they wait.
#[test]
fn a_burst_on_the_channel_waits_for_hands() {
    let Some(house) = house() else { return };
    let worker = || house.worker().delivery(Delivery::Channel).concurrency(1).route("t", echo);
    let workers = [house.start(worker()), house.start(worker())];
    let (mut client, replies) = house.requester();
    for n in 0..50 {
        client.send(request("t", format!("{n}"), &replies, "d").qos(0));
    }
    (0..50).for_each(|_| assert!(!client.hear().payload.is_empty()));
    client.expect_nothing();
    assert_eq!(workers.iter().map(|worker| worker.stats().answered).sum::<u64>(), 50);
}

#[test]
fn an_error_and_a_panic_are_error_replies_and_the_worker_works_on() {
    let Some(house) = house() else { return };
    let told = Arc::new(AtomicU32::new(0));
    let count = told.clone();
    let worker = house.worker().on_error(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let worker = worker.route("error", |_: Request| async { Err::<String, _>(std::io::Error::other("it broke")) });
    let worker = worker.route("panic", |_: Request| async { if true { panic!("on purpose") } else { "" } }).route("echo", echo);
    let worker = house.start(worker.request_timeout(Duration::from_millis(300)).route("slow", |r: Request| async move {
        r.extend(Duration::from_millis(600)).await?;
        std::future::pending::<()>().await;
        Ok::<_, Failure>("")
    }));
    let (mut client, replies) = house.requester();
    client.ask(request("error", "", &replies, "d"));
    client.expect_within(PATIENCE, trouble(&replies, "it broke", "worker-failed", "d"));
    client.ask(request("panic", "", &replies, "d"));
    client.expect_within(PATIENCE, trouble(&replies, "the handler panicked", "worker-failed", "d"));
    let started = std::time::Instant::now();
    client.ask(request("slow", "", &replies, "d"));
    client.expect_within(PATIENCE, trouble(&replies, "the handler took too long", "timeout", "d"));
    assert!(started.elapsed() >= Duration::from_millis(600), "it was given more time");
    client.ask(request("echo", "x", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "x", "d"));
    assert_eq!((worker.stats().failed, told.load(Ordering::Relaxed)), (3, 3));
}

#[test]
fn a_retry_is_counted_and_the_last_one_is_a_dead_letter() {
    let Some(house) = house() else { return };
    let worker = house.worker().name("w").max_attempts(3).route("second", |r: Request| async move {
        if r.attempt < 2 { Err(Failure::retry("not yet")) } else { Ok(r.attempt.to_string()) }
    });
    let worker = house.start(worker.route("never", |_: Request| async { Err::<String, _>(Failure::retry("not today")) }));
    let (mut client, replies) = house.requester();
    client.ask(request("second", "", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "2", "d"));
    client.ask(request("never", "", &replies, "d"));
    client.expect_within(PATIENCE, trouble(&replies, "not today", "worker-failed", "d"));
    assert_eq!((worker.stats().retried, worker.stats().dead), (3, 1));
    client.ask(request("never", call(7), &replies, "d"));
    client.expect_within(PATIENCE, rpc_trouble(&replies, 7, -32003, "not today", "worker-failed", "d"));
    let dead: Vec<(String, Vec<(String, String)>)> = house.redis.query(&["XRANGE", &house.key("{mcp}:dead"), "-", "+"]);
    assert_eq!(dead.len(), 2);
    for (_, fields) in dead {
        assert!(fields[0].0 == "entry" && fields[0].1.contains('-'), "the entry of the request: {fields:?}");
        assert_eq!(
            fields[1..],
            [("error", "not today"), ("attempts", "3"), ("worker", "w")].map(|(name, value)| (name.into(), value.into()))
        );
    }
    until("nothing is left of it", || house.redis.query::<u64>(&["XLEN", &house.key("{mcp}:requests")]) == 0);
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_and_hands_back_the_rest() {
    let Some(house) = house() else { return };
    let (started, begun) = std::sync::mpsc::channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let first = house.worker().group("g").drain_timeout(Duration::from_millis(500)).route("slow", {
        let started = started.clone();
        move |r: Request| {
            started.send(()).unwrap();
            let mut gone = gone.clone();
            async move {
                gone.wait_for(|gone| *gone).await.unwrap();
                r.payload
            }
        }
    });
    let first = house.start(first.route("stuck", move |_: Request| {
        started.send(()).unwrap();
        std::future::pending::<String>()
    }));
    let (mut client, replies) = house.requester();
    client.ask(request("slow", "finished", &replies, "1"));
    client.ask(request("stuck", "", &replies, "2"));
    (0..2).for_each(|_| begun.recv_timeout(PATIENCE).unwrap());
    go.send_replace(true);
    client.expect_within(PATIENCE, answer(&replies, "finished", "1"));
    house.runtime.block_on(first.shutdown()).unwrap();
    let second = house.worker().group("g").lease(Duration::from_secs(60)).route("slow", echo);
    // With this lease it would take a minute, were the rest not handed back.
    let _second = house.start(second.route("stuck", |r: Request| async move { format!("attempt {}", r.attempt) }));
    let came = client.hear();
    assert_eq!(came.payload, "attempt 1", "what was handed back was not tried");
}

#[test]
fn a_worker_hears_that_nobody_waits_any_more() {
    let Some(house) = house() else { return };
    let (noticed, cancelled) = std::sync::mpsc::channel();
    let (started, begun) = std::sync::mpsc::channel();
    let worker = house.start(house.worker().route("t", move |r: Request| {
        let (noticed, started) = (noticed.clone(), started.clone());
        async move {
            started.send(()).unwrap();
            r.cancelled().await;
            noticed.send(()).unwrap();
            "too late"
        }
    }));
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    begun.recv_timeout(PATIENCE).unwrap();
    client.ask(message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    cancelled.recv_timeout(PATIENCE).unwrap();
    until("it is over", || worker.stats().running == 0);
    client.expect_nothing();
}

#[test]
fn parts_are_forwarded_in_their_order_by_either_lane() {
    for delivery in [Delivery::Stream, Delivery::Channel] {
        let Some(house) = house() else { return };
        let _worker = house.start(house.worker().delivery(delivery).route("count", |r: Request| async move {
            for n in 0..20 {
                r.part(n.to_string()).await?;
            }
            Ok::<_, Failure>("end")
        }));
        let (mut client, replies) = house.requester();
        client.ask(request("count", "", &replies, "d"));
        let came: Vec<_> = (0..21).map(|_| String::from_utf8(client.hear().payload.to_vec()).unwrap()).collect();
        let expected: Vec<_> = (0..20).map(|n| n.to_string()).chain(["end".to_owned()]).collect();
        assert_eq!(came, expected, "{delivery:?}");
    }
}

#[test]
fn a_worker_says_that_it_lives_and_that_it_goes() {
    let Some(house) = house() else { return };
    let worker = house.start(house.worker().name("w1").group("g").concurrency(7).route("a/+", echo));
    let key = house.key("mcp:worker:w1");
    let said: String = house.redis.query(&["GET", &key]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["group"], &said["filters"][0], &said["concurrency"]), (&"g".into(), &"a/+".into(), &7.into()));
    assert!(house.redis.query::<i64>(&["PTTL", &key]) > 0);
    assert_eq!(house.redis.query::<u64>(&["ZCARD", &house.key("{mcp}:workers")]), 1);
    house.runtime.block_on(worker.shutdown()).unwrap();
    assert_eq!(house.redis.query::<u64>(&["EXISTS", &key, &house.key("{mcp}:workers")]), 0);
    let (mut client, replies) = house.requester();
    client.ask(request("a/b", "x", &replies, "d"));
    client.expect_within(Duration::from_secs(2), trouble(&replies, "no worker answers this topic", "no-worker", "d"));
}

#[test]
fn a_worker_may_say_elsewhere_that_it_lives() {
    let Some(house) = house() else { return };
    let (mine, usual) = (house.key("mine"), house.key("mcp:worker:w"));
    let worker = house.start(house.worker().name("w").health_key(&mine).route("t", echo));
    assert_eq!((house.redis.query::<u64>(&["EXISTS", &mine]), house.redis.query::<u64>(&["EXISTS", &usual])), (1, 0));
    // Nodes do not know what it answers, so it may be anything.
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "x", "d"));
    house.runtime.block_on(worker.shutdown()).unwrap();
    assert_eq!(house.redis.query::<u64>(&["EXISTS", &mine]), 0);
}

/// Programs with different routes do not take each other's requests away.
#[test]
fn two_programs_beside_each_other_answer_their_own() {
    let Some(house) = house() else { return };
    let _one = house.start(house.worker().route("one", |_: Request| async { "1" }));
    let _two = house.start(house.worker().route("two", |_: Request| async { "2" }));
    let (mut client, replies) = house.requester();
    for _ in 0..5 {
        for (topic, payload) in [("one", "1"), ("two", "2")] {
            client.ask(request(topic, "", &replies, "d"));
            assert_eq!(client.hear().payload, payload);
        }
    }
}
