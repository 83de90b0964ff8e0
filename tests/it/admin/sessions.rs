//! What the Store has of a client, also of one that is away; and what is done for one that is connected.

use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::http::Admin;
use mqttd_tests::*;
use serde_json::{Value, json};

fn ids(answer: &Value) -> Vec<&str> {
    let mut ids: Vec<_> = answer["data"].as_array().expect("a list").iter().filter_map(|one| one["clientid"].as_str()).collect();
    ids.sort_unstable();
    ids
}

/// Two Sessions, one of them away with two messages in its queue: listed, shown, ended.
fn sessions_are_listed_shown_and_ended(admin: &Admin, connecting: &dyn Fn(&str) -> connecting::Connecting, node: &str) {
    let mut away = connecting("away").will(message("w", "x")).durable().connect();
    away.subscribe("t/+", 2);
    away.disconnect();
    let mut here = connecting("here").connect();
    here.subscribe("live", 0);
    for payload in ["1", "22"] {
        here.publish(message("t/a", payload).qos(1));
    }
    let all = admin.get("/api/v1/sessions?limit=1000").json(200);
    assert_eq!((ids(&all), &all["meta"]["hasnext"]), (vec!["away", "here"], &json!(false)));
    assert_eq!(ids(&admin.get("/api/v1/sessions?state=away").json(200)), ["away"]);
    assert_eq!(ids(&admin.get("/api/v1/sessions?state=connected&like_clientid=er").json(200)), ["here"]);
    assert_eq!(
        admin.get("/api/v1/sessions?after=%3A%3A").code,
        if admin.get("/api/v1/nodes/self").json(200)["store"] == "redis" { 400 } else { 200 }
    );
    let shown = admin.get("/api/v1/sessions/away").json(200);
    let rows = [
        ("state", json!("away")),
        ("node", json!(null)),
        ("durable", json!(true)),
        ("queued", json!(2)),
        ("subscriptions_cnt", json!(1)),
        ("has_will", json!(false)),
        ("awaiting_release", json!(0)),
    ];
    for (field, expected) in rows {
        assert_eq!(shown[field], expected, "{field} in {shown}");
    }
    assert!(shown["ends_at"].is_string(), "{shown}");
    assert_eq!((&shown["subscriptions"][0]["topic"], &shown["subscriptions"][0]["qos"]), (&json!("t/+"), &json!(2)));
    assert_eq!(admin.get("/api/v1/sessions/here").json(200)["node"], node);
    // The queue, a page at a time, with payloads for who asks for them.
    let page = admin.get("/api/v1/clients/away/mqueue_messages?limit=1&payload=base64").json(200);
    assert_eq!(
        (&page["data"][0]["topic"], &page["data"][0]["payload"], &page["data"][0]["qos"]),
        (&json!("t/a"), &json!("MQ=="), &json!(1))
    );
    assert_eq!((&page["meta"]["hasnext"], &page["memory"]["count"]), (&json!(true), &json!(0)));
    let rest = admin.get(&format!("/api/v1/clients/away/mqueue_messages?after={}", page["meta"]["next"])).json(200);
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["data"][0]["payload_bytes"]), (Some(1), &json!(2)));
    assert!(rest["data"][0]["payload"].is_null());
    // Sent and not acknowledged.
    let mut back = connecting("away").durable().connect();
    let taken = [back.next_publish(), back.next_publish()];
    until("both are in flight", || admin.get("/api/v1/clients/away").json(200)["inflight_cnt"] == 2);
    let in_flight = admin.get("/api/v1/clients/away/inflight_messages").json(200);
    assert_eq!((in_flight["data"].as_array().map(Vec::len), &in_flight["meta"]["inflight_cnt"]), (Some(2), &json!(2)));
    for publish in taken {
        back.acknowledge(publish.qos, publish.packet_id.map_or(0, u16::from));
    }
    until("none is in flight", || admin.get("/api/v1/clients/away").json(200)["inflight_cnt"] == 0);
    back.disconnect();
    // Ended: the queue is gone with it, and the client begins anew.
    here.publish(message("t/a", "lost").qos(1));
    assert_eq!(admin.delete("/api/v1/sessions/away").code, 204);
    for path in ["sessions/away", "clients/away/mqueue_messages", "clients/away/inflight_messages"] {
        assert_eq!(admin.get(&format!("/api/v1/{path}")).json(404)["code"], "NOT_FOUND", "{path}");
    }
    assert_eq!(admin.delete("/api/v1/sessions/away").code, 404);
    let mut again = connecting("away").resume().connect();
    assert!(!again.session_present());
    again.expect_nothing();
    // Of who is connected too.
    assert_eq!(admin.delete("/api/v1/sessions/here").code, 204);
    here.expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    assert_eq!(admin.get("/api/v1/sessions/here").code, 404);
}

#[test]
fn of_a_node_alone() {
    let broker = Broker::administered(|config| config.store.url = mqttd::config::StoreUrl::Memory);
    sessions_are_listed_shown_and_ended(&broker.admin(), &|id| broker.client(V5).id(id), "node");
}

