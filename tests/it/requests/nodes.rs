//! Several nodes: the requester and the worker's answer meet wherever they are.

use std::time::{Duration, Instant};

use mcp_worker_sdk::wire::encode;
use mcp_worker_sdk::{Delivery, Request, Worker};
use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::*;
use serde_json::json;

use super::crowd::Crowd;
use super::kit::*;

const REQUESTS: usize = 10_000;

const LANES: [Delivery; 2] = [Delivery::Stream, Delivery::Channel];

fn echo_worker(cluster: &Cluster) -> mcp_worker_sdk::WorkerBuilder {
    Worker::builder().redis_url(cluster.redis.url()).lease(Duration::from_secs(2)).route("ask/#", |r: Request| async move { r.payload })
}

#[test]
fn ten_thousand_requests_have_one_answer_each_by_the_stream() {
    have_one_answer_each(Delivery::Stream);
}

#[test]
fn ten_thousand_requests_have_one_answer_each_by_the_channel() {
    have_one_answer_each(Delivery::Channel);
}

/// Exactly one: nothing is asked again, and it is looked when nobody is left who would say it a second time.
#[track_caller]
fn have_one_answer_each(delivery: Delivery) {
    // With the lease that nodes have by default. That of other tests is so short that a machine with much else to do breaks it, and a node that was
    // not heard of for so long ends its connections with Server busy.
    let Some(mut cluster) = Cluster::with(3, &[("MQTTD_CLUSTER__LEASE_S", "10")]) else { return };
    let runtime = runtime();
    let workers: Vec<_> = (0..3).map(|_| start(&runtime, echo_worker(&cluster).delivery(delivery))).collect();
    let started = Instant::now();
    // Requests come in at one node, and their answers are wanted at another.
    let crowds: Vec<_> = (0..3)
        .map(|at| {
            let mut crowd = Crowd::new(cluster.address(at), cluster.address((at + 1) % 3));
            let count = if at == 0 { REQUESTS.div_ceil(3) } else { REQUESTS / 3 };
            std::thread::spawn(move || {
                crowd.run(count as u32, 100);
                crowd
            })
        })
        .collect();
    let mut crowds: Vec<_> = crowds.into_iter().map(|crowd| crowd.join().expect("it goes well")).collect();
    println!("{delivery:?}: {REQUESTS} requests over 3 nodes and 3 workers: {:.0}/s", REQUESTS as f64 / started.elapsed().as_secs_f64());
    nothing_is_left(&cluster);
    for crowd in &mut crowds {
        crowd.drain();
        assert!(crowd.counts.values().all(|count| (count.answers, count.errors) == (1, 0)), "{:?}", crowd.counts);
    }
    assert_eq!(crowds.iter().map(|crowd| crowd.counts.len()).sum::<usize>(), REQUESTS);
    assert_eq!(workers.iter().map(|worker| worker.stats().answered).sum::<u64>(), REQUESTS as u64, "each was worked on once");
    let mut all = |name: &str| (0..3).map(|node| cluster.node(node).metric(name)).sum::<usize>();
    let counted =
        ["mcp_requests_total", "mcp_responses_total", "mcp_responses_repeated_total", "mcp_responses_unknown_total"].map(&mut all);
    assert_eq!(counted, [REQUESTS, REQUESTS, 0, 0]);
    until("no place is taken", || all("mcp_in_flight") == 0);
}

/// Nobody waits for an answer, and no worker or node is handed anything any more.
#[track_caller]
fn nothing_is_left(cluster: &Cluster) {
    until("nothing is left", || {
        let of = |what: &str, key: &str| cluster.redis.query::<u64>(&[what, &format!("mqttd:{{mcp}}:{key}")]);
        of("ZCARD", "due") + of("XLEN", "responses") + of("XLEN", "requests") == 0
    });
}

#[test]
fn parts_keep_their_order_over_three_nodes() {
    let Some(cluster) = Cluster::start(3) else { return };
    let runtime = runtime();
    let worker = Worker::builder().redis_url(cluster.redis.url()).route("count", |r: Request| async move {
        for n in 0..50 {
            r.part(n.to_string()).await?;
        }
        Ok::<_, mcp_worker_sdk::Failure>("50")
    });
    let _worker = start(&runtime, worker);
    let mut client = cluster.client(0, V5).connect();
    client.subscribe("replies", 1);
    for _ in 0..3 {
        client.ask(request("count", "", "replies", "d"));
        let came: Vec<u32> = (0..=50).map(|_| std::str::from_utf8(&client.hear().payload).unwrap().parse().unwrap()).collect();
        assert_eq!(came, (0..=50).collect::<Vec<_>>());
    }
}

/// On the channel the node that took the request forwards its answer, on the stream whichever has read it.
#[test]
fn a_requester_that_moved_or_is_offline_gets_its_answer() {
    for lane in LANES {
        let Some(cluster) = Cluster::start(2) else { return };
        let mut worker = Plain::listen(&cluster.redis, "mqttd").by(lane);
        let mut client = cluster.durable(0, V5, "mover");
        client.subscribe("replies", 1);
        for _ in 0..4 {
            client.ask(request("t", "1", "replies", "moved"));
            client.ask(request("t", "2", "replies", "offline"));
            let (first, second) = (worker.next(), worker.next());
            client.cut();
            client = cluster.durable(1, V5, "mover");
            worker.answer(&first, "there");
            let id = client.expect_within(PATIENCE, answer("replies", "there", "moved"));
            client.send(puback(id));
            client.expect_nothing();
            client.cut();
            worker.answer(&second, "kept");
            until("it is answered", || cluster.redis.query::<u64>(&["ZCARD", "mqttd:{mcp}:due"]) == 0);
            client = cluster.durable(0, V5, "mover");
            let id = client.expect_within(PATIENCE, answer("replies", "kept", "offline"));
            client.send(puback(id));
            client.expect_nothing();
        }
    }
}

