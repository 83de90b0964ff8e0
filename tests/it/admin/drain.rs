//! A node that lets go of its clients: told why, a few at a time, and their wills are kept for those who come back elsewhere.

use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::*;
use serde_json::json;

/// `[MQTT-3.14.0-1]` Where a Server Reference is configured, clients are told to use it, or that this Server has moved for good.
#[test]
fn clients_are_told_where_else_to_go() {
    for (moved, reason) in [(false, Reason::USE_ANOTHER_SERVER), (true, Reason::SERVER_MOVED)] {
        let mut broker = Broker::with(|config| {
            config.protocol.server_reference = Some("other.example:1883".to_owned());
            config.drain.moved = moved;
        });
        let mut clients = VERSIONS.map(|version| broker.client(version).connect());
        let ended = broker.stop();
        for client in &mut clients[..2] {
            client.expect_closed();
        }
        let told = clients[2].wait_for("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)));
        let Packet::Disconnect(told) = told else { unreachable!("it waits for a DISCONNECT") };
        assert_eq!((told.reason, told.server_reference.as_deref()), (reason, Some("other.example:1883")));
        drop(clients);
        ended.join().expect("the node ends");
    }
}

/// During the grace a node is not ready and takes connections; a second signal cuts it short.
#[test]
fn a_second_signal_takes_less_time() {
    let Some(mut cluster) = Cluster::with(1, &[("MQTTD_DRAIN__GRACE_S", "3600"), ("MQTTD_DRAIN__TIME_S", "3600")]) else { return };
    let mut clients: Vec<_> = (0..50).map(|_| cluster.client(0, V5).connect()).collect();
    let admin = cluster.node(0).admin();
    cluster.node(0).terminate();
    until("the node is not ready", || admin.get("/readyz").code == 503);
    assert!(admin.get("/readyz").text.contains("[-] running failed: leaving"), "{}", admin.get("/readyz").text);
    clients.push(cluster.client(0, V5).connect());
    cluster.node(0).terminate();
    for client in &mut clients {
        client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
    }
    drop(clients);
    cluster.node(0).ended();
}

/// A will is not published for a client that goes on at another node, nor when it ends well there; it is for one that never comes back.
#[test]
fn wills_wait_for_clients_that_move() {
    let Some(mut cluster) = Cluster::with(2, &[("MQTTD_DRAIN__WILLS_WAIT_S", "2")]) else { return };
    let topic = unique("t");
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe(&format!("{topic}/#"), 1);
    let will = |name: &str| message(&format!("{topic}/{name}"), "lost").qos(1);
    let moving = VERSIONS.map(|version| cluster.client(0, version).durable().will(will("moved")).connect());
    let gone = VERSIONS.map(|version| cluster.client(0, version).durable().will(will("gone")).connect());
    let brief = cluster.client(0, V5).will(will("brief")).connect();
    cluster.node(0).terminate();
    // A Session that ends with its connection cannot move: its will is due.
    watcher.receive(will("brief"));
    drop(brief);
    gone.into_iter().for_each(|mut client| client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN));
    let moved = moving.map(|mut client| {
        client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
        cluster.durable(1, client.version, &client.id)
    });
    cluster.node(0).ended();
    for _ in 0..VERSIONS.len() {
        let id = watcher.expect_within(PATIENCE, will("gone"));
        watcher.send(puback(id));
    }
    moved.into_iter().for_each(Client::disconnect);
}

/// Who has more than its share of the clients sends the rest away, and goes on taking others. Sessions go on where they come to.
#[test]
fn clients_are_spread_over_the_nodes() {
    let Some(mut cluster) = Cluster::with(2, &[]) else { return };
    let topic = unique("t");
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe(&topic, 1);
    let will = message(&topic, "lost").qos(1);
    let clients: Vec<_> = (0..11).map(|_| cluster.client(0, V5).durable().will(&will).connect()).collect();
    let admin = cluster.node(0).admin();
    let done = admin.post("/api/v1/rebalance", json!(null)).json(200);
    let row = |node: &str, connections: u64, sent_away: u64| json!({ "node": node, "connections": connections, "sent_away": sent_away });
    assert_eq!(done, json!({ "data": [row("n0", 11, 5), row("n1", 1, 0)], "missing": [] }));
    let mut left = Vec::new();
    until("five have left", || {
        let clients = admin.get("/api/v1/clients?node=n0").json(200);
        left = clients["data"].as_array().expect("clients").iter().map(|client| client["clientid"].clone()).collect();
        left.len() == 6
    });
    let (mut clients, moved): (Vec<_>, Vec<_>) = clients.into_iter().partition(|client| left.contains(&json!(client.id)));
    for mut client in moved {
        client.expect_disconnect(Reason::USE_ANOTHER_SERVER);
        clients.push(cluster.durable(1, V5, &client.id));
    }
    assert_eq!(admin.get("/readyz").code, 200);
    let again = cluster::command().args(["rebalance", "--url", &admin.address().to_string()]).output().expect("it runs");
    let said = String::from_utf8_lossy(&again.stdout);
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [vec!["NODE", "CLIENTS", "SENT", "AWAY"], vec!["n0", "6", "0"], vec!["n1", "6", "0"]]);
    // No will was published, for all of them are there.
    watcher.expect_nothing();
    clients.into_iter().for_each(Client::disconnect);
}