#[test]
fn of_a_cluster_from_any_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let admin = cluster.node(0).admin();
    until("both know of each other", || admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 2);
    sessions_are_listed_shown_and_ended(&admin, &|id| cluster.client(1, V5).id(id), "n1");
}

#[test]
fn sessions_in_memory_are_paged_in_order() {
    let broker = Broker::administered(|config| config.store.url = mqttd::config::StoreUrl::Memory);
    let admin = broker.admin();
    let _clients: Vec<_> = (0..5).map(|number| broker.client(V5).id(&format!("c{number}")).connect()).collect();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/api/v1/sessions?limit=2{after}")).json(200);
        found.extend(ids(&page).into_iter().map(str::to_owned));
        match page["meta"]["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, ["c0", "c1", "c2", "c3", "c4"]);
}

/// What a connection does not read waits in the memory of its node.
#[test]
fn what_waits_in_memory_is_counted() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    let mut slow = broker.client(V5).id("slow").connect();
    slow.subscribe("t", 0);
    let body = "x".repeat(64 * 1024);
    let mut publisher = broker.client(V5).connect();
    until("something waits for it", || {
        publisher.publish(message("t", body.clone()).qos(1));
        admin.get("/api/v1/clients/slow").json(200)["mailbox_messages"] != 0
    });
    let waiting = admin.get("/api/v1/clients/slow/mqueue_messages?limit=1").json(200);
    assert!(waiting["memory"]["count"].as_u64() > Some(0), "{waiting}");
    assert_eq!((&waiting["memory"]["data"][0]["topic"], &waiting["data"]), (&json!("t"), &json!([])));
}

/// As though the client had asked: rules hold, retained messages come, and a lasting Session keeps it. From another node too.
#[test]
fn an_operator_subscribes_for_a_client() {
    let rules = Scratch::new("deny all subscribe secret/#\nallow all #\n");
    let Some(mut cluster) = Cluster::with(2, &[("MQTTD_ACCESS__RULES_FILE", &rules.path())]) else { return };
    let admin = cluster.node(0).admin();
    until("both know of each other", || admin.get("/api/v1/nodes").json(200)["data"].as_array().unwrap().len() == 2);
    let mut publisher = cluster.client(0, V5).connect();
    publisher.publish(message("r", "kept").qos(1).retain());
    for version in VERSIONS {
        let mut client = cluster.durable(1, version, "c");
        let made = admin.post("/api/v1/clients/c/subscribe", json!({ "topic": "r", "qos": 1 })).json(200);
        assert_eq!(made, json!({ "clientid": "c", "topic": "r", "qos": 1, "nl": 0, "rap": 0, "rh": 0, "node": "n1" }));
        client.receive(message("r", "kept").qos(1).retain());
        publisher.publish(message("r", "now").qos(1));
        client.receive(message("r", "now").qos(1));
        let both = json!([{ "topic": "a/+", "rh": 2 }, { "topic": "$share/g/b", "qos": 2 }]);
        assert_eq!(admin.post("/api/v1/clients/c/subscribe/bulk", both).json(200).as_array().map(Vec::len), Some(2));
        assert_eq!(admin.post("/api/v1/clients/c/unsubscribe", json!({ "topic": "r" })).code, 204);
        assert_eq!(admin.post("/api/v1/clients/c/unsubscribe", json!({ "topic": "r" })).json(404)["code"], "NOT_FOUND");
        publisher.publish(message("r", "not for it").qos(1));
        client.expect_nothing();
        client.disconnect();
        let kept = admin.get("/api/v1/sessions/c").json(200);
        let topics: Vec<_> = kept["subscriptions"].as_array().unwrap().iter().map(|one| one["topic"].as_str().unwrap()).collect();
        assert_eq!(topics.len(), 2, "{topics:?}");
        assert_eq!(admin.delete("/api/v1/sessions/c").code, 204);
    }
    let mut client = cluster.client(1, V5).id("c").connect();
    let refused = [
        (json!({ "topic": "secret/1" }), 403),
        (json!({ "topic": "a/#/b" }), 400),
        (json!({ "topic": "a", "qos": 3 }), 400),
        (json!({ "topic": "$share/g/a", "nl": 1 }), 400),
        (json!({ "topic": "a", "nothing": 1 }), 400),
    ];
    for (body, code) in refused {
        assert_eq!(admin.post("/api/v1/clients/c/subscribe", body.clone()).code, code, "{body}");
    }
    assert_eq!(admin.post("/api/v1/clients/nobody/subscribe", json!({ "topic": "a" })).json(404)["code"], "NOT_FOUND");
    assert_eq!(admin.post("/api/v1/clients/c/unsubscribe/bulk", json!([{ "topic": "a" }, { "topic": "b" }])).code, 204);
    assert_eq!(admin.post("/api/v1/clients/c/subscribe/bulk", json!([])).code, 400);
    client.expect_nothing();
}
