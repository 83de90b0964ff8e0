//! The link to Redis, against a real one that is killed, paused, full, too old or locked.

use std::future::{Future, poll_fn};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::Address;
use mqttd::store::redis::link::error::LinkError;
use mqttd::store::redis::link::health::State;
use mqttd::store::redis::link::settings::Settings;
use mqttd::store::redis::link::start::{StartError, Warning};
use mqttd_tests::redis::Redis;
use redis::{Cmd, Value, cmd};
use tokio::time::timeout;

/// Of the links of these tests; answers come within twice this time.
const DEADLINE: Duration = Duration::from_millis(400);

/// What must happen has happened by then, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Within twice the deadline, said generously for a machine with much else to do.
const BOUND: Duration = Duration::from_secs(5);

fn settings() -> Settings {
    Settings { deadline: DEADLINE, ..Settings::default() }
}

async fn open(url: &str) -> Result<Link, StartError> {
    Link::open(Address::parse(url)?, settings()).await
}

async fn linked(redis: &Redis) -> Link {
    open(&redis.url()).await.unwrap()
}

async fn until(link: &Link, what: impl FnMut(&State) -> bool) -> State {
    *timeout(PATIENCE, link.watch().wait_for(what)).await.expect("the state comes in time").unwrap()
}

fn push(key: &str, value: impl redis::ToRedisArgs) -> Cmd {
    cmd("RPUSH").arg(key).arg(value).take()
}

