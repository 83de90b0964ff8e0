//! Nodes and workers die: every request ends, in one answer or one error reply, and what may come twice is counted.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mcp_worker_sdk::{Delivery, Request, Worker};
use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::*;

use super::crowd::Crowd;
use super::kit::*;

/// The node that took a request dies: another one says that its time has come, or forwards the answer.
#[test]
fn what_a_dead_node_took_another_one_ends() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut worker = Plain::listen(&cluster.redis, "mqttd");
    let mut listener = cluster.client(1, V5).connect();
    listener.subscribe("replies", 1);
    let mut client = cluster.client(0, V5).connect();
    client.ask(request("t", "1", "replies", "answered"));
    client.ask(request("t", "2", "replies", "late").expiry(2));
    let (first, _) = (worker.next(), worker.next());
    cluster.node(0).kill();
    worker.answer(&first, "the answer");
    listener.expect_within(PATIENCE, answer("replies", "the answer", "answered"));
    listener.expect_within(PATIENCE, trouble("replies", "no answer in time", "timeout", "late"));
    listener.expect_nothing();
}

/// A node dies when it has claimed an answer, or when it has forwarded it and told nobody; another one, which starts only then, ends the request.
/// Returns what it counts as perhaps said twice.
#[track_caller]
fn dies_at(point: &str, lane: Delivery, parts: &[&str], expected: &[Message]) -> usize {
    let Some(mut cluster) = Cluster::start(2) else { return 1 };
    (0..2).for_each(|node| cluster.node(node).kill());
    cluster.node(0).revive_until(point);
    let mut worker = Plain::listen(&cluster.redis, "mqttd").by(lane);
    let mut client = cluster.durable(0, V5, "requester");
    client.subscribe("replies", 1);
    client.ask(request("t", "x", "replies", "d"));
    let heard = worker.next();
    for (number, part) in parts.iter().enumerate() {
        let encoded = mcp_worker_sdk::wire::encode(part.as_bytes());
        worker.answer_with(&heard, serde_json::json!({ "payload_b64": encoded, "final": false, "part": number + 1 }));
    }
    let encoded = mcp_worker_sdk::wire::encode(b"the answer");
    let before = (!parts.is_empty()).then_some(parts.len());
    worker.answer_with(&heard, serde_json::json!({ "payload_b64": encoded, "part": before }));
    cluster.node(0).has_ended();
    cluster.node(1).revive();
    let mut client = cluster.durable(1, V5, "requester");
    for message in expected {
        // What the dead node had sent may come with DUP; the same message all the same.
        let came = client.hear();
        assert_eq!((&came.payload, came.qos), (&message.publish().payload, QoS::AtLeastOnce), "{point} {lane:?}");
    }
    nobody_waits(&cluster);
    client.expect_nothing();
    cluster.node(1).metric("mcp_responses_repeated_total")
}

/// What a dead node had given to workers stays in the stream until it is too old.
#[track_caller]
fn nobody_waits(cluster: &Cluster) {
    until("nobody waits", || {
        let of = |what: &str, key: &str| cluster.redis.query::<u64>(&[what, &format!("mqttd:{{mcp}}:{key}")]);
        of("ZCARD", "due") + of("XLEN", "responses") == 0
    });
}

fn the_answer() -> Message {
    answer("replies", "the answer", "d")
}

fn unavailable() -> Message {
    trouble("replies", "the request could not be answered", "unavailable", "d")
}

#[test]
fn an_answer_of_the_stream_comes_once_when_a_node_dies_before_it_has_forwarded_it() {
    assert_eq!(dies_at("answer.claimed", Delivery::Stream, &[], &[the_answer()]), 1);
}

#[test]
fn an_answer_comes_twice_when_a_node_dies_after_it_has_forwarded_it_and_that_is_counted() {
    assert_eq!(dies_at("answer.forwarded", Delivery::Stream, &[], &[the_answer(), the_answer()]), 1);
}

/// Nobody has it any more, so that is said.
#[test]
fn an_answer_of_the_channel_dies_with_the_node_that_claimed_it_and_the_requester_is_told() {
    assert_eq!(dies_at("answer.claimed", Delivery::Channel, &[], &[unavailable()]), 1);
    assert_eq!(dies_at("answer.forwarded", Delivery::Channel, &[], &[the_answer(), unavailable()]), 1);
}

#[test]
fn a_part_that_a_node_died_with_comes_and_so_do_those_behind_it() {
    let [first, second] = ["1", "2"].map(|payload| answer("replies", payload, "d"));
    let (first, expected) = (first.clone(), [first, second, the_answer()]);
    assert_eq!(dies_at("answer.claimed", Delivery::Stream, &["1", "2"], &expected), 1);
    let expected = [[first].as_slice(), &expected].concat();
    assert_eq!(dies_at("answer.forwarded", Delivery::Stream, &["1", "2"], &expected), 1);
}

