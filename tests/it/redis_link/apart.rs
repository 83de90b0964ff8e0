//! Connections for what would hold up all others.

use std::time::{Duration, Instant};

use mqttd_tests::redis::Redis;
use redis::{Value, cmd};
use tokio::time::timeout;

use super::{DEADLINE, PATIENCE, begin, linked, push};

#[tokio::test]
async fn a_command_may_block_longer_than_the_deadline() {
    let Some(redis) = Redis::start() else { return };
    let link = linked(&redis).await;
    let mut blocking = link.blocking("list").await.unwrap();
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
