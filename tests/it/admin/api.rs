//! The REST API of one node.

use mqttd_tests::cluster::until;
use mqttd_tests::*;
use serde_json::json;

#[test]
fn clients_are_listed_shown_and_kicked() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    let mut clients: Vec<Client> = (0..5).map(|number| broker.client(V5).id(&format!("c{number}")).durable().connect()).collect();
    let other = broker.client(V3_1_1).id("other").keep_alive(30).will(message("w", "x")).connect();
    clients[0].subscribe("a/+", 1);
    let page = admin.get("/api/v1/clients?like_clientid=c&limit=2&page=2").json(200);
    let ids: Vec<_> = page["data"].as_array().unwrap().iter().map(|client| client["clientid"].as_str().unwrap()).collect();
    assert_eq!(ids, ["c2", "c3"]);
    assert_eq!(page["meta"], json!({ "page": 2, "limit": 2, "count": 5, "hasnext": true }));
    assert_eq!(admin.get("/api/v1/clients?proto_ver=4").json(200)["data"][0]["clientid"], "other");
    assert_eq!(admin.get("/api/v1/clients?ip_address=10.0.0.1").json(200)["meta"]["count"], 0);
    let shown = admin.get("/api/v1/clients/other").json(200);
    let rows = [
        ("proto_ver", json!(4)),
        ("keepalive", json!(30)),
        ("has_will", json!(true)),
        ("connected", json!(true)),
        ("transport", json!("tcp")),
    ];
    for (field, expected) in rows {
        assert_eq!(shown[field], expected, "{field} in {shown}");
    }
    assert_eq!(admin.get("/api/v1/clients/c0").json(200)["subscriptions_cnt"], 1);
    let subscriptions = admin.get("/api/v1/clients/c0/subscriptions").json(200);
    assert_eq!((&subscriptions[0]["topic"], &subscriptions[0]["qos"]), (&json!("a/+"), &json!(1)));
    assert_eq!(admin.delete("/api/v1/clients/c0").code, 204);
    clients[0].expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    until("the client has left", || admin.get("/api/v1/clients/c0").code == 404);
    assert_eq!(admin.delete("/api/v1/clients/c0").json(404)["code"], "NOT_FOUND");
    drop(other);
}

/// What the document lists is what the node answers, path by path and method by method; schemathesis (tests/interop) holds the answers against it.
#[test]
fn every_path_is_in_the_document() {
    let rooms = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("node/src/admin");
    let files = std::fs::read_dir(rooms.join("api")).unwrap().map(|entry| entry.unwrap().path());
    let mut routes = std::collections::BTreeSet::new();
    for file in files.chain(["events.rs", "trace.rs"].map(|name| rooms.join(name))) {
        let text = std::fs::read_to_string(file).unwrap();
        for route in text.split(".route(\"").skip(1) {
            let (path, handlers) = route.split_once("\", ").unwrap();
            let mut depth = 0;
            let end = handlers.find(|c| {
                depth += match c {
                    '(' => 1,
                    ')' => -1,
                    _ => 0,
                };
                depth < 0
            });
            let handlers = format!(".{}", &handlers[..end.unwrap()]);
            let methods = ["get", "post", "put", "delete"].into_iter().filter(|method| handlers.contains(&format!(".{method}(")));
            routes.extend(methods.map(|method| format!("{method} {}", path.replace("{*", "{"))));
        }
    }
    let document = Broker::administered(|_| {}).admin().get("/api-docs/openapi.json").json(200);
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().filter(|key| *key != "parameters").map(move |method| format!("{method} {path}"))
    });
    assert_eq!(described.collect::<std::collections::BTreeSet<_>>(), routes);
}

#[test]
fn subscriptions_and_topics_are_listed() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    let mut client = broker.client(V5).id("c").connect();
    [("a/#", 0), ("a/b", 2), ("$share/g/x", 1)].iter().for_each(|(filter, qos)| client.subscribe(filter, *qos));
    let topics = admin.get("/api/v1/topics").json(200);
    assert_eq!(topics["data"], json!([{ "topic": "$share/g/x" }, { "topic": "a/#" }, { "topic": "a/b" }]));
    let matching = admin.get("/api/v1/subscriptions?match_topic=a/b").json(200);
    let found: Vec<_> =
        matching["data"].as_array().unwrap().iter().map(|one| (one["topic"].as_str().unwrap(), one["qos"].as_u64().unwrap())).collect();
    assert_eq!(found, [("a/#", 0), ("a/b", 2)]);
    assert_eq!(admin.get("/api/v1/subscriptions?match_topic=a/%2B").json(400)["code"], "BAD_REQUEST");
    let shared = admin.get("/api/v1/subscriptions?topic=$share/g/x").json(200);
    assert_eq!((&shared["data"][0]["qos"], &shared["meta"]["count"]), (&json!(1), &json!(1)));
}

