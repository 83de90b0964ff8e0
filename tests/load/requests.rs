//! Requests and their answers: how long each takes, and how many there are in a second, by either lane, with one node and three, beside the bare
//! Redis round trips that they contain, and beside the Python package of the same name if `$SEED_PYTHON` has it. What is not answered is counted, and what is answered twice. How soon is it said that nobody works?
//! `tests/load/requests` starts it.

#![allow(clippy::disallowed_methods, reason = "the generator lives outside the broker and has the clock of everybody")]

mod bare;
mod requester;
mod seed;

use mcp_worker_sdk::{Delivery, Request, Worker, WorkerHandle};
use mqttd_tests::cluster::Cluster;
use mqttd_tests::redis::Redis;
use requester::{Amount, Measured, measure, nobody_works};
use seed::Seed;
use tokio::runtime::Runtime;

/// One at a time for the time that each takes, then many for a rate.
const AMOUNT: Amount = Amount { round_trips: 2000, requests: 20_000, window: 200 };

/// By then it is said that no worker is there, in the middle of many times; in µs.
const NO_WORKER_MAX: f64 = 100_000.0;

/// The seed takes longer, and what it loses costs patience.
const OF_THE_SEED: Amount = Amount { round_trips: 200, requests: 3000, window: 200 };

fn main() {
    println!(
        "| what | round trip p50 µs | p99 µs | of bare Redis | requests/s | lost | twice | Redis commands each | CPU µs each: nodes | Redis |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let Some(redis) = Redis::start() else { return };
    let bare = [Delivery::Stream, Delivery::Channel].map(|delivery| (delivery, [1, 3].map(|nodes| bare(&redis, delivery, nodes))));
    drop(redis);
    for (delivery, [within, between]) in &bare {
        // The SDK's workers on the channel need nothing of the stream, and the others nothing of the channel; by default both are served.
        for (nodes, lanes) in [(1, "both"), (1, only(*delivery)), (3, "both")] {
            let Some(mut cluster) = Cluster::with(nodes, &[("MQTTD_MCP__DELIVERY", lanes)]) else { return };
            let (_runtime, _worker) = work(&cluster.redis, *delivery);
            // The one who asks and the one who hears are on different nodes, if there are several.
            let (from, to) = (cluster.address(0), cluster.address(nodes - 1));
            let processes: Vec<_> = (0..nodes).map(|node| cluster.node(node).process_id()).collect();
            let measured = measure(&cluster.redis, &processes, from, to, AMOUNT);
            let bare = if nodes == 1 { within } else { between };
            row(&format!("mqttd, {} {delivery:?}{}", plural(nodes), if lanes == "both" { "" } else { " only" }), &measured, Some(bare));
        }
    }
    let Some(cluster) = Cluster::start(3) else { return };
    let times = nobody_works(cluster.address(0), cluster.address(2), 500);
    println!("| mqttd, 3 nodes: that no worker is there | {:.0} | {:.0} | | | | | | | |", part(&times, 0.5), part(&times, 0.99));
    assert!(part(&times, 0.5) < NO_WORKER_MAX, "that no worker is there is said too late");
    drop(cluster);
    let Some(python) = std::env::var_os("SEED_PYTHON").filter(|python| python != "none") else { return };
    for nodes in [1, 2, 3] {
        let Some(redis) = Redis::start() else { return };
        let nodes: Vec<_> = (0..nodes).map(|_| Seed::start(&python, &redis)).collect();
        let (_runtime, _worker) = work(&redis, Delivery::Channel);
        let processes: Vec<_> = nodes.iter().map(Seed::process_id).collect();
        let measured = measure(&redis, &processes, nodes[0].address, nodes[nodes.len() - 1].address, OF_THE_SEED);
        row(&format!("the seed (Python 0.5.3), {} Channel", plural(nodes.len())), &measured, None);
    }
}

/// The Redis round trips of a request whose requester is at the node that took it, or at another one.
fn bare(redis: &Redis, delivery: Delivery, nodes: usize) -> Vec<f64> {
    redis.query::<()>(&["FLUSHALL"]); // what the one before left
    let times = if delivery == Delivery::Stream { bare::stream(redis, nodes > 1) } else { bare::channel(redis, nodes > 1) };
    let (half, most) = (part(&times, 0.5), part(&times, 0.99));
    println!("| bare Redis: what is in the {delivery:?} lane of {} | {half:.0} | {most:.0} | 1 | | | | | | |", plural(nodes));
    times
}

fn only(delivery: Delivery) -> &'static str {
    if delivery == Delivery::Stream { "streams" } else { "pubsub" }
}

fn plural(nodes: usize) -> String {
    format!("{nodes} node{},", if nodes == 1 { "" } else { "s" })
}

/// An echo of the SDK, in a runtime of its own.
fn work(redis: &Redis, delivery: Delivery) -> (Runtime, WorkerHandle) {
    let runtime = Runtime::new().expect("a runtime");
    let worker = Worker::builder().redis_url(redis.url()).delivery(delivery).concurrency(512);
    let worker = worker.route("ask", |r: Request| async move { r.payload });
    let worker = runtime.block_on(async { worker.build().expect("a worker").spawn() });
    assert!(runtime.block_on(worker.ready()), "the worker begins");
    (runtime, worker)
}

fn row(name: &str, measured: &Measured, bare: Option<&Vec<f64>>) {
    let Measured { times, rate, lost, repeated, commands, nodes_us, redis_us } = measured;
    let half = part(times, 0.5);
    let ratio = bare.map_or(String::new(), |bare| format!("{:.2}x", half / part(bare, 0.5)));
    println!(
        "| {name} | {half:.0} | {:.0} | {ratio} | {rate:.0} | {lost} | {repeated} | {commands:.1} | {nodes_us:.0} | {redis_us:.0} |",
        part(times, 0.99)
    );
}

/// The time that this part of all did not exceed.
fn part(times: &[f64], part: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(((times.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(f64::NAN)
}
