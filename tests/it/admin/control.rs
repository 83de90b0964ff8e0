//! The command line asks a node over its API.

use std::process::Output;

use mqttd_tests::cluster::{self, Cluster, until};
use mqttd_tests::*;
use serde_json::json;

fn program(broker: &Broker, arguments: &[&str]) -> Output {
    let url = format!("http://{}", broker.admin().address());
    cluster::command().args(arguments).args(["--url", &url]).env("MQTTD_CONFIG", "/dev/null").output().expect("mqttd runs")
}

#[track_caller]
fn says(broker: &Broker, arguments: &[&str]) -> String {
    let output = program(broker, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_command_line_shows_and_kicks_and_drains() {
    let broker = Broker::administered(|_| {});
    let mut client = broker.client(V5).id("a client").connect();
    let status = says(&broker, &["status"]);
    assert!(status.starts_with("NODE") && status.contains("ready") && status.lines().count() == 2, "{status}");
    let clients = says(&broker, &["clients", "a c"]);
    assert!(clients.contains("a client") && clients.contains("127.0.0.1:"), "{clients}");
    assert_eq!(says(&broker, &["clients", "nobody"]).lines().count(), 1);
    assert!(says(&broker, &["status", "--json"]).contains("\"node_status\": \"running\""));
    says(&broker, &["kick", "a client"]);
    client.expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    drop(client);
    let again = program(&broker, &["kick", "nobody"]);
    assert_eq!(
        (again.status.code(), String::from_utf8_lossy(&again.stderr).contains("no client \"nobody\"")),
        (Some(1), true),
        "{again:?}"
    );
    let mut client = broker.client(V5).connect();
    let waits = std::thread::scope(|scope| {
        let drains = scope.spawn(|| says(&broker, &["drain"]));
        client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
        drop(client);
        drains.join().is_ok()
    });
    assert!(waits && broker.admin().get("/readyz").code == 503);
    says(&broker, &["drain", "--off"]);
    assert_eq!(broker.admin().get("/readyz").code, 200);
}

/// By way of another node: it comes back well when the node that it empties ends meanwhile, and when whoever it asks does.
#[test]
fn a_drain_of_a_node_that_ends_is_a_good_one() {
    let Some(mut cluster) = Cluster::with(2, &[("MQTTD_DRAIN__GRACE_S", "3600")]) else { return };
    let admin = cluster.node(0).admin();
    until("both know of each other", || admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 2);
    // It is told before it is answered: whoever calls it off next is right.
    assert_eq!(admin.post("/api/v1/nodes/n1/drain", json!({})).json(200)["node_status"], "leaving");
    assert_eq!(admin.delete("/api/v1/nodes/n1/drain").json(200)["node_status"], "running");
    for asks in [0, 1] {
        let url = format!("http://{}", cluster.node(asks).admin().address());
        let mut drain = cluster::command()
            .args(["drain", "n1", "--url", &url])
            .env("MQTTD_CONFIG", "/dev/null")
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("mqttd runs");
        until("it has begun", || cluster.node(1).admin().get("/api/v1/nodes/self").json(200)["node_status"] == "leaving");
        cluster.node(1).terminate();
        cluster.node(1).terminate();
        cluster.node(1).ended();
        assert!(drain.wait().expect("it ends").success(), "asked of node {asks}");
        cluster.node(1).revive();
        until("it is back", || cluster.node(1).admin().get("/readyz").code == 200);
        until("it is known", || admin.get("/api/v1/nodes/n1").code == 200);
    }
    // Called off by somebody else: told, and no success.
    let url = format!("http://{}", admin.address());
    let drain = cluster::command()
        .args(["drain", "n1", "--url", &url])
        .env("MQTTD_CONFIG", "/dev/null")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("mqttd runs");
    until("it has begun", || admin.get("/api/v1/nodes/n1").json(200)["node_status"] == "leaving");
    admin.delete("/api/v1/nodes/n1/drain").json(200);
    let output = drain.wait_with_output().expect("it ends");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("called off"), "{output:?}");
}

/// What a node that is not ready is called in the dashboard it is called here too.
#[test]
fn a_node_that_is_not_ready_is_called_so() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let url = format!("http://{}", cluster.node(0).admin().address());
    cluster.redis.pause();
    let status = || {
        let output = cluster::command().args(["status", "--url", &url]).env("MQTTD_CONFIG", "/dev/null").output().expect("mqttd runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    until("it says that it is not ready", || status().contains("not ready"));
    cluster.redis.resume();
}

#[test]
fn the_command_line_shuts_out_and_lets_in() {
    let broker = Broker::administered(|_| {});
    let mut client = broker.client(V5).id("a client").connect();
    says(&broker, &["ban", "client:a client", "--reason", "noise"]);
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
    says(&broker, &["ban", "address:10.0.0.0/8", "--seconds", "60"]);
    let bans = says(&broker, &["bans"]);
    assert!(bans.contains("a client") && bans.contains("noise") && bans.contains("10.0.0.0/8") && bans.lines().count() == 3, "{bans}");
    says(&broker, &["unban", "client:a client"]);
    says(&broker, &["unban", "address:10.0.0.0/8"]);
    broker.client(V5).id("a client").connect();
    for wrong in [&["ban", "a client"][..], &["unban", "client:a client"]] {
        assert!(!program(&broker, wrong).status.success(), "{wrong:?}");
    }
}

#[test]
fn a_token_is_shown_from_a_file() {
    let broker = Broker::administered(|config| config.api.token = Some(mqttd::config::user::Secret::new("abc")));
    let file = std::env::temp_dir().join(unique("token"));
    std::fs::write(&file, "abc\n").expect("a file");
    let refused = program(&broker, &["status"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    says(&broker, &["status", "--token-file", file.to_str().expect("text")]);
    let _ = std::fs::remove_file(&file);
}