#[test]
fn messages_are_published() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    let mut subscriber = broker.client(V5).connect();
    subscriber.subscribe("t/#", 2);
    admin.post("/api/v1/publish", json!({ "topic": "t/1", "payload": "hé", "qos": 1 })).json(200);
    subscriber.receive(message("t/1", "hé").qos(1));
    let properties =
        json!({ "content_type": "text/x", "user_properties": { "a": "b" }, "correlation_data": "AAE=", "response_topic": "r" });
    let body = json!({ "topic": "t/2", "payload": "AP8=", "payload_encoding": "base64", "retain": true, "properties": properties });
    admin.post("/api/v1/publish", body).json(200);
    let came = subscriber.next_publish();
    let got = came.properties.expect("properties");
    assert_eq!(
        (&came.payload[..], got.content_type.as_deref(), got.correlation_data.as_deref()),
        (&[0, 255][..], Some("text/x"), Some(&[0, 1][..]))
    );
    let ids = admin.post("/api/v1/publish/bulk", json!([{ "topic": "t/3", "payload": "a" }, { "topic": "t/4", "payload": "b" }])).json(200);
    assert_eq!(ids.as_array().map(Vec::len), Some(2));
    subscriber.receive(message("t/3", "a"));
    subscriber.receive(message("t/4", "b"));
    let bad = [
        json!({ "topic": "t/#" }),
        json!({ "topic": "$SYS/x" }),
        json!({ "topic": "t", "qos": 3 }),
        json!({ "topic": "t", "payload": "?", "payload_encoding": "base64" }),
        json!({ "topic": "t", "nothing": 1 }),
        json!({ "payload": "x" }),
        json!({ "topic": "t", "properties": [null, null] }),
        json!(["t", "x"]),
        json!({ "topic": "t", "properties": { "response_topic": "a/+" } }),
    ];
    for body in bad {
        let answer = admin.post("/api/v1/publish", body.clone());
        assert_eq!(answer.json(400)["code"], "BAD_REQUEST", "{body}");
    }
    // One bad message, and none of them is published.
    assert_eq!(admin.post("/api/v1/publish/bulk", json!([{ "topic": "t/5" }, { "topic": "#" }])).code, 400);
    subscriber.expect_nothing();
}

/// A message that the Store has no room for is not published, and that is said.
#[test]
fn what_the_store_does_not_take_is_told() {
    let broker = Broker::administered(|config| {
        config.store.url = mqttd::config::StoreUrl::Memory;
        config.protocol.sys_interval_s = 0; // what $SYS says is retained too
        config.store.messages_max = 1;
        config.store.retained_max = 1;
    });
    let admin = broker.admin();
    let mut away = broker.client(V5).durable().connect();
    let id = away.id.clone();
    away.subscribe("t", 1);
    away.disconnect();
    let one = json!({ "topic": "t", "payload": "1", "qos": 1 });
    admin.post("/api/v1/publish", one.clone()).json(200);
    assert_eq!(admin.post("/api/v1/publish", one.clone()).json(507)["code"], "QUOTA_EXCEEDED");
    assert_eq!(admin.post("/api/v1/publish/bulk", json!([one])).json(507)["code"], "QUOTA_EXCEEDED");
    // What needs no room is still taken.
    admin.post("/api/v1/publish", json!({ "topic": "t", "payload": "2" })).json(200);
    admin.post("/api/v1/publish", json!({ "topic": "r/1", "payload": "kept", "retain": true })).json(200);
    assert_eq!(
        admin.post("/api/v1/publish", json!({ "topic": "r/2", "payload": "kept", "retain": true })).json(507)["code"],
        "QUOTA_EXCEEDED"
    );
    let mut back = broker.client(V5).id(&id).resume().connect();
    back.receive(message("t", "1").qos(1));
    back.expect_nothing();
}

