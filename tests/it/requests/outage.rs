//! Redis goes away while workers of the SDK work, and comes back.

use mcp_worker_sdk::{Delivery, Request, Worker};
use mqttd::config::StoreUrl;
use mqttd_tests::cluster::until;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::kit::*;

#[test]
fn a_worker_goes_on_when_redis_comes_back() {
    for delivery in [Delivery::Stream, Delivery::Channel] {
        let Some(mut redis) = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
        let broker = Broker::with(|config| {
            config.store.url = StoreUrl::Redis(redis.url());
            if delivery == Delivery::Channel {
                config.mcp.timeout_s = 2; // an answer that no node hears is made good by this
            }
        });
        let runtime = runtime();
        let (started, begun) = std::sync::mpsc::channel();
        let (go, gone) = tokio::sync::watch::channel(false);
        let worker = Worker::builder().redis_url(redis.url()).delivery(delivery).route("echo", |r: Request| async move { r.payload });
        let worker = start(
            &runtime,
            worker.route("slow", move |r: Request| {
                started.send(()).unwrap();
                let mut gone = gone.clone();
                async move {
                    gone.wait_for(|gone| *gone).await.unwrap();
                    r.payload
                }
            }),
        );
        let mut client = broker.client(V5).connect();
        client.subscribe("replies", 1);
        if delivery == Delivery::Stream {
            client.ask(request("slow", "in hand", "replies", "1"));
            begun.recv_timeout(PATIENCE).unwrap();
        }
        redis.kill();
        go.send_replace(true); // the answer has nowhere to go
        redis.revive();
        if delivery == Delivery::Stream {
            client.expect_within(PATIENCE, answer("replies", "in hand", "1"));
            client.ask(request("echo", "after", "replies", "2"));
            client.expect_within(PATIENCE, answer("replies", "after", "2"));
        } else {
            // Nobody listens until the worker has subscribed again; the requester is told so.
            until("it is answered", || {
                client.ask(request("echo", "after", "replies", "2"));
                client.hear().payload == "after"
            });
        }
        client.expect_nothing();
        assert!(worker.stats().answered >= 1);
        runtime.block_on(worker.shutdown()).unwrap();
    }
}

/// As when Redis comes back with less than it had.
#[test]
fn a_worker_goes_on_when_its_group_is_gone() {
    let Some(house) = house() else { return };
    let _worker = house.start(house.worker().route("echo", |r: Request| async move { r.payload }));
    let (mut client, replies) = house.requester();
    client.ask(request("echo", "before", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "before", "d"));
    let keys = ["{mcp}:requests", "{mcp}:workers"].map(|rest| house.key(rest));
    assert_eq!(house.redis.query::<u64>(&["DEL", &keys[0], &keys[1]]), 2);
    until("the worker is there again", || house.redis.query::<u64>(&["ZCARD", &keys[1]]) == 1);
    client.ask(request("echo", "after", &replies, "d"));
    client.expect_within(PATIENCE, answer(&replies, "after", "d"));
}
