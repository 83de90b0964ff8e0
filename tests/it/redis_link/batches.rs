//! Group commit: order, replies, sizes.

use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::Address;
use mqttd::store::redis::link::error::LinkError;
use mqttd::store::redis::link::settings::Settings;
use mqttd_tests::redis::Redis;
use redis::{Value, cmd};
use tokio::time::timeout;

use super::{PATIENCE, begin, linked, list, numbers, push};

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

/// What comes while two batches are on their way goes together, so Redis reads from its sockets far less often than it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_share_batches() {
    const CALLS: usize = 5_000;
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let before = reads(&link).await;
    let mut begun = Vec::new();
    for call in 0..CALLS {
        begun.push(begin(link.write((call % 50) as u16, vec![push("list", 0)])).await);
    }
    for write in begun {
        write.await.unwrap();
    }
    let reads = reads(&link).await - before;
    assert!(reads < CALLS / 4, "{reads}");
}

async fn reads(link: &Link) -> usize {
    let reply = link.call(cmd("INFO").arg("stats").take()).await.unwrap();
    let text: String = redis::from_redis_value(reply).unwrap();
    text.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap().parse().unwrap()
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
