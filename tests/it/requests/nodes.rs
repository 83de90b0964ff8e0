//! Several nodes: the requester and the worker's answer meet wherever they are, whatever dies.

use std::collections::{BTreeSet, HashMap};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mcp_worker_sdk::{Request, Worker};
use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::connecting::Connecting;
use mqttd_tests::*;

use super::kit::*;

const REQUESTS: usize = 10_000;

fn echo_worker(cluster: &Cluster) -> mcp_worker_sdk::WorkerBuilder {
    Worker::builder().redis_url(cluster.redis.url()).lease(Duration::from_secs(2)).route("ask/#", |r: Request| async move { r.payload })
}

/// Publishes by one connection, hears by another one, and counts what comes for each Correlation Data.
struct Crowd {
    connecting: Connecting,
    publisher: Client,
    listener: Client,
    replies: String,
    /// How often each was answered, and how often with an error.
    answers: HashMap<u32, (u32, u32)>,
    /// What was asked again: a node that cannot keep a request in time, as on a machine with much else to do, ends the connection with Server busy,
    /// and nobody knows whether it was kept.
    again: BTreeSet<u32>,
}

impl Crowd {
    fn new(publisher: Connecting, listener: Connecting) -> Crowd {
        let replies = unique("replies/");
        let mut listener = listener.receive_maximum(1000).connect();
        listener.subscribe(&replies, 1);
        let (connecting, publisher) = (publisher.clone(), publisher.connect());
        Crowd { connecting, publisher, listener, replies, answers: HashMap::new(), again: BTreeSet::new() }
    }

    /// So many requests, at most so many of them unanswered.
    fn run(&mut self, count: u32, window: u32) {
        let mut sent = 0;
        while self.answers.len() < count as usize {
            while sent < count && sent < self.answers.len() as u32 + window {
                self.ask(sent);
                sent += 1;
            }
            self.hear();
        }
    }

    fn ask(&mut self, number: u32) {
        loop {
            let asked = request(&format!("ask/{}", number % 7), number.to_string(), &self.replies, &number.to_string());
            self.publisher.send(asked.qos(1).id((number % 60_000) as u16 + 1));
            match self.publisher.came_within(PATIENCE) {
                Came::Packet(Packet::Acknowledge(ack)) if !ack.reason.is_error() => return,
                Came::Packet(Packet::Disconnect(end)) if end.reason == Reason::SERVER_BUSY => {}
                other => self.publisher.fail("PUBACK", &other),
            }
            self.again.insert(number);
            until("the node lets its publisher in again", || {
                self.connecting.try_connect(PATIENCE).map(|client| self.publisher = client).is_some()
            });
        }
    }

    /// Each has one answer; what was asked twice may have two.
    fn check(&self) {
        for (number, (answers, errors)) in &self.answers {
            let most = 1 + u32::from(self.again.contains(number));
            assert!((1..=most).contains(answers) && *errors == 0, "request {number}: {answers} answers and {errors} errors");
        }
    }

    fn hear(&mut self) {
        let came = self.listener.hear();
        let properties = came.properties.expect("Correlation Data");
        let number: u32 = std::str::from_utf8(&properties.correlation_data.unwrap()).unwrap().parse().unwrap();
        let counts = self.answers.entry(number).or_default();
        if properties.user_properties.iter().any(|(name, _)| name == "mqttd-error") {
            counts.1 += 1;
        } else {
            assert_eq!(came.payload, number.to_string());
            counts.0 += 1;
        }
    }
}

