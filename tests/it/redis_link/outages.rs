//! Redis is killed, paused, demoted or replaced.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::Address;
use mqttd::store::redis::link::error::LinkError;
use mqttd::store::redis::link::health::State;
use mqttd::store::redis::link::settings::Settings;
use mqttd::store::redis::link::start::StartError;
use mqttd_tests::redis::Redis;
use redis::{Cmd, Value, cmd};
use tokio::time::timeout;

use super::{PATIENCE, begin, linked, list, open, push};

/// Within twice the deadline, said generously for a machine with much else to do.
const BOUND: Duration = Duration::from_secs(5);

async fn until(link: &Link, what: impl FnMut(&State) -> bool) -> State {
    *timeout(PATIENCE, link.watch().wait_for(what)).await.expect("the state comes in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_redis_is_an_error_in_time_and_work_goes_on_with_the_next() {
    let Some(mut redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let before = link.state();
    assert!(before.is_healthy());
    let writers: Vec<_> = (0..32)
        .map(|shard| {
            let link = link.clone();
            tokio::spawn(async move {
                loop {
                    let began = Instant::now();
                    let written = link.write(shard, vec![push("list", 1)]).await;
                    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
                    if let Err(error) = written {
                        return error;
                    }
                }
            })
        })
        .collect();
    link.write(0, vec![push("list", 1)]).await.unwrap();
    redis.kill();
    for writer in writers {
        assert!(matches!(timeout(PATIENCE, writer).await.unwrap().unwrap(), LinkError::Unknown | LinkError::Unavailable));
    }
    assert!(!link.state().is_healthy());
    assert_eq!(link.write(0, vec![push("list", 1)]).await, Err(LinkError::Unavailable));
    assert_eq!(link.call(cmd("PING")).await, Err(LinkError::Unavailable));
    redis.revive();
    let after = until(&link, State::is_healthy).await;
    assert!(after.generation > before.generation);
    assert_eq!(link.write(0, vec![push("list", 1)]).await.unwrap(), [Ok(Value::Int(1))]);
    assert_eq!(link.call(cmd("PING")).await, Ok(Value::SimpleString("PONG".to_owned())));
}

#[tokio::test]
async fn the_end_of_a_redis_is_seen_without_a_call() {
    let Some(mut redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    redis.kill();
    until(&link, |state| !state.is_healthy()).await;
    redis.revive();
    until(&link, State::is_healthy).await;
}

#[tokio::test]
async fn who_comes_in_a_short_outage_is_served_after_it() {
    let Some(mut redis) = Redis::start() else { return };
    let settings = Settings { deadline: PATIENCE, ..Settings::default() };
    let link = Link::open(Address::parse(&redis.url()).unwrap(), settings).await.unwrap();
    redis.kill();
    until(&link, |state| !state.is_healthy()).await;
    let write = begin(link.write(0, vec![push("list", 0)])).await;
    let call = begin(link.call(cmd("ECHO").arg("x").take())).await;
    redis.revive();
    assert_eq!(write.await.unwrap(), [Ok(Value::Int(1))]);
    assert_eq!(call.await, Ok(Value::BulkString(b"x".to_vec())));
}

#[tokio::test]
async fn what_waited_behind_lost_writes_is_not_sent() {
    let Some(mut redis) = Redis::start() else { return };
    let settings = Settings { deadline: PATIENCE, ..Settings::default() };
    let link = Link::open(Address::parse(&redis.url()).unwrap(), settings).await.unwrap();
    redis.pause();
    let mut writes = Vec::new();
    for number in 0..3 {
        writes.push(begin(link.write(0, vec![push("list", number)])).await);
        tokio::task::yield_now().await; // the lane sends it, if it may
    }
    redis.kill();
    redis.revive();
    let mut ends = Vec::new();
    for write in writes {
        ends.push(write.await.unwrap_err());
    }
    assert_eq!(ends, [LinkError::Unknown, LinkError::Unknown, LinkError::Unavailable]);
    link.write(0, vec![push("list", 3)]).await.unwrap();
    assert_eq!(list(&link, "list").await, ["3"]);
}

#[tokio::test]
async fn a_paused_redis_is_an_error_in_time() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let before = link.state();
    redis.pause();
    let began = Instant::now();
    let mut writes = Vec::new();
    for number in 0..4 {
        writes.push(begin(link.write(0, vec![push("list", number)])).await);
        tokio::task::yield_now().await; // the lane sends it, if it may
    }
    assert_eq!(link.call(cmd("PING")).await, Err(LinkError::Unknown));
    let mut ends = Vec::new();
    for write in writes {
        ends.push(write.await.unwrap_err());
    }
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    // Two batches were sent. What waited behind them was not, and is not sent later either: it would overtake whoever sends again.
    assert_eq!(ends, [LinkError::Unknown, LinkError::Unknown, LinkError::Unavailable, LinkError::Unavailable]);
    until(&link, |state| !state.is_healthy()).await;
    assert_eq!(link.write(0, vec![push("list", 4)]).await, Err(LinkError::Unavailable));

    redis.resume();
    let after = until(&link, State::is_healthy).await;
    assert_eq!(after.generation, before.generation, "it is the same Redis");
    link.write(0, vec![push("list", 5)]).await.unwrap();
    let list = list(&link, "list").await;
    assert!([&["0", "1", "5"][..], &["0", "5"], &["5"]].contains(&&*list.iter().map(String::as_str).collect::<Vec<_>>()), "{list:?}");
}

#[tokio::test]
async fn a_pause_is_seen_without_a_call() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    redis.pause();
    until(&link, |state| !state.is_healthy()).await;
    redis.resume();
    until(&link, State::is_healthy).await;
}

/// A primary becomes a replica: its refusals end the connections, and they come back when it is a primary again.
#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() {
    let Some(other) = Redis::start() else { return };
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    link.call(cmd("REPLICAOF").arg("127.0.0.1").arg(other.port()).take()).await.unwrap();
    let written = link.write(0, vec![push("list", 0)]).await.unwrap();
    let refused = LinkError::from(written.into_iter().next().unwrap().unwrap_err());
    assert!(matches!(refused, LinkError::Refused(_)), "{refused:?}");
    until(&link, |state| !state.is_healthy()).await;
    // Another client makes it a primary again.
    promote(&redis);
    until(&link, State::is_healthy).await;
    assert_eq!(link.write(0, vec![push("list", 1)]).await.unwrap(), [Ok(Value::Int(1))]);
}

