//! Requests and their answers: how many in a second and how long each takes, by either lane, with one node and three, beside the bare Redis
//! round trips that they contain, and beside the Python package of the same name if `$SEED_PYTHON` has it. `tests/load/requests` starts it.

#![allow(clippy::disallowed_methods, reason = "the generator lives outside the broker and has the clock of everybody")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mcp_worker_sdk::{Delivery, Request, Worker};
use mqttd_tests::cluster::Cluster;
use mqttd_tests::redis::Redis;

/// One at a time, for the time that each takes.
const ROUND_TRIPS: u32 = 2000;

/// Requests of a rate, and how many are unanswered at a time.
const REQUESTS: u32 = 20_000;
const WINDOW: u32 = 200;

/// An answer that is not there by then is lost.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    println!("| what | round trip p50 µs | p99 µs | requests/s | lost |\n|---|---|---|---|---|");
    let Some(redis) = Redis::start() else { return };
    let bare = bare(&redis);
    row("bare Redis: what the stream lane contains", &bare, None);
    for nodes in [1, 3] {
        for delivery in [Delivery::Stream, Delivery::Channel] {
            let Some(cluster) = Cluster::start(nodes) else { return };
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let worker = Worker::builder().redis_url(cluster.redis.url()).delivery(delivery).concurrency(512);
            let worker = worker.route("ask", |r: Request| async move { r.payload });
            let worker = runtime.block_on(async { worker.build().expect("a worker").spawn() });
            assert!(runtime.block_on(worker.ready()), "the worker begins");
            // The one who asks and the one who hears are on different nodes, if there are several.
            let (from, to) = (cluster.address(0), cluster.address(nodes - 1));
            let measured = measure(from, to);
            row(&format!("mqttd, {nodes} node{}, {delivery:?}", if nodes > 1 { "s" } else { "" }), &measured.0, Some(measured.1));
            println!("|  ↳ median against bare Redis | {:.2}x | | | |", median(&measured.0) / median(&bare));
        }
    }
    if let Some(python) = std::env::var_os("SEED_PYTHON") {
        for nodes in [1, 2] {
            let Some(redis) = Redis::start() else { return };
            let nodes: Vec<_> = (0..nodes).map(|_| Seed::start(&python, &redis)).collect();
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let worker = Worker::builder().redis_url(redis.url()).delivery(Delivery::Channel).concurrency(512);
            let worker = worker.route("ask", |r: Request| async move { r.payload });
            let worker = runtime.block_on(async { worker.build().expect("a worker").spawn() });
            assert!(runtime.block_on(worker.ready()), "the worker begins");
            let measured = measure(nodes[0].address, nodes[nodes.len() - 1].address);
            row(&format!("the seed (Python 0.5.3), {} node(s), Channel", nodes.len()), &measured.0, Some(measured.1));
        }
    }
}