#[test]
fn ten_thousand_requests_have_one_answer_each() {
    let Some(cluster) = Cluster::start(3) else { return };
    let runtime = runtime();
    let workers: Vec<_> = (0..3).map(|_| start(&runtime, echo_worker(&cluster))).collect();
    let started = Instant::now();
    // Requests come in at one node, and their answers are wanted at another.
    let crowds: Vec<_> = (0..3)
        .map(|at| {
            let (publisher, listener) = (cluster.client(at, V5), cluster.client((at + 1) % 3, V5));
            std::thread::spawn(move || {
                let mut crowd = Crowd::new(publisher, listener);
                let count = if at == 0 { REQUESTS.div_ceil(3) } else { REQUESTS / 3 };
                crowd.run(count as u32, 100);
                crowd.listener.expect_nothing();
                crowd
            })
        })
        .collect();
    let crowds: Vec<_> = crowds.into_iter().map(|crowd| crowd.join().expect("it goes well")).collect();
    crowds.iter().for_each(Crowd::check);
    let again: usize = crowds.iter().map(|crowd| crowd.again.len()).sum();
    assert_eq!(crowds.iter().map(|crowd| crowd.answers.len()).sum::<usize>(), REQUESTS);
    let seconds = started.elapsed().as_secs_f64();
    println!("{REQUESTS} requests over 3 nodes and 3 workers: {:.0}/s, {again} of them asked again", REQUESTS as f64 / seconds);
    let done: u64 = workers.iter().map(|worker| worker.stats().answered).sum();
    assert!((REQUESTS..=REQUESTS + again).contains(&(done as usize)), "no request was worked on twice: {done}");
    until("nothing is left", || {
        cluster.redis.query::<u64>(&["ZCARD", "mqttd:{mcp}:due"]) == 0
            && cluster.redis.query::<u64>(&["XLEN", "mqttd:{mcp}:responses"]) == 0
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

#[test]
fn a_requester_that_moved_or_is_offline_gets_its_answer() {
    let Some(cluster) = Cluster::start(2) else { return };
    let mut worker = Plain::listen(&cluster.redis, "mqttd");
    let mut client = cluster.durable(0, V5, "mover");
    client.subscribe("replies", 1);
    client.ask(request("t", "1", "replies", "moved"));
    client.ask(request("t", "2", "replies", "offline"));
    let (first, second) = (worker.next(), worker.next());
    client.cut();
    let mut client = cluster.durable(1, V5, "mover");
    worker.answer(&first, "there");
    let id = client.expect_within(PATIENCE, answer("replies", "there", "moved"));
    client.send(puback(id));
    client.expect_nothing();
    client.cut();
    worker.answer(&second, "kept");
    until("it is answered", || cluster.redis.query::<u64>(&["ZCARD", "mqttd:{mcp}:due"]) == 0);
    let mut client = cluster.durable(0, V5, "mover");
    client.expect_within(PATIENCE, answer("replies", "kept", "offline"));
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
    client.cut();
    let mut client = cluster.durable(1, V5, "mover");
    client.ask(message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    assert_eq!(cancelled.recv_timeout(PATIENCE).unwrap()["correlation_id"], heard["correlation_id"]);
    worker.answer(&heard, "nobody wants it");
    client.expect_nothing();
}

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

/// A worker as a program of its own: this test, told by a variable which Redis it works for.
struct Program(Child);

const WORKER: &str = "REQUESTS_TEST_WORKER";

impl Program {
    fn start(redis: &str) -> Program {
        let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
        command.args(["--exact", "requests::nodes::works_as_a_program", "--nocapture"]).env(WORKER, redis);
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
    let Ok(redis) = std::env::var(WORKER) else { return };
    let worker = Worker::builder().redis_url(redis).lease(Duration::from_secs(1)).max_attempts(5);
    let worker = worker.route("ask/#", |r: Request| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        r.payload
    });
    runtime().block_on(worker.build().unwrap().run()).unwrap();
}

#[test]
fn with_nodes_and_workers_killed_every_request_ends() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let url = cluster.redis.url();
    let mut workers: Vec<_> = (0..3).map(|_| Program::start(&url)).collect();
    until("they work", || cluster.redis.query::<u64>(&["ZCARD", "mqttd:{mcp}:workers"]) == 3);
    // The requester stays where nobody dies; the nodes that die forward answers all the same.
    let (publisher, listener) = (cluster.client(0, V5), cluster.client(0, V5));
    let count = 2000;
    let run = std::thread::spawn(move || {
        let mut crowd = Crowd::new(publisher, listener);
        crowd.run(count, 100);
        crowd
    });
    for round in 0..4 {
        std::thread::sleep(Duration::from_millis(700));
        workers[round % 3].kill();
        workers[round % 3] = Program::start(&url);
        let node = 1 + round % 2;
        cluster.node(node).kill();
        cluster.node(node).revive();
    }
    let mut crowd = run.join().expect("every request ends");
    crowd.listener.expect_nothing();
    let (mut answered, mut troubled, mut twice) = (0, 0, 0);
    for (answers, troubles) in crowd.answers.values() {
        answered += u32::from(*answers > 0);
        troubled += u32::from(*answers == 0 && *troubles > 0);
        twice += u32::from(answers + troubles > 1);
    }
    println!("of {count} requests {answered} were answered, {troubled} ended with an error, {twice} were told twice");
    assert_eq!(answered + troubled, count);
    assert!(twice < 100, "{twice}: more than what the nodes that died can have had in hand");
}