fn promote(redis: &Redis) {
    let mut client = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    client.write_all(b"REPLICAOF NO ONE\r\n").unwrap();
    let mut reply = [0; 5];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+OK\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sentinel_tells_where_the_primary_is_now() {
    let Some(mut primary) = Redis::with(&["--repl-diskless-sync-delay", "0"]) else { return };
    let Some(replica) = Redis::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]) else { return };
    let mut direct = linked(&primary).await.blocking("list").await.unwrap();
    let copies = cmd("WAIT").arg(1).arg(PATIENCE.as_millis() as u64).take();
    assert_eq!(direct.query(&copies, PATIENCE).await, Ok(Value::Int(1)));
    let Some(sentinel) = Redis::sentinel(&primary) else { return };

    // Of two Sentinels, one is gone.
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}", sentinel.port());
    assert!(matches!(open(&format!("{url}/other")).await, Err(StartError::NotReady(why)) if why.contains("other")));
    let link = open(&format!("{url}/main")).await.unwrap();
    let before = link.state();
    assert_eq!(link.call(port()).await, Ok(port_is(&primary)));
    // WAIT speaks only of what its own connection has written.
    assert_eq!(direct.query(&push("list", 0), PATIENCE).await, Ok(Value::Int(1)));
    assert_eq!(direct.query(&copies, PATIENCE).await, Ok(Value::Int(1)));

    primary.kill();
    until(&link, |state| !state.is_healthy()).await;
    let after = until(&link, State::is_healthy).await;
    assert!(after.generation > before.generation);
    assert_eq!(link.call(port()).await, Ok(port_is(&replica)));
    assert_eq!(link.write(0, vec![push("list", 1)]).await.unwrap(), [Ok(Value::Int(2))]);
    assert!(link.subscriber().await.unwrap().subscribe("bell").await.is_ok());
}

fn port() -> Cmd {
    cmd("CONFIG").arg("GET").arg("port").take()
}

fn port_is(redis: &Redis) -> Value {
    Value::Array(vec![Value::BulkString(b"port".to_vec()), Value::BulkString(redis.port().to_string().into_bytes())])
}