async fn list(link: &Link, key: &str) -> Vec<String> {
    let reply = link.call(cmd("LRANGE").arg(key).arg(0).arg(-1).take()).await.unwrap();
    redis::from_redis_value(reply).unwrap()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Takes a future to the point where it first waits.
async fn begin<F: Future>(future: F) -> Pin<Box<tokio::task::Unconstrained<F>>> {
    let mut future = Box::pin(tokio::task::unconstrained(future));
    poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending(), "it waits for Redis");
        Poll::Ready(())
    })
    .await;
    future
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_of_a_shard_keep_their_order() {
    const CALLERS: u16 = 64;
    const CALLS: usize = 100;
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let mut callers = Vec::new();
    for shard in 0..CALLERS {
        let link = link.clone();
        callers.push(tokio::spawn(async move {
            let key = format!("list{shard}");
            // Ten calls are on their way before the first is waited for.
            for ten in 0..CALLS / 10 {
                let mut begun = Vec::new();
                for call in ten * 10..ten * 10 + 10 {
                    begun.push(begin(link.write(shard, vec![push(&key, call * 2), push(&key, call * 2 + 1)])).await);
                }
                for (call, write) in begun.into_iter().enumerate() {
                    let length = (ten * 20 + call * 2) as i64;
                    assert_eq!(write.await.unwrap(), [Ok(Value::Int(length + 1)), Ok(Value::Int(length + 2))]);
                }
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    for shard in 0..CALLERS {
        assert_eq!(list(&link, &format!("list{shard}")).await, numbers(CALLS * 2));
    }
}

#[tokio::test]
async fn each_command_has_its_own_reply() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let set = |value| cmd("SET").arg("word").arg(value).take();
    let replies = link.write(7, vec![set("a"), cmd("INCR").arg("word").take(), set("b"), cmd("GET").arg("word").take()]).await.unwrap();
    assert_eq!((&replies[0], &replies[2], &replies[3]), (&Ok(Value::Okay), &Ok(Value::Okay), &Ok(Value::BulkString(b"b".to_vec()))));
    assert!(replies[1].as_ref().unwrap_err().to_string().contains("not an integer"));
    assert_eq!(link.write(7, Vec::new()).await.unwrap(), []);
    assert!(matches!(link.call(cmd("INCR").arg("word").take()).await, Err(LinkError::Script(text)) if text.contains("not an integer")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn big_batches_and_big_commands_pass() {
    let Some(redis) = Redis::start() else { return };
    let address = Address::parse(&redis.url()).unwrap();
    let link = Link::open(address, Settings { deadline: PATIENCE, ..Settings::default() }).await.unwrap();
    let many = (0..20_000).map(|number| push("many", number)).collect();
    let large = vec![cmd("SET").arg("large").arg(vec![b'x'; 8 << 20]).take()];
    let mut callers = vec![(1, many), (2, large)];
    callers.extend((0..64).map(|shard| (shard, vec![push("some", vec![b'y'; 16 << 10]); 20])));
    let callers: Vec<_> = callers
        .into_iter()
        .map(|(shard, commands)| {
            let link = link.clone();
            tokio::spawn(async move { link.write(shard, commands).await.unwrap().into_iter().all(|reply| reply.is_ok()) })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    assert_eq!(list(&link, "many").await, numbers(20_000));
    assert_eq!(link.call(cmd("STRLEN").arg("large").take()).await, Ok(Value::Int(8 << 20)));
    assert_eq!(link.call(cmd("LLEN").arg("some").take()).await, Ok(Value::Int(64 * 20)));
}

#[tokio::test]
async fn what_a_caller_has_written_is_done_when_it_goes_away() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    for number in 0..100 {
        drop(begin(link.write(0, vec![push("list", number)])).await);
    }
    link.write(0, vec![push("list", 100)]).await.unwrap();
    assert_eq!(list(&link, "list").await, numbers(101));
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
    // Who waits for a short outage to end is served.
    let link_of_caller = link.clone();
    let address = Address::parse(&redis.url()).unwrap();
    let patient = Link::open(address.clone(), Settings { deadline: PATIENCE, ..settings() }).await;
    assert!(matches!(patient, Err(StartError::Unreachable(_))));
    redis.revive();
    until(&link_of_caller, State::is_healthy).await;
    let patient = Link::open(address, Settings { deadline: PATIENCE, ..settings() }).await.unwrap();
    redis.kill();
    until(&patient, |state| !state.is_healthy()).await;
    let waiting = begin(patient.write(0, vec![push("list", 0)])).await;
    redis.revive();
    assert_eq!(waiting.await.unwrap(), [Ok(Value::Int(1))]);
}

#[tokio::test]
async fn a_paused_redis_is_an_error_in_time() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let before = link.state();
    redis.pause();
    let (began, call) = (Instant::now(), begin(link.call(cmd("PING"))).await);
    assert_eq!(link.write(0, vec![push("list", 0)]).await, Err(LinkError::Unknown));
    assert_eq!(call.await, Err(LinkError::Unknown));
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    until(&link, |state| !state.is_healthy()).await;
    assert_eq!(link.write(0, vec![push("list", 1)]).await, Err(LinkError::Unavailable));
    redis.resume();
    let after = until(&link, State::is_healthy).await;
    assert_eq!(after.generation, before.generation, "it is the same Redis");
    link.write(0, vec![push("list", 2)]).await.unwrap();
    // What was unknown may have been done, but not twice; what was refused was not.
    assert!([vec!["0", "2"], vec!["2"]].contains(&list(&link, "list").await.iter().map(String::as_str).collect()));
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

#[tokio::test]
async fn a_password_must_be_right() {
    let Some(redis) = Redis::with(&["--requirepass", "se/cret"]) else { return };
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", redis.port());
    for wrong in ["", ":secret@", "nobody:se%2Fcret@"] {
        let error = open(&url(wrong)).await.unwrap_err();
        assert!(matches!(&error, StartError::Denied(_)), "{wrong}: {error}");
        assert!(!error.to_string().contains("se/cret"), "{error}");
    }
    for right in [":se%2Fcret@", "default:se%2Fcret@"] {
        assert!(open(&url(right)).await.unwrap().call(cmd("PING")).await.is_ok());
    }
}

#[tokio::test]
async fn a_redis_that_would_lose_data_is_refused() {
    let Some(redis) = Redis::with(&["--maxmemory-policy", "allkeys-lru"]) else { return };
    assert_eq!(open(&redis.url()).await.unwrap_err(), StartError::Eviction("allkeys-lru".to_owned()));
}

#[tokio::test]
async fn streams_are_made_small_and_what_is_not_well_is_said() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    assert_eq!(link.warnings(), [Warning::NotAppendOnly]);
    let found = link.call(cmd("CONFIG").arg("GET").arg("stream-node-max-bytes").take()).await.unwrap();
    assert_eq!(redis::from_redis_value::<Vec<String>>(found).unwrap()[1], "512");

    let Some(redis) = Redis::with(&["--appendonly", "yes", "--rename-command", "CONFIG", ""]) else { return };
    let link = linked(&redis).await;
    assert!(matches!(link.warnings(), [Warning::StreamNodes(_)]), "{:?}", link.warnings());
}

#[tokio::test]
async fn a_replica_is_not_ready() {
    let Some(primary) = Redis::start() else { return };
    let Some(redis) = Redis::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]) else { return };
    assert!(matches!(open(&redis.url()).await, Err(StartError::NotReady(_))));
}

/// A primary becomes a replica: its refusals end the connections, and they come back when it is a primary again.
#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() {
    let Some(other) = Redis::start() else { return };
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    link.call(cmd("REPLICAOF").arg("127.0.0.1").arg(other.port()).take()).await.unwrap();
    let written = link.write(0, vec![push("list", 0)]).await.unwrap();
    assert_eq!(LinkError::from(written.into_iter().next().unwrap().unwrap_err()), LinkError::Unavailable);
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

#[tokio::test]
async fn a_full_redis_says_so() {
    let Some(redis) = Redis::with(&["--maxmemory", "1mb"]) else { return };
    let link = linked(&redis).await;
    let fill = || cmd("APPEND").arg("key").arg(vec![b'x'; 1 << 20]).take();
    let filled = async {
        loop {
            if let Err(error) = link.call(fill()).await {
                return error;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, filled).await.unwrap(), LinkError::Full);
    let refused = link.write(0, vec![fill()]).await.unwrap().remove(0).unwrap_err();
    assert_eq!(LinkError::from(refused), LinkError::Full);
    assert!(link.state().is_healthy());
}

#[tokio::test]
async fn a_command_may_block_longer_than_the_deadline() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let mut blocking = link.blocking().await.unwrap();
    let pop = |seconds: f32| cmd("BLPOP").arg("list").arg(seconds).take();
    let began = Instant::now();
    assert_eq!(blocking.query(&pop(1.0), Duration::from_secs(1)).await, Ok(Value::Nil));
    assert!(began.elapsed() > DEADLINE);
    let pop = pop(0.0);
    let popped = begin(blocking.query(&pop, PATIENCE)).await;
    link.write(0, vec![push("list", "x")]).await.unwrap();
    assert_eq!(redis::from_redis_value::<Vec<String>>(popped.await.unwrap()).unwrap(), ["list", "x"]);
}

#[tokio::test]
async fn a_subscriber_hears_what_is_published_until_redis_ends() {
    let Some(mut redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let mut subscriber = link.subscriber().await.unwrap();
    subscriber.subscribe(&["bell", "drum"]).await.unwrap();
    for channel in ["bell", "drum"] {
        link.call(cmd("PUBLISH").arg(channel).arg("dong").take()).await.unwrap();
        let message = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap();
        assert_eq!((message.get_channel_name(), message.get_payload_bytes()), (channel, &b"dong"[..]));
    }
    assert_eq!(subscriber.dropped(), 0);
    redis.kill();
    assert!(timeout(PATIENCE, subscriber.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn an_old_redis_and_none_at_all_are_told_apart() {
    let error = open(&imposter("6.2.14")).await.unwrap_err();
    assert_eq!(error, StartError::Version("6.2.14".to_owned()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(open(&format!("redis://{nobody}")).await, Err(StartError::Unreachable(_))));
    for url in ["rediss://localhost", "redis+sentinel://localhost/main", "redis+cluster://localhost"] {
        assert!(matches!(open(url).await, Err(StartError::NotBuilt(_))), "{url}");
    }
}

/// Says that it is a Redis of this version to one client, and PONG to everything but INFO.
fn imposter(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok);
        while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*').and_then(|count| count.parse::<usize>().ok())) {
            let words: Vec<_> = (0..count).map_while(|_| lines.next().and(lines.next())).collect();
            let info = format!("redis_version:{version}\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n");
            let reply = if words[0] == "INFO" { format!("${}\r\n{info}\r\n", info.len()) } else { "+PONG\r\n".to_owned() };
            client.write_all(reply.as_bytes()).unwrap();
        }
    });
    url
}
