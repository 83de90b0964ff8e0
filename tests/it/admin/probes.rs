//! Is it alive, is it ready, how is it.

use std::process::Output;

use mqttd_tests::cluster::{self, Cluster, until};
use mqttd_tests::*;

fn program(arguments: &[&str]) -> Output {
    cluster::command().args(arguments).env("MQTTD_CONFIG", "/dev/null").output().expect("mqttd runs")
}

#[test]
fn a_node_says_that_it_lives_and_is_ready() {
    let broker = Broker::administered(|config| config.limits.connections_max = 7);
    let _client = broker.client(V5).connect();
    let admin = broker.admin();
    for path in ["/livez", "/healthz", "/readyz", "/ready"] {
        let answer = admin.get(path);
        assert_eq!((answer.code, &*answer.text), (200, "ok\n"), "{path}");
        let verbose = admin.get(&format!("{path}?verbose"));
        assert!(verbose.code == 200 && verbose.text.starts_with("[+] "), "{path}: {}", verbose.text);
    }
    assert_eq!(admin.get("/status").text, "Node node is started\nmqttd is running\n");
    let health = admin.get("/health").json(200);
    assert_eq!((&health["status"], &health["running"], &health["errors"]), (&"healthy".into(), &true.into(), &serde_json::json!([])));
    assert_eq!((&health["connections"], &health["max_connections"]), (&1.into(), &7.into()));
    assert_eq!(admin.get("/nothing-here").code, 404);
}

#[test]
fn the_command_line_asks_too() {
    let broker = Broker::administered(|_| {});
    let address = broker.admin().address().to_string();
    let good = program(&["healthcheck", "--url", &address, "-v"]);
    assert!(good.status.success() && String::from_utf8_lossy(&good.stdout).contains("[+] running ok"), "{good:?}");
    let live = program(&["healthcheck", "--url", &format!("http://{address}/livez")]);
    assert_eq!((live.status.code(), live.stdout.len()), (Some(0), 0), "{live:?}");
    drop(broker);
    let gone = program(&["healthcheck", "--url", &address]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("refused"), "{gone:?}");
    assert_eq!(program(&["healthcheck", "--url", "https://x"]).status.code(), Some(2));
}

/// Redis away: alive all the same, not ready, and honest about it; ready again by itself.
#[test]
fn a_node_without_its_redis_lives_and_is_not_ready() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let admin = cluster.node(0).admin();
    assert_eq!(admin.get("/readyz").text, "ok\n");
    assert_eq!(admin.get("/health").json(200)["redis_connected"], true);
    cluster.redis.kill();
    until("the node is not ready", || admin.get("/readyz").code == 503);
    assert!(admin.get("/readyz").text.contains("[-] store failed: "), "{}", admin.get("/readyz").text);
    assert_eq!((admin.get("/livez").code, admin.get("/status").code), (200, 503));
    let health = admin.get("/health").json(200);
    assert_eq!((&health["status"], &health["redis_connected"]), (&"degraded".into(), &false.into()));
    assert!(health["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{health}");
}

/// The usual address may be taken, by another node on this machine for example; one that was asked for may not.
#[test]
fn an_address_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let asked_for = taken.local_addr().expect("its address").to_string();
    let failed = program(&["--listen", "tcp://127.0.0.1:0", "--admin", &asked_for]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(String::from_utf8_lossy(&failed.stderr).contains(&asked_for), "{failed:?}");
}
