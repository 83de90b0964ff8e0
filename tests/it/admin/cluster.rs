//! Any node answers for all of them.

use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::*;
use serde_json::json;

#[test]
fn a_node_answers_for_the_cluster() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let admins = [0, 1, 2].map(|node| cluster.node(node).admin());
    until("every node knows of all", || {
        admins.iter().all(|admin| admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 3)
    });
    let mut clients: Vec<Client> = (0..6).map(|number| cluster.client(number % 3, V5).id(&format!("c{number}")).connect()).collect();
    clients[1].subscribe("a/b", 1);
    let ids = |path: &str| {
        let page = admins[0].get(path).json(200);
        page["data"].as_array().unwrap().iter().map(|one| one["clientid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("/api/v1/clients?limit=4"), ["c0", "c1", "c2", "c3"]);
    assert_eq!(ids("/api/v1/clients?limit=4&page=2"), ["c4", "c5"]);
    assert_eq!(ids("/api/v1/clients?node=n1"), ["c1", "c4"]);
    assert_eq!(admins[2].get("/api/v1/clients/c1").json(200)["node"], "n1");
    assert_eq!(admins[0].get("/api/v1/clients/c1/subscriptions").json(200)[0]["topic"], "a/b");
    assert_eq!(admins[0].get("/api/v1/subscriptions").json(200)["data"][0]["node"], "n1");
    let metrics = admins[1].get("/api/v1/metrics").json(200);
    assert_eq!((&metrics["current_connections"], &metrics["connections_per_ip"]["127.0.0.1"]), (&json!(6), &json!(6)));
    assert_eq!(admins[0].delete("/api/v1/clients/c2").code, 204);
    clients[2].expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    admins[0].post("/api/v1/publish", json!({ "topic": "a/b", "payload": "x", "qos": 1 })).json(200);
    clients[1].receive(message("a/b", "x").qos(1));
    // Another node is emptied, by its name.
    admins[0].post("/api/v1/nodes/n1/drain", json!({})).json(200);
    clients[1].expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
    until("it is drained", || admins[2].get("/api/v1/nodes/n1").json(200)["node_status"] == "drained");
    assert_eq!(admins[0].get("/api/v1/stats").json(200)["nodes.ready"], 2);
}

/// A node that says nothing is waited for, for a moment, and named.
#[test]
fn who_does_not_answer_is_named() {
    let Some(mut cluster) = Cluster::with(2, &[("MQTTD_CLUSTER__LEASE_S", "60")]) else { return };
    let admin = cluster.node(0).admin();
    until("both know of each other", || admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 2);
    cluster.node(1).pause();
    let nodes = admin.get("/api/v1/nodes").json(200);
    assert_eq!((&nodes["data"][1]["node"], &nodes["data"][1]["node_status"]), (&json!("n1"), &json!("unreachable")));
    assert_eq!(admin.get("/api/v1/clients").json(200)["meta"]["missing"], json!(["n1"]));
    assert_eq!(admin.delete("/api/v1/clients/nobody").json(503)["code"], "SERVICE_UNAVAILABLE");
    cluster.node(1).resume();
    until("it answers again", || admin.get("/api/v1/clients").json(200)["meta"]["missing"].is_null());
}
