//! Bans by way of the REST API.

use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::*;
use serde_json::json;

#[test]
fn who_is_banned_is_disconnected_and_kept_out() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    let mut client = broker.client(V5).id("c/1").connect();
    let mut bystander = broker.client(V5).connect();
    let ban = json!({ "as": "clientid", "who": "c/1", "reason": "noise" });
    let shown = json!({ "as": "clientid", "who": "c/1", "reason": "noise", "until": null });
    assert_eq!(admin.post("/api/v1/banned", ban).json(200), shown);
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
    broker.client(V5).id("c/1").refused(Reason::BANNED);
    admin.post("/api/v1/banned", json!({ "as": "username", "who": "ann", "seconds": 60 })).json(200);
    admin.post("/api/v1/banned", json!({ "as": "peerhost", "who": "10.9.0.0/16" })).json(200);
    broker.client(V5).user("ann", "").refused(Reason::BANNED);
    bystander.expect_nothing();
    let page = admin.get("/api/v1/banned?limit=2").json(200);
    assert_eq!((&page["data"][0], &page["meta"]["count"], &page["meta"]["hasnext"]), (&shown, &json!(3), &json!(true)));
    assert!(page["data"][1]["until"].is_string());
    for path in ["clientid/c/1", "username/ann", "peerhost/10.9.0.0%2F16"] {
        assert_eq!(admin.delete(&format!("/api/v1/banned/{path}")).code, 204, "{path}");
        assert_eq!(admin.delete(&format!("/api/v1/banned/{path}")).json(404)["code"], "NOT_FOUND");
    }
    assert_eq!(admin.get("/api/v1/banned").json(200)["meta"]["count"], 0);
    broker.client(V5).id("c/1").connect();
    let bad = [
        json!({}),
        json!({ "as": "clientid", "who": "" }),
        json!({ "as": "peerhost", "who": "ann" }),
        json!({ "as": "room", "who": "x" }),
        json!({ "as": "clientid", "who": "x", "seconds": -1 }),
        json!({ "as": "clientid", "who": "x", "until": "tomorrow" }),
        json!({ "as": "clientid", "who": "x", "reason": "x".repeat(1001) }),
    ];
    for body in bad {
        assert_eq!(admin.post("/api/v1/banned", body.clone()).json(400)["code"], "BAD_REQUEST", "{body}");
    }
    for wrong in ["peerhost/ann", "nobody/ann", "clientid/%ff"] {
        assert_eq!(admin.delete(&format!("/api/v1/banned/{wrong}")).json(400)["code"], "BAD_REQUEST", "{wrong}");
    }
}

/// A ban that one node was told holds at the other.
#[test]
fn a_ban_holds_at_every_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut client = cluster.client(1, V5).id("c").connect();
    cluster.node(0).admin().post("/api/v1/banned", json!({ "as": "clientid", "who": "c" })).json(200);
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
    cluster.client(1, V5).id("c").refused(Reason::BANNED);
    let admin = cluster.node(1).admin();
    assert_eq!(admin.delete("/api/v1/banned/clientid/c").code, 204);
    until("the other node knows too", || cluster.node(0).admin().get("/api/v1/banned").json(200)["meta"]["count"] == 0);
    cluster.client(1, V5).id("c").connect();
}