#[test]
fn two_clients_of_two_nodes_with_the_same_correlation_data_never_meet() {
    for lane in LANES {
        let Some(cluster) = Cluster::start(2) else { return };
        let mut worker = Plain::listen(&cluster.redis, "mqttd").by(lane);
        let mut clients = [0, 1].map(|node| cluster.client(node, V5).connect());
        for (client, replies) in clients.iter_mut().zip(["ann", "bob"]) {
            client.subscribe(replies, 1);
        }
        for _ in 0..10 {
            for (client, replies) in clients.iter_mut().zip(["ann", "bob"]) {
                client.ask(request("t", replies, replies, "same"));
            }
            let (ann, bob) = (worker.next(), worker.next());
            assert_ne!(ann["correlation_id"], bob["correlation_id"]);
            worker.answer(&bob, "for bob");
            worker.answer(&ann, "for ann");
            for (client, replies) in clients.iter_mut().zip(["ann", "bob"]) {
                let id = client.expect_within(PATIENCE, answer(replies, format!("for {replies}"), "same"));
                client.send(puback(id));
            }
        }
        clients.iter_mut().for_each(Client::expect_nothing);
    }
}

/// Plain workers give parts no numbers: they come as they were published, though another node looks after the end of each answer too.
#[test]
fn parts_without_numbers_keep_their_order_beside_much_else() {
    const MANY: usize = 300;
    let Some(cluster) = Cluster::start(2) else { return };
    let mut worker = Plain::listen(&cluster.redis, "mqttd");
    let mut listener = cluster.client(1, V5).receive_maximum(1000).connect();
    listener.subscribe("replies", 1);
    let mut client = cluster.client(0, V5).connect();
    let asking = std::thread::spawn(move || {
        for number in 0..MANY {
            client.ask(request("t", "", "replies", &number.to_string()));
        }
        client
    });
    let answering = std::thread::spawn(move || {
        for _ in 0..MANY {
            let heard = worker.next();
            for part in 0..5 {
                worker.answer_with(&heard, json!({ "payload_b64": encode(part.to_string().as_bytes()), "final": false }));
            }
            worker.answer(&heard, "5");
        }
    });
    let mut came = std::collections::HashMap::<Vec<u8>, String>::new();
    for _ in 0..6 * MANY {
        let publish = listener.hear();
        let data = publish.properties.unwrap().correlation_data.unwrap().to_vec();
        came.entry(data).or_default().push_str(std::str::from_utf8(&publish.payload).unwrap());
    }
    listener.expect_nothing();
    assert!(came.len() == MANY && came.values().all(|parts| parts == "012345"), "{came:?}");
    answering.join().unwrap();
    drop(asking.join().unwrap());
}

/// The requester's node and those that look on: whoever asks is told soon, by the middle of many times.
#[test]
fn no_worker_is_said_within_100_ms_on_three_nodes() {
    let Some(cluster) = Cluster::start(3) else { return };
    let runtime = runtime();
    let worker = Worker::builder().redis_url(cluster.redis.url()).route("somebody/else", |_: Request| async { "" });
    let mut listener = cluster.client(1, V5).connect();
    listener.subscribe("replies", 1);
    let mut client = cluster.client(0, V5).connect();
    for somebody_works in [false, true] {
        let _worker = somebody_works.then(|| start(&runtime, worker.clone()));
        let mut times: Vec<_> = (0..21)
            .map(|_| {
                let started = Instant::now();
                client.ask(request("t", "x", "replies", "d"));
                listener.receive(trouble("replies", "no worker answers this topic", "no-worker", "d"));
                started.elapsed()
            })
            .collect();
        times.sort();
        println!("no worker, said after {:?} ({:?} to {:?}); somebody works elsewhere: {somebody_works}", times[10], times[0], times[20]);
        assert!(times[10] < Duration::from_millis(100), "{times:?}");
    }
    listener.expect_nothing();
}

#[test]
fn a_request_is_taken_back_by_way_of_another_node() {
    let Some(cluster) = Cluster::start(2) else { return };
    let mut worker = Plain::listen(&cluster.redis, "mqttd");
    let cancelled = listen(&cluster.redis, "mqttd:mcp:cancelled");
    let mut client = cluster.durable(0, V5, "mover");
    client.subscribe("replies", 1);
    client.ask(request("t", "1", "replies", "d"));
    let heard = worker.next();
    client.ask(request("t", "2", "replies", "e"));
    let other = worker.next();
    client.cut();
    let mut client = cluster.durable(1, V5, "mover");
    let take_back = |data: &'static str| {
        message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some(data.into()))
    };
    // Nobody takes back what is another's.
    cluster.client(1, V5).connect().ask(take_back("e"));
    client.ask(take_back("d"));
    assert_eq!(cancelled.recv_timeout(PATIENCE).unwrap()["correlation_id"], heard["correlation_id"]);
    worker.answer(&heard, "nobody wants it");
    worker.answer(&other, "wanted");
    client.expect_within(PATIENCE, answer("replies", "wanted", "e"));
    client.expect_nothing();
}
