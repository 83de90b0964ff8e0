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

/// Numbers of the whole cluster are the same whichever node is asked: nothing is counted twice, and nothing is left out.
#[test]
fn numbers_of_the_cluster_do_not_depend_on_who_is_asked() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let admins = [0, 1, 2].map(|node| cluster.node(node).admin());
    until("every node knows of all", || {
        admins.iter().all(|admin| admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 3)
    });
    // Three live ones of one filter, a shared one, one that lasts, and one of a Session that is away.
    let mut live: Vec<Client> = (0..3).map(|number| cluster.client(1, V5).id(&format!("l{number}")).connect()).collect();
    live.iter_mut().for_each(|client| client.subscribe("t", 1));
    live[0].subscribe("$share/g/t", 1);
    let mut lasting = cluster.durable(2, V5, "lasting");
    lasting.subscribe("t/#", 1);
    let mut away = cluster.durable(0, V5, "away");
    away.subscribe("t/+", 1);
    away.disconnect();
    until("the one has left", || admins[0].get("/api/v1/clients").json(200)["meta"]["count"] == 4);
    for admin in &admins {
        let metrics = admin.get("/api/v1/metrics").json(200);
        let seen = ["active_subscriptions_count", "total_connections", "current_connections"].map(|name| metrics[name].as_u64());
        assert_eq!(seen, [Some(6), Some(5), Some(4)], "{metrics}");
        let counters = &metrics["counters"];
        assert_eq!((&counters["connections_highest"], &counters["mcp_workers"]), (&json!(3), &json!(0)), "{counters}");
        assert!(counters["commit_seconds_count"].as_u64() >= Some(6) && counters["commit_seconds_sum"].as_f64() > Some(0.0), "{counters}");
        let stats = admin.get("/api/v1/stats").json(200);
        assert_eq!((&stats["subscriptions.count"], &stats["connections.count"]), (&json!(6), &json!(4)), "{stats}");
    }
    let of_each = admins[0].get("/api/v1/nodes").json(200)["data"].clone();
    let of_each: Vec<_> = of_each.as_array().unwrap().iter().map(|node| node["subscriptions"].as_u64()).collect();
    assert_eq!(of_each, [Some(0), Some(4), Some(1)]);
    assert_eq!(cluster.node(1).metric("subscriptions"), 4);
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
