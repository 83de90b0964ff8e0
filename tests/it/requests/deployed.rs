//! Workers of the SDK where Redis is deployed as Sentinels or as a Cluster, or wants TLS: they take the same addresses as the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mcp_worker_sdk::wire::Names;
use mcp_worker_sdk::{Delivery, Request, Worker, WorkerBuilder};
use mqttd::config::StoreUrl;
use mqttd_tests::certificates::Authority;
use mqttd_tests::client::Came;
use mqttd_tests::cluster::until;
use mqttd_tests::connecting::Connecting;
use mqttd_tests::deployment::{Deployment, Kind};
use mqttd_tests::redis::{Redis, free_port};
use mqttd_tests::*;

use super::kit::*;

const DELIVERIES: [Delivery; 2] = [Delivery::Stream, Delivery::Channel];

/// A node on this Redis. What a worker on the channel does not hear is told soon.
fn node(url: &str) -> Broker {
    Broker::with(|config| {
        config.store.url = StoreUrl::Redis(url.to_owned());
        config.mcp.timeout_s = 4;
    })
}

fn worker(url: &str, delivery: Delivery) -> WorkerBuilder {
    let topic = format!("{delivery:?}");
    Worker::builder().redis_url(url).delivery(delivery).lease(Duration::from_secs(2)).route(&topic, |r: Request| async move { r.payload })
}

/// Asks until there is an answer: a node that cannot reach its Store lets nobody in, and one reply to each request is all that comes.
fn until_answered(broker: &Broker, delivery: Delivery) {
    let topic = format!("{delivery:?}");
    until("a request is answered", || {
        let (connecting, replies) = (broker.client(V5), unique("replies/"));
        let Some(mut client) = connecting.try_connect(PATIENCE) else { return false };
        client.send(Packet::Subscribe(Box::new(subscribe(1, &[(&replies, 1)]))));
        client.send(request(&topic, "x", &replies, "d").id(2));
        loop {
            match client.came_within(PATIENCE) {
                Came::Packet(Packet::Publish(publish)) => {
                    let id = publish.packet_id.expect("QoS 1");
                    client.send(puback(id.get()));
                    client.expect_nothing();
                    return publish.payload == "x";
                }
                Came::Packet(Packet::Suback(_)) => {}
                Came::Packet(Packet::Acknowledge(ack)) if !ack.reason.is_error() => {}
                _ => return false,
            }
        }
    });
}

#[test]
fn workers_answer_however_redis_is_deployed() {
    for kind in [Kind::Standalone, Kind::Sentinel, Kind::Cluster] {
        let Some(redis) = Deployment::start(kind) else { return };
        let (broker, runtime) = (node(&redis.url()), runtime());
        let mut client = broker.client(V5).connect();
        client.subscribe("replies", 1);
        for delivery in DELIVERIES {
            let worker = start(
                &runtime,
                worker(&redis.url(), delivery).route("parts", |r: Request| async move {
                    r.part("1").await?;
                    r.extend(Duration::from_secs(1)).await?;
                    Ok::<_, mcp_worker_sdk::Failure>("2")
                }),
            );
            for number in 0..50 {
                client.send(request(&format!("{delivery:?}"), number.to_string(), "replies", "d").qos(0));
            }
            let came: BTreeSet<_> = (0..50).map(|_| client.hear().payload).collect();
            assert_eq!(came.len(), 50, "{kind:?} {delivery:?}: {came:?}");
            client.ask(request("parts", "", "replies", "d"));
            assert_eq!([client.hear().payload, client.hear().payload], ["1", "2"], "{kind:?} {delivery:?}");
            // On a busy machine a lease of a second can end before its answer: then two are given, and the client has one.
            assert!(worker.stats().answered >= 51, "{kind:?} {delivery:?}: {:?}", worker.stats());
            runtime.block_on(worker.shutdown()).unwrap();
        }
        client.expect_nothing();
    }
}

/// What an answer and its acknowledgement are is one batch: it has to be at one place.
#[test]
fn all_keys_of_the_stream_lane_are_in_one_slot() {
    let Some(redis) = Deployment::shared(Kind::Cluster) else { return };
    let names = Names::new("any:prefix");
    let keys = [names.requests_stream(), names.responses_stream(), names.dead(), names.workers()];
    let slots: BTreeSet<u16> = keys.iter().map(|key| redis.servers[0].query(&["CLUSTER", "KEYSLOT", key])).collect();
    assert_eq!(slots.len(), 1, "{keys:?}");
}