fn row(name: &str, times: &[f64], rate: Option<(f64, u32)>) {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get(((times.len() as f64 - 1.0) * part) as usize).copied().unwrap_or(f64::NAN);
    let rate = rate.map_or(" | ".to_owned(), |(rate, lost)| format!("{rate:.0} | {lost}"));
    println!("| {name} | {:.0} | {:.0} | {rate} |", at(0.5), at(0.99));
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Round trips in µs, then a rate and what was lost of it.
fn measure(from: SocketAddr, to: SocketAddr) -> (Vec<f64>, (f64, u32)) {
    let mut requester = Requester::connect(from, to);
    let mut times = Vec::new();
    for number in 0..ROUND_TRIPS {
        let started = Instant::now();
        requester.ask(number);
        if requester.hear().is_some() {
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    let (started, mut sent, mut heard, mut lost) = (Instant::now(), 0, 0, 0);
    while heard + lost < REQUESTS {
        while sent < REQUESTS && sent < heard + lost + WINDOW {
            requester.ask(sent);
            sent += 1;
        }
        match requester.hear() {
            Some(_) => heard += 1,
            None => lost += sent - heard - lost,
        }
        if started.elapsed() > Duration::from_secs(60) {
            lost = sent - heard;
            break;
        }
    }
    (times, (f64::from(heard) / started.elapsed().as_secs_f64(), lost))
}

/// MQTT 5.0 at QoS 0, as little of it as is needed.
struct Requester {
    asks: TcpStream,
    hears: TcpStream,
    input: Vec<u8>,
}

impl Requester {
    fn connect(from: SocketAddr, to: SocketAddr) -> Requester {
        let asks = connect(from, b"asks");
        let mut hears = connect(to, b"hears");
        // With a Subscription Identifier, without which the seed forgets the rest.
        hears.write_all(b"\x82\x0f\0\x01\x02\x0b\x01\0\x07replies\0").expect("SUBSCRIBE");
        let suback = packet(&mut hears, &mut Vec::new()).expect("SUBACK");
        assert_eq!(suback[0], 0x90);
        std::thread::sleep(Duration::from_millis(300)); // the seed has no acknowledgement of its other nodes
        Requester { asks, hears, input: Vec::new() }
    }

    fn ask(&mut self, number: u32) {
        let mut body = b"\0\x03ask\x11\x08\0\x07replies\x09\0\x04".to_vec();
        body.extend(number.to_be_bytes());
        body.extend(number.to_be_bytes());
        let mut publish = vec![0x30, body.len() as u8];
        publish.extend(body);
        self.asks.write_all(&publish).expect("PUBLISH");
    }

    fn hear(&mut self) -> Option<()> {
        loop {
            if packet(&mut self.hears, &mut self.input)?[0] >> 4 == 3 {
                return Some(());
            }
        }
    }
}

fn connect(address: SocketAddr, id: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a broker");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut connect = vec![0x10, 13 + id.len() as u8];
    connect.extend(b"\0\x04MQTT\x05\x02\0\0\0\0");
    connect.push(id.len() as u8);
    connect.extend(id);
    stream.write_all(&connect).expect("CONNECT");
    let connack = packet(&mut stream, &mut Vec::new()).expect("CONNACK");
    assert_eq!((connack[0], connack[3]), (0x20, 0));
    stream
}

/// The next whole packet; nothing: none in time.
fn packet(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if input.len() >= 2 {
            let (mut length, mut at) = (0usize, 1);
            while at < input.len() && at < 5 {
                length |= usize::from(input[at] & 0x7f) << (7 * (at - 1));
                at += 1;
                if input[at - 1] & 0x80 == 0 {
                    break;
                }
            }
            if input[at - 1] & 0x80 == 0 && input.len() >= at + length {
                return Some(input.drain(..at + length).collect());
            }
        }
        let mut chunk = [0; 65_536];
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => input.extend_from_slice(&chunk[..count]),
        }
    }
}

/// The same commands on the same keys as a request by the stream lane, with nothing around them: a batch that wakes a reader, its answer that
/// wakes another, and the claim.
fn bare(redis: &Redis) -> Vec<f64> {
    let open = || redis::Client::open(redis.url()).expect("its address").get_connection().expect("Redis");
    let (mut node, mut reader, mut worker) = (open(), open(), open());
    let json = "x".repeat(300);
    let run = |command: &mut redis::Cmd, on: &mut redis::Connection| command.exec(on).expect("done");
    for stream in ["q", "a"] {
        run(redis::cmd("XGROUP").arg("CREATE").arg(stream).arg("g").arg("0").arg("MKSTREAM"), &mut node);
    }
    let read = |stream: &str| {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg("g").arg("c").arg("COUNT").arg(1).arg("BLOCK").arg(2000).arg("STREAMS").arg(stream).arg(">");
        read
    };
    let answered = json.clone();
    let answering = std::thread::spawn(move || {
        for _ in 0..ROUND_TRIPS {
            let _: redis::Value = read("q").query(&mut worker).expect("an entry");
            let mut answer = redis::pipe();
            answer
                .cmd("XADD")
                .arg("a")
                .arg("*")
                .arg("json")
                .arg(&answered)
                .cmd("XACK")
                .arg("q")
                .arg("g")
                .arg("0-1")
                .cmd("XDEL")
                .arg("q")
                .arg("0-1");
            answer.exec(&mut worker).expect("answered");
        }
    });
    let times = (0..ROUND_TRIPS).map(|number| {
        let started = Instant::now();
        let mut request = redis::pipe();
        request.cmd("SET").arg(number).arg(&json).arg("PX").arg(60_000).cmd("ZADD").arg("due").arg(number).arg(number);
        request.cmd("XADD").arg("q").arg("MAXLEN").arg("~").arg(1000).arg("*").arg("json").arg(&json);
        request.cmd("ZCOUNT").arg("workers").arg(0).arg("+inf").cmd("PUBLISH").arg("ch").arg(&json);
        request.exec(&mut node).expect("asked");
        let _: redis::Value = read("a").query(&mut reader).expect("an answer");
        let mut claim = redis::pipe();
        claim
            .cmd("GETRANGE")
            .arg(number)
            .arg(0)
            .arg(-1)
            .cmd("SETRANGE")
            .arg(number)
            .arg(0)
            .arg("1")
            .cmd("ZADD")
            .arg("due")
            .arg("XX")
            .arg(1)
            .arg(number);
        claim.exec(&mut node).expect("claimed");
        started.elapsed().as_secs_f64() * 1e6
    });
    let times = times.collect();
    answering.join().expect("all were answered");
    times
}

/// The Python package that this broker comes after.
struct Seed {
    process: Child,
    address: SocketAddr,
}

impl Seed {
    fn start(python: &std::ffi::OsStr, redis: &Redis) -> Seed {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let program = format!(
            "import logging; logging.disable(logging.CRITICAL)\nfrom mqttd import MQTTApp\nMQTTApp(host='127.0.0.1', port={}, redis_url='{}').run()",
            address.port(),
            redis.url()
        );
        let mut command = Command::new(python);
        let process = command.arg("-c").arg(program).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Python runs");
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the seed does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Seed { process, address }
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
