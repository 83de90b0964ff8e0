//! A client that asks at one node and hears at another, in as little of MQTT 5.0 at QoS 0 as is needed, and what it costs to answer it.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mqttd_tests::redis::Redis;

/// A single answer that is not there by then is lost, unless it comes before the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// When nothing has come for so long, nothing will.
const SILENCE: Duration = Duration::from_secs(3);

/// How long many requests may take.
const RUN_MAX: Duration = Duration::from_secs(120);

/// How much is asked.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) round_trips: u32,
    pub(crate) requests: u32,
    /// Requests that wait for their answer at a time.
    pub(crate) window: usize,
}

pub(crate) struct Measured {
    /// Of round trips, in µs.
    pub(crate) times: Vec<f64>,
    /// Answers in a second.
    pub(crate) rate: f64,
    pub(crate) lost: u32,
    /// Answers beyond the first to a request.
    pub(crate) repeated: u32,
    /// For each request of the rate.
    pub(crate) commands: f64,
    pub(crate) nodes_us: f64,
    pub(crate) redis_us: f64,
}

pub(crate) fn measure(redis: &Redis, processes: &[u32], from: SocketAddr, to: SocketAddr, amount: Amount) -> Measured {
    let mut requester = Requester::connect(from, to);
    let (mut times, mut answered) = (Vec::new(), vec![0; (amount.round_trips + amount.requests) as usize]);
    for number in 0..amount.round_trips {
        let started = Instant::now();
        requester.ask(number);
        while let Some(heard) = requester.hear(PATIENCE) {
            answered[heard as usize] += 1;
            if heard == number {
                times.push(started.elapsed().as_secs_f64() * 1e6);
                break;
            }
        }
    }
    let before = Cost::now(redis, processes);
    let (started, mut last, mut heard_of, mut out) = (Instant::now(), Instant::now(), 0, VecDeque::new());
    let mut next = amount.round_trips;
    let all = amount.round_trips + amount.requests;
    let mut highest = 0;
    // Until all were asked and answered, or nothing comes any more.
    while heard_of < amount.requests && started.elapsed() < RUN_MAX {
        while next < all && out.len() < amount.window {
            requester.ask(next);
            out.push_back(next);
            next += 1;
        }
        match requester.hear(SILENCE) {
            Some(heard) => {
                heard_of += u32::from(heard >= amount.round_trips && answered[heard as usize] == 0);
                answered[heard as usize] += 1;
                highest = highest.max(heard);
                last = Instant::now();
            }
            None if next == all => break,
            None => out.clear(),
        }
        // What was answered makes room; so does what many later ones have overtaken, which is lost, or it would slow down the rest.
        let overtaken = highest.saturating_sub(amount.window as u32 / 2);
        while out.front().is_some_and(|number| answered[*number as usize] > 0 || *number < overtaken) {
            out.pop_front();
        }
    }
    let each = f64::from(amount.requests);
    let cost = Cost::now(redis, processes).since(&before);
    while let Some(late) = requester.hear(SILENCE) {
        answered[late as usize] += 1;
    }
    Measured {
        times,
        rate: f64::from(heard_of) / (last - started).as_secs_f64(),
        lost: answered[..next as usize].iter().filter(|answers| **answers == 0).count() as u32,
        repeated: answered.iter().map(|answers| u32::saturating_sub(*answers, 1)).sum(),
        commands: cost.commands / each,
        nodes_us: cost.nodes_us / each,
        redis_us: cost.redis_us / each,
    }
}

/// How long each of so many requests takes to be answered when nobody works, in µs.
pub(crate) fn nobody_works(from: SocketAddr, to: SocketAddr, count: u32) -> Vec<f64> {
    let mut requester = Requester::connect(from, to);
    let said = (0..count).map(|number| {
        let started = Instant::now();
        requester.ask(number);
        requester.message(10 * PATIENCE).expect("a word that there is no worker");
        started.elapsed().as_secs_f64() * 1e6
    });
    said.collect()
}

/// What was spent since the beginning.
struct Cost {
    commands: f64,
    redis_us: f64,
    nodes_us: f64,
}

impl Cost {
    fn now(redis: &Redis, processes: &[u32]) -> Cost {
        let said: String = redis.query(&["INFO", "everything"]);
        let of = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok()).unwrap_or(f64::NAN);
        Cost {
            commands: of("total_commands_processed:"),
            redis_us: (of("used_cpu_user:") + of("used_cpu_sys:")) * 1e6,
            nodes_us: processes.iter().map(cpu_us).sum(),
        }
    }

    fn since(&self, before: &Cost) -> Cost {
        Cost {
            commands: self.commands - before.commands,
            redis_us: self.redis_us - before.redis_us,
            nodes_us: self.nodes_us - before.nodes_us,
        }
    }
}

/// The CPU time of a process: fields 14 and 15, in hundredths of a second (proc(5)).
fn cpu_us(process: &u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let of = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (of(11) + of(12)) * 1e4
}

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

    /// The number is the payload, which comes back, and the Correlation Data.
    fn ask(&mut self, number: u32) {
        let mut body = b"\0\x03ask\x11\x08\0\x07replies\x09\0\x04".to_vec();
        body.extend(number.to_be_bytes());
        body.extend(number.to_be_bytes());
        let mut publish = vec![0x30, body.len() as u8];
        publish.extend(body);
        self.asks.write_all(&publish).expect("PUBLISH");
    }

    /// The number of the next answer.
    fn hear(&mut self, patience: Duration) -> Option<u32> {
        self.message(patience).map(|packet| u32::from_be_bytes(*packet.last_chunk().expect("a payload")))
    }

    /// The next PUBLISH.
    fn message(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.hears.set_read_timeout(Some(patience)).expect("a timeout");
        loop {
            let packet = packet(&mut self.hears, &mut self.input)?;
            if packet[0] >> 4 == 3 {
                return Some(packet);
            }
        }
    }
}

fn connect(address: SocketAddr, id: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a broker");
    stream.set_nodelay(true).expect("no delay");
    stream.set_read_timeout(Some(10 * PATIENCE)).expect("a timeout");
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
