//! The Redis round trips that a request contains, with nothing around them: a batch that wakes a reader, its answer that wakes another, the claim,
//! and between nodes the word that takes the answer to the one that has the requester. The same commands as ours, on the same kinds of keys, by
//! programs that wait for nothing else. What comes after the requester has its answer (its end, the acknowledgement) is left out. Times in µs.

use std::time::Instant;

use mqttd_tests::redis::Redis;

const ROUND_TRIPS: u32 = 2000;

/// What a request is in JSON, about.
fn json() -> String {
    "x".repeat(300)
}

fn open(redis: &Redis) -> redis::Connection {
    redis::Client::open(redis.url()).expect("its address").get_connection().expect("Redis")
}

/// What keeps a request, and what tells workers of it.
fn request(number: u32, json: &str) -> redis::Pipeline {
    let mut request = redis::pipe();
    request.cmd("SET").arg(number).arg(json).arg("PX").arg(60_000).cmd("ZADD").arg("due").arg(number).arg(number);
    request.cmd("XADD").arg("q").arg("MAXLEN").arg("~").arg(1000).arg("*").arg("json").arg(json);
    request.cmd("ZCOUNT").arg("workers").arg(0).arg("+inf").cmd("PUBLISH").arg("requests").arg(json);
    request
}

fn claim(number: u32) -> redis::Pipeline {
    let mut claim = redis::pipe();
    claim.cmd("GETRANGE").arg(number).arg(0).arg(-1).cmd("SETRANGE").arg(number).arg(0).arg("1");
    claim.cmd("ZADD").arg("due").arg("XX").arg(1).arg(number);
    claim
}

/// Takes the answer to another node, where there is one.
fn post(node: &mut redis::Connection, posts: &mut redis::PubSub<'_>) {
    redis::cmd("PUBLISH").arg("posts").arg(json()).exec(node).expect("posted");
    posts.get_message().expect("the post");
}

/// By the stream lane: the reader and the worker wait for entries.
pub(crate) fn stream(redis: &Redis, is_posted: bool) -> Vec<f64> {
    let (mut node, mut reader, mut worker) = (open(redis), open(redis), open(redis));
    let mut other = open(redis);
    let mut posts = other.as_pubsub();
    posts.subscribe("posts").expect("subscribed");
    for stream in ["q", "a"] {
        redis::cmd("XGROUP").arg("CREATE").arg(stream).arg("g").arg("0").arg("MKSTREAM").exec(&mut node).expect("a group");
    }
    let read = |stream: &str| {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg("g").arg("c").arg("COUNT").arg(1).arg("BLOCK").arg(2000).arg("STREAMS").arg(stream).arg(">");
        read
    };
    let answering = std::thread::spawn(move || {
        for _ in 0..ROUND_TRIPS {
            let _: redis::Value = read("q").query(&mut worker).expect("an entry");
            let mut answer = redis::pipe();
            answer.cmd("XADD").arg("a").arg("*").arg("json").arg(json());
            answer.cmd("XACK").arg("q").arg("g").arg("0-1").cmd("XDEL").arg("q").arg("0-1");
            answer.exec(&mut worker).expect("answered");
        }
    });
    let times = (0..ROUND_TRIPS).map(|number| {
        let started = Instant::now();
        request(number, &json()).exec(&mut node).expect("asked");
        let _: redis::Value = read("a").query(&mut reader).expect("an answer");
        claim(number).exec(&mut node).expect("claimed");
        if is_posted {
            post(&mut node, &mut posts);
        }
        started.elapsed().as_secs_f64() * 1e6
    });
    let times = times.collect();
    answering.join().expect("all were answered");
    times
}

/// By the channel lane: both are told, and the worker claims what it hears.
pub(crate) fn channel(redis: &Redis, is_posted: bool) -> Vec<f64> {
    let (mut node, mut reader, mut heard, mut worker, mut other) = (open(redis), open(redis), open(redis), open(redis), open(redis));
    let mut posts = other.as_pubsub();
    posts.subscribe("posts").expect("subscribed");
    let mut answers = reader.as_pubsub();
    answers.subscribe("responses").expect("subscribed");
    let (subscribed, ready) = std::sync::mpsc::channel();
    let answering = std::thread::spawn(move || {
        let mut requests = heard.as_pubsub();
        requests.subscribe("requests").expect("subscribed");
        subscribed.send(()).expect("somebody waits");
        for number in 0..ROUND_TRIPS {
            requests.get_message().expect("a request");
            redis::cmd("SET").arg(format!("claim:{number}")).arg("w").arg("NX").arg("PX").arg(60_000).exec(&mut worker).expect("claimed");
            redis::cmd("PUBLISH").arg("responses").arg(json()).exec(&mut worker).expect("answered");
        }
    });
    ready.recv().expect("it listens");
    let times = (0..ROUND_TRIPS).map(|number| {
        let started = Instant::now();
        request(number, &json()).exec(&mut node).expect("asked");
        answers.get_message().expect("an answer");
        claim(number).exec(&mut node).expect("claimed");
        if is_posted {
            post(&mut node, &mut posts);
        }
        started.elapsed().as_secs_f64() * 1e6
    });
    let times = times.collect();
    answering.join().expect("all were answered");
    times
}
