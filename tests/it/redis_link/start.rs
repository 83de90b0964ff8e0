//! What a node finds before it begins.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use mqttd::store::redis::link::start::{StartError, Warning};
use mqttd_tests::deployment::{Deployment, Kind};
use mqttd_tests::redis::Redis;
use redis::cmd;

use super::{linked, open};

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
    assert_eq!(link.warnings(), [Warning::NotAppendOnly, Warning::PubSubBuffer(32 << 20)]);
    let found = link.call(cmd("CONFIG").arg("GET").arg("stream-node-max-bytes").take()).await.unwrap();
    assert_eq!(redis::from_redis_value::<Vec<String>>(found).unwrap()[1], "512");

    let Some(redis) = Redis::with(&["--appendonly", "yes", "--rename-command", "CONFIG", ""]) else { return };
    let link = linked(&redis).await;
    assert!(matches!(link.warnings(), [Warning::StreamNodes(_)]), "{:?}", link.warnings());
}

#[tokio::test]
async fn what_a_failover_would_forget_is_said() {
    let Some(redis) = Deployment::start(Kind::Sentinel) else { return };
    let link = open(&redis.url()).await.unwrap();
    assert!(link.warnings().contains(&Warning::NoMinReplicas), "{:?}", link.warnings());
    let said = Warning::NoMinReplicas.to_string();
    assert!(said.contains("set min-replicas-to-write 1"), "{said}");
    redis.servers[0].query::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(!open(&redis.url()).await.unwrap().warnings().contains(&Warning::NoMinReplicas));
    redis.servers[0].query::<()>(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64mb 64mb 60"]);
    assert_eq!(open(&redis.url()).await.unwrap().warnings(), [Warning::NotAppendOnly]);
}

#[tokio::test]
async fn a_replica_is_not_ready() {
    let Some(primary) = Redis::start() else { return };
    let Some(redis) = Redis::with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]) else { return };
    assert!(matches!(open(&redis.url()).await, Err(StartError::NotReady(_))));
}

#[tokio::test]
async fn an_old_redis_and_none_at_all_are_told_apart() {
    let error = open(&imposter("6.2.14")).await.unwrap_err();
    assert_eq!(error, StartError::Version("6.2.14".to_owned()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(matches!(open(&format!("redis://{nobody}")).await, Err(StartError::Unreachable(_))));
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
