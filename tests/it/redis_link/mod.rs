//! The link to Redis, against a real one that is killed, paused, full, too old or locked.

mod access;
mod apart;
mod batches;
mod cluster;
mod durability;
mod outages;
mod start;

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::{Access, Address};
use mqttd::store::redis::link::settings::Settings;
use mqttd::store::redis::link::start::StartError;
use mqttd_tests::redis::Redis;
use redis::{Cmd, ToRedisArgs, cmd};

/// Of the links of these tests; answers come within twice this time.
const DEADLINE: Duration = Duration::from_millis(400);

/// What must happen has happened by then, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

async fn open(url: &str) -> Result<Link, StartError> {
    Link::open(Address::parse(url)?, Settings { deadline: DEADLINE, ..Settings::default() }).await
}

/// With what does not stand in the URL, and these settings.
async fn open_with(url: &str, access: Access, settings: Settings) -> Result<Link, StartError> {
    Link::open(Address::parse(url)?.with(access)?, Settings { deadline: DEADLINE, ..settings }).await
}

async fn linked(redis: &Redis) -> Link {
    open(&redis.url()).await.unwrap()
}

fn push(key: &str, value: impl ToRedisArgs) -> Cmd {
    cmd("RPUSH").arg(key).arg(value).take()
}

async fn list(link: &Link, key: &str) -> Vec<String> {
    let reply = link.call(cmd("LRANGE").arg(key).arg(0).arg(-1).take()).await.unwrap();
    redis::from_redis_value(reply).unwrap()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Takes a future to the point where it first waits, and gives back what is left of it.
async fn begin<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(tokio::task::unconstrained(future));
    let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    async move {
        match first {
            Poll::Ready(output) => output,
            Poll::Pending => future.await,
        }
    }
}