#[test]
fn retained_messages_are_paged_shown_and_removed() {
    let broker = Broker::administered(|config| config.protocol.sys_interval_s = 0);
    let admin = broker.admin();
    let mut publisher = broker.client(V5).connect();
    for number in 0..7 {
        publisher.publish(message(&format!("r/{number}"), format!("{number}")).qos(1).retain());
    }
    publisher.publish(message("other/a", "x").qos(1).retain());
    let (mut topics, mut after) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/api/v1/mqtt/retainer/messages?topic=r/%23&limit=3{after}")).json(200);
        topics.extend(page["data"].as_array().unwrap().iter().map(|one| one["topic"].as_str().unwrap().to_owned()));
        match page["meta"]["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(topics, (0..7).map(|number| format!("r/{number}")).collect::<Vec<_>>());
    let shown = admin.get("/api/v1/mqtt/retainer/message/r/3").json(200);
    assert_eq!((&shown["payload"], &shown["qos"]), (&json!("Mw=="), &json!(1)));
    assert_eq!(admin.delete("/api/v1/mqtt/retainer/message/r/3").code, 204);
    assert_eq!(admin.get("/api/v1/mqtt/retainer/message/r/3").code, 404);
    assert_eq!(admin.delete("/api/v1/mqtt/retainer/message/r/%23").code, 400);
    assert_eq!(admin.get("/api/v1/mqtt/retainer/message/other/a").json(200)["payload_bytes"], 1);
}

/// A drain that is called off: clients are sent away, nobody is taken, then everything is as before.
#[test]
fn a_node_is_emptied_and_filled_again() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    let mut client = broker.client(V5).connect();
    admin.post("/api/v1/nodes/self/drain", json!({})).json(200);
    client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
    drop(client);
    until("the node is drained", || admin.get("/api/v1/nodes/self").json(200)["node_status"] == "drained");
    broker.client(V5).refused(Reason::SERVER_UNAVAILABLE);
    assert_eq!((admin.get("/readyz").code, admin.get("/livez").code), (503, 200));
    assert_eq!(admin.delete("/api/v1/nodes/self/drain").json(200)["ready"], true);
    broker.client(V5).connect().disconnect();
    assert_eq!(admin.get("/api/v1/nodes/nobody").json(404)["code"], "NOT_FOUND");
}

#[test]
fn what_is_asked_wrongly_is_told() {
    let broker = Broker::administered(|_| {});
    let admin = broker.admin();
    for path in [
        "clients?limit=0",
        "clients?page=0",
        "clients?limit=1001",
        "clients?page=9999999",
        "clients?page=x",
        "clients?ip_address=x",
        "clients?proto_ver=6",
        "clients?like_client=x",
        "subscriptions?ip_address=10.0.0.1",
        "topics?topic=x",
        "banned?limt=1",
        "sessions?state=gone",
        "sessions?page=1",
        "mqtt/retainer/messages?page=1",
        "trace?client=x",
    ] {
        assert_eq!(admin.get(&format!("/api/v1/{path}")).json(400)["code"], "BAD_REQUEST", "{path}");
    }
    let told = admin.get("/api/v1/clients?like_client=x").text;
    assert!(told.contains("like_client: there is no such parameter") && told.contains("like_clientid"), "{told}");
    assert_eq!(admin.get("/api/v1/nowhere").json(404)["code"], "NOT_FOUND");
    assert_eq!(admin.delete("/api/v1/nodes").json(405)["code"], "METHOD_NOT_ALLOWED");
}

#[test]
fn numbers_and_limits_are_what_they_are() {
    let broker = Broker::administered(|config| {
        config.protocol.sys_interval_s = 0;
        config.limits.connections_max = 9;
        config.limits.mailbox_messages_max = 8;
        config.session.queue_messages_max = 7;
        config.session.inflight_max = 6;
    });
    let admin = broker.admin();
    let mut client = broker.client(V5).connect();
    client.subscribe("a/+", 1);
    client.publish(message("r", "kept").qos(1).retain());
    let stats = admin.get("/api/v1/stats").json(200);
    let rows = [
        ("connections.count", 1),
        ("subscriptions.count", 1),
        ("retained.count", 1),
        ("mailbox.messages", 0),
        ("mailbox.bytes", 0),
        ("clients.slow", 0),
        ("nodes.count", 1),
        ("nodes.ready", 1),
    ];
    for (name, expected) in rows {
        assert_eq!(stats[name], expected, "{name} in {stats}");
    }
    let limits = admin.get("/api/v1/limits").json(200);
    for (name, expected) in [("connections_max", 9), ("mailbox_messages_max", 8), ("queue_messages_max", 7), ("inflight_max", 6)] {
        assert_eq!(limits[name], expected, "{name} in {limits}");
    }
    assert_eq!(admin.get("/api/v1/nodes/self").json(200)["max_connections"], 9);
}

/// The first event comes at once, and tells of every node.
#[test]
fn events_tell_how_it_is() {
    use std::io::{BufRead, BufReader, Write};
    let broker = Broker::administered(|_| {});
    let mut stream = std::net::TcpStream::connect(broker.admin().address()).unwrap();
    stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let data = lines.find_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).expect("an event");
    let state: serde_json::Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((&state["nodes"][0]["node"], &state["nodes"][0]["ready"], &state["slow"]), (&json!("node"), &json!(true), &json!([])));
}
