//! What a confirmed write has outlived.

use std::time::Duration;

use mqttd::store::redis::link::Link;
use mqttd::store::redis::link::address::Access;
use mqttd::store::redis::link::error::LinkError;
use mqttd::store::redis::link::settings::{Durability, Settings};
use mqttd::store::redis::link::start::StartError;
use mqttd_tests::redis::Redis;
use redis::Value;

use super::{PATIENCE, open_with, push};

async fn with(redis: &Redis, durability: Durability) -> Result<Link, StartError> {
    open_with(&redis.url(), Access::default(), Settings { durability, ..Settings::default() }).await
}

#[tokio::test]
async fn what_too_few_replicas_have_is_not_confirmed() {
    let Some(primary) = Redis::with(&["--repl-diskless-sync-delay", "0"]) else { return };
    let Some(replica) = Redis::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]) else { return };
    let patient = with(&primary, Durability::Replicated { replicas: 1, within: PATIENCE }).await.unwrap();
    let mut direct = patient.blocking("list").await.unwrap();
    // A replica that has just come is sent nothing before its first word, up to a second later: only a write of this connection tells.
    direct.query(redis::cmd("SET").arg("first").arg(1), PATIENCE).await.unwrap();
    assert_eq!(direct.query(redis::cmd("WAIT").arg(1).arg(PATIENCE.as_millis() as u64), PATIENCE).await, Ok(Value::Int(1)));
    assert_eq!(patient.write(0, vec![push("list", 0)]).await, Ok(vec![Ok(Value::Int(1))]));

    let within = Duration::from_millis(100);
    let link = with(&primary, Durability::Replicated { replicas: 1, within }).await.unwrap();
    replica.pause();
    assert_eq!(link.write(0, vec![push("list", 1)]).await, Err(LinkError::NotReplicated));
    let function = redis::cmd("FCALL").arg("none").arg(0).take();
    assert_eq!(link.call(function).await, Err(LinkError::NotReplicated), "functions too");
    assert!(link.state().is_healthy(), "the primary is well");
    replica.resume();
    while link.write(0, vec![push("list", 2)]).await.is_err() {}

    let two = with(&primary, Durability::Replicated { replicas: 2, within }).await.unwrap();
    assert_eq!(two.write(0, vec![push("list", 3)]).await, Err(LinkError::NotReplicated));
}

#[tokio::test]
async fn without_appendfsync_always_fsync_does_not_begin() {
    let Some(redis) = Redis::with(&["--appendonly", "yes"]) else { return };
    let error = with(&redis, Durability::Fsync).await.unwrap_err();
    assert!(error.to_string().contains("appendfsync is everysec: set appendfsync always"), "{error}");
    redis.query::<()>(&["CONFIG", "SET", "appendfsync", "always"]);
    let link = with(&redis, Durability::Fsync).await.unwrap();
    assert_eq!(link.write(0, vec![push("list", 0)]).await, Ok(vec![Ok(Value::Int(1))]));
    let Some(redis) = Redis::start() else { return };
    let error = with(&redis, Durability::Fsync).await.unwrap_err();
    assert!(error.to_string().contains("set appendonly yes"), "{error}");
}