/// A worker as a program of its own: this test, told by variables which Redis it works for and how.
struct Program(Child);

const REDIS: &str = "REQUESTS_TEST_WORKER";
const LANE: &str = "REQUESTS_TEST_LANE";

impl Program {
    fn start(redis: &str, lane: Delivery) -> Program {
        let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
        command.args(["--exact", "requests::deaths::works_as_a_program", "--nocapture"]);
        command.env(REDIS, redis).env(LANE, format!("{lane:?}"));
        Program(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().expect("a child can be waited for");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// No test: what [`Program`] runs.
#[test]
fn works_as_a_program() {
    let Ok(redis) = std::env::var(REDIS) else { return };
    let lane = if std::env::var(LANE).is_ok_and(|lane| lane == "Channel") { Delivery::Channel } else { Delivery::Stream };
    let worker = Worker::builder().redis_url(redis).delivery(lane).lease(Duration::from_secs(1)).max_attempts(5);
    let worker = worker.route("ask/#", |r: Request| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        r.payload
    });
    runtime().block_on(worker.build().unwrap().run()).unwrap();
}

#[test]
fn with_nodes_and_workers_killed_every_request_of_the_stream_ends() {
    every_request_ends(Delivery::Stream);
}

/// What a dead worker had is answered by nobody: its requester is told at the deadline.
#[test]
fn with_nodes_and_workers_killed_every_request_of_the_channel_ends() {
    every_request_ends(Delivery::Channel);
}

/// Each node dies while it has requests of its own and answers to forward: the one that is asked, the one that the answers are for, and a third.
#[track_caller]
fn every_request_ends(lane: Delivery) {
    const COUNT: u32 = 2500;
    let timeout = if lane == Delivery::Stream { "300" } else { "8" };
    let Some(mut cluster) = Cluster::with(3, &[("MQTTD_MCP__TIMEOUT_S", timeout)]) else { return };
    let url = cluster.redis.url();
    let mut workers: Vec<_> = (0..3).map(|_| Program::start(&url, lane)).collect();
    until("they work", || match lane {
        Delivery::Stream => cluster.redis.query::<u64>(&["ZCARD", "mqttd:{mcp}:workers"]) == 3,
        _ => cluster.redis.query::<(String, u64)>(&["PUBSUB", "NUMSUB", "mqttd:mcp:requests"]).1 == 3,
    });
    let mut crowd = Crowd::roaming((0..3).map(|node| cluster.address(node)).collect(), true);
    let progress = crowd.progress.clone();
    let run = std::thread::spawn(move || {
        crowd.run(COUNT, 100);
        crowd
    });
    let mut repeated = 0;
    for (round, node) in [0, 1, 2, 0, 1].into_iter().enumerate() {
        until("so many have ended", || progress.ended.load(Relaxed) >= 400 * (round as u32 + 1) || run.is_finished());
        let in_hand = progress.asked.load(Relaxed) - progress.ended.load(Relaxed);
        assert!(in_hand > 0 && !run.is_finished(), "nothing dies with them");
        repeated += cluster.node(node).metric("mcp_responses_repeated_total");
        cluster.node(node).kill();
        workers[round % 3].kill();
        workers[round % 3] = Program::start(&url, lane);
        cluster.node(node).restart();
    }
    let mut crowd = run.join().expect("every request ends");
    nobody_waits(&cluster);
    crowd.drain();
    repeated += (0..3).map(|node| cluster.node(node).metric("mcp_responses_repeated_total")).sum::<usize>();
    let (mut answered, mut troubled, mut twice) = (0, 0, 0);
    for (number, count) in &crowd.counts {
        answered += u32::from(count.answers > 0);
        troubled += u32::from(count.answers == 0);
        // What was asked again are several requests, each with an answer of its own.
        twice += (count.answers + count.errors - 1).saturating_sub(crowd.again.get(number).copied().unwrap_or(0));
    }
    let again: u32 = crowd.again.values().sum();
    println!(
        "{lane:?}: of {COUNT} requests {answered} were answered, {troubled} ended with an error, {twice} were told twice, {again} asked again"
    );
    assert_eq!(answered + troubled, COUNT);
    assert!(lane == Delivery::Channel || troubled == 0, "the stream loses nothing: {troubled}");
    assert!(twice as usize <= repeated, "{twice} came twice, {repeated} were counted");
    assert!(again <= 10, "{again}: one for each death of the node that was asked, and what its place in the cluster costs");
}