#[test]
fn workers_follow_slots_that_move_and_primaries_that_die() {
    let Some(mut redis) = Deployment::cluster(1) else { return };
    let (broker, runtime) = (node(&redis.url()), runtime());
    let _workers = DELIVERIES.map(|delivery| start(&runtime, worker(&redis.url(), delivery)));
    let streams: u16 = redis.servers[0].query(&["CLUSTER", "KEYSLOT", "mqttd:{mcp}:requests"]);
    let owner = redis.owner(streams);
    redis.move_slot(streams, (owner + 1) % 3);
    DELIVERIES.into_iter().for_each(|delivery| until_answered(&broker, delivery));
    // The one that has the streams, and then the one at which the workers listen.
    for dies in [(owner + 1) % 3, 0] {
        redis.servers[dies].kill();
        let lives = (0..redis.servers.len()).find(|at| *at != dies).unwrap();
        until("a replica is promoted", || {
            let info: String = redis.servers[lives].query(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_fail:0\r")
        });
        DELIVERIES.into_iter().for_each(|delivery| until_answered(&broker, delivery));
        redis.servers[dies].revive();
        until("it is a replica now", || redis.servers[dies].query::<String>(&["INFO", "replication"]).contains("master_link_status:up"));
    }
}

#[test]
fn workers_follow_the_primary_that_sentinels_name() {
    let Some(mut redis) = Deployment::start(Kind::Sentinel) else { return };
    let (broker, runtime) = (node(&redis.url()), runtime());
    let _workers = DELIVERIES.map(|delivery| start(&runtime, worker(&redis.url(), delivery)));
    DELIVERIES.into_iter().for_each(|delivery| until_answered(&broker, delivery));
    redis.servers[0].kill();
    until("the replica is promoted", || redis.sentinels_say(1));
    DELIVERIES.into_iter().for_each(|delivery| until_answered(&broker, delivery));
}

/// Requests of one Session that are not ended at any time; so many can have been in somebody's hands when a server died.
const WINDOW: usize = 50;

/// Asks on and on, whatever becomes of its connections, and counts what comes for each request that was acknowledged.
struct Asker {
    connecting: Connecting,
    client: Option<Client>,
    replies: String,
    asked: u32,
    acknowledged: BTreeSet<u32>,
    /// Answers and error replies.
    ended: BTreeMap<u32, u32>,
    errors: u32,
}

impl Asker {
    fn new(connecting: Connecting) -> Asker {
        let (connecting, replies) = (connecting.durable(), unique("replies/"));
        let mut client = connecting.connect();
        client.subscribe(&replies, 1);
        let (acknowledged, ended) = Default::default();
        Asker { connecting, client: Some(client), replies, asked: 0, acknowledged, ended, errors: 0 }
    }

    fn run(mut self, stop: &AtomicBool) -> Asker {
        while !stop.load(Ordering::Relaxed) {
            self.asked += 1;
            let number = self.asked;
            let asked = request("Stream", number.to_string(), &self.replies, &number.to_string()).id((number % 60_000 + 1) as u16);
            self.client().send(asked);
            self.read_until(|asker| asker.client.is_none() || asker.acknowledged.contains(&number));
            self.read_until(|asker| asker.open() < WINDOW);
        }
        self.read_until(|asker| asker.open() == 0);
        self
    }

    fn open(&self) -> usize {
        self.acknowledged.iter().filter(|number| !self.ended.contains_key(number)).count()
    }

    fn client(&mut self) -> &mut Client {
        let connecting = &self.connecting;
        self.client.get_or_insert_with(|| {
            let mut found = None;
            until("a node lets it in", || {
                found = connecting.try_connect(PATIENCE);
                found.is_some()
            });
            found.expect("a connection")
        })
    }

    fn read_until(&mut self, is_so: impl Fn(&Asker) -> bool) {
        while !is_so(self) {
            match self.client().came_within(PATIENCE) {
                Came::Packet(Packet::Publish(publish)) => {
                    let id = publish.packet_id.expect("QoS 1");
                    self.client().send(puback(id.get()));
                    let properties = publish.properties.expect("Correlation Data");
                    let number = std::str::from_utf8(&properties.correlation_data.unwrap()).unwrap().parse().unwrap();
                    let is_new = !self.ended.contains_key(&number);
                    // What a connection took along comes once more by the next one; that is no second answer.
                    if is_new || !publish.dup {
                        *self.ended.entry(number).or_default() += 1;
                    }
                    self.errors += u32::from(is_new && properties.user_properties.iter().any(|(name, _)| name == "mqttd-error"));
                }
                Came::Packet(Packet::Acknowledge(ack)) if !ack.reason.is_error() => _ = self.acknowledged.insert(self.asked),
                Came::Packet(Packet::Disconnect(_)) | Came::Closed => self.client = None,
                Came::Packet(Packet::Acknowledge(_)) => self.client = None, // refused, as it says: it is not owed an answer
                other => panic!("{} of {} are not ended: {other:?}", self.open(), self.acknowledged.len()),
            }
        }
    }
}

/// What was acknowledged is answered or told to have failed, though the primary dies under it.
#[test]
fn every_request_ends_when_a_primary_dies() {
    for kind in [Kind::Sentinel, Kind::Cluster] {
        let deployment = if kind == Kind::Cluster { Deployment::cluster(1) } else { Deployment::start(kind) };
        let Some(mut redis) = deployment else { return };
        let (broker, runtime) = (node(&redis.url()), runtime());
        let _workers = [(); 2].map(|()| start(&runtime, worker(&redis.url(), Delivery::Stream)));
        let stop = Arc::new(AtomicBool::new(false));
        let (asker, stopped) = (Asker::new(broker.client(V5)), stop.clone());
        let asker = std::thread::spawn(move || asker.run(&stopped));
        let answered = || -> usize { _workers.iter().map(|worker| worker.stats().answered as usize).sum() };
        until("it works", || answered() > 100);
        let dies = match kind {
            Kind::Cluster => redis.owner(redis.servers[0].query(&["CLUSTER", "KEYSLOT", "mqttd:{mcp}:requests"])),
            _ => 0,
        };
        redis.servers[dies].kill();
        let before = answered();
        until("it works again", || answered() > before + 200);
        stop.store(true, Ordering::Relaxed);
        let asker = asker.join().expect("every request ends");
        let twice = asker.ended.values().filter(|ends| **ends > 1).count();
        println!("{kind:?}: {} of {} acknowledged, {} errors, {twice} told twice", asker.acknowledged.len(), asker.asked, asker.errors);
        assert!(twice <= WINDOW, "{twice}: more than was in anybody's hands");
    }
}

/// A server that says nothing more, and keeps its connections: nobody is told that they are of no use.
#[test]
fn a_worker_on_the_channel_notices_a_primary_that_is_silent() {
    let Some(redis) = Deployment::start(Kind::Sentinel) else { return };
    let (broker, runtime) = (node(&redis.url()), runtime());
    let _worker = start(&runtime, worker(&redis.url(), Delivery::Channel));
    until_answered(&broker, Delivery::Channel);
    redis.servers[0].pause();
    until("the replica is promoted", || redis.sentinels_say(1));
    until_answered(&broker, Delivery::Channel);
}

#[test]
fn a_worker_shows_its_certificate_and_trusts_only_its_authorities() {
    let authority = Authority::new("of Redis");
    let (server, own) = (authority.server(&["localhost"]), authority.client("worker", "worker.test"));
    let [ca, certificate, key] = [("ca", &authority.pem), ("certificate", &server.pem), ("key", &server.key)]
        .map(|(stem, pem)| file(&format!("redis-{stem}"), pem).display().to_string());
    let port = free_port();
    let options = ["--tls-port", &port.to_string(), "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let Some(redis) = Redis::with(&options) else { return };
    let (broker, runtime) = (node(&redis.url()), runtime());
    let url = format!("rediss://localhost:{port}");
    for delivery in DELIVERIES {
        let trusting = worker(&url, delivery).redis_authorities(authority.pem.clone()).redis_certificate(own.pem.clone(), own.key.clone());
        let worker = start(&runtime, trusting);
        until_answered(&broker, delivery);
        runtime.block_on(worker.shutdown()).unwrap();
    }
    // By an address that is not in its certificate: only if it is said whose that is.
    let elsewhere = format!("rediss://127.0.0.1:{port}");
    for delivery in DELIVERIES {
        let unnamed =
            || worker(&elsewhere, delivery).redis_authorities(authority.pem.clone()).redis_certificate(own.pem.clone(), own.key.clone());
        assert!(runtime.block_on(unnamed().build().unwrap().run()).unwrap_err().is_redis());
        let worker = start(&runtime, unnamed().redis_server_name("localhost"));
        until_answered(&broker, delivery);
        runtime.block_on(worker.shutdown()).unwrap();
    }
    // Those of this machine, and those of another authority, have not signed it; and without a certificate nobody is let in.
    let stranger = worker(&url, Delivery::Stream).redis_authorities(Authority::new("of another").pem);
    for refused in [worker(&url, Delivery::Stream), stranger, worker(&url, Delivery::Stream).redis_authorities(authority.pem)] {
        let error = runtime.block_on(refused.build().unwrap().run()).unwrap_err();
        assert!(error.is_redis(), "{error}");
    }
}

/// The user of the README, and nothing that it tried was refused.
#[test]
fn a_worker_needs_no_more_than_the_readme_says() {
    let readme = include_str!("../../../mcp-worker-sdk/README.md");
    let line = readme.split("```").find(|text| text.contains("ACL SETUSER worker")).expect("it says so");
    let words: Vec<_> = line.split_whitespace().skip(1).map(|word| if word == ">PASSWORD" { ">secret" } else { word }).collect();
    let Some(redis) = Redis::start() else { return };
    redis.query::<()>(&words);
    let (broker, runtime) = (node(&redis.url()), runtime());
    let url = redis.url().replace("redis://", "redis://worker:secret@");
    let mut client = broker.client(V5).connect();
    client.subscribe("replies", 1);
    for delivery in DELIVERIES {
        let worker = worker(&url, delivery).max_attempts(2).route("retry", |r: Request| async move {
            r.extend(Duration::from_secs(1)).await?;
            Err::<String, _>(mcp_worker_sdk::Failure::retry("no"))
        });
        let worker = start(&runtime, worker);
        until_answered(&broker, delivery);
        client.ask(request("retry", "", "replies", "d"));
        client.expect_within(PATIENCE, trouble("replies", "no", "worker-failed", "d"));
        runtime.block_on(worker.shutdown()).unwrap();
    }
    let refused: Vec<::redis::Value> = redis.query(&["ACL", "LOG"]);
    assert!(refused.is_empty(), "{refused:?}");
}
