//! What is counted, as Prometheus and the seed have it.

use std::collections::BTreeMap;
use std::path::Path;

use mqttd_tests::*;
use reqwest::Method;

/// Samples by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[test]
fn traffic_moves_the_metrics() {
    let broker = Broker::administered(|config| config.protocol.sys_interval_s = 0);
    let topic = unique("t");
    let (mut publisher, mut subscriber) = broker.pair(V5);
    subscriber.subscribe(&topic, 1);
    publisher.publish(message(&topic, "12345").qos(1).retain());
    subscriber.receive(message(&topic, "12345").qos(1));
    subscriber.unsubscribe(&topic);
    let answer = broker.admin().get("/metrics");
    assert_eq!(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    let samples = samples(&answer.text);
    let rows = [
        ("mqttd_connections", 2.0),
        ("mqttd_connections_accepted_total", 2.0),
        ("mqttd_publishes_received_total", 1.0),
        ("mqttd_publishes_sent_total", 1.0),
        ("mqttd_publish_received_bytes_total", 5.0),
        ("mqttd_subscribes_total", 1.0),
        ("mqttd_unsubscribes_total", 1.0),
        ("mqttd_retained_messages", 1.0),
        ("mqttd_commit_seconds_bucket{le=\"+Inf\"}", samples["mqttd_commit_seconds_count"]),
        ("mqttd_ready", 1.0),
        ("mqttd_stage{stage=\"running\"}", 1.0),
        ("mqttd_stage{stage=\"drained\"}", 0.0),
    ];
    for (name, expected) in rows {
        assert_eq!(samples.get(name), Some(&expected), "{name} in\n{}", answer.text);
    }
    assert!(samples["mqttd_commit_seconds_count"] >= 3.0 && samples["mqttd_received_bytes_total"] > 0.0);
    let open = broker.admin().ask(Method::GET, "/metrics", &[("accept", "application/openmetrics-text;version=1.0.0")], None);
    assert!(open.content_type.starts_with("application/openmetrics-text") && open.text.ends_with("# EOF\n"), "{}", open.text);
    assert!(open.text.contains("# TYPE mqttd_subscribes counter\n") && answer.text.contains("# TYPE mqttd_subscribes_total counter\n"));
}

/// Its kind and its help stand before every metric, once, and names end as they should.
#[test]
fn every_metric_says_what_it_is() {
    let broker = Broker::administered(|_| {});
    let text = broker.admin().get("/metrics").text;
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            assert!(name.starts_with("mqttd_") && (kind == "counter") == name.ends_with("_total"), "{name} is a {kind}");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.split_once(' ').is_some_and(|(_, help)| help.ends_with('.')), "no help: {line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).filter(|family| kinds.contains_key(family));
            assert!(kinds.contains_key(family.unwrap_or(name)), "{name} has no kind");
        }
    }
    assert!(kinds.len() > 30, "{}", kinds.len());
}

/// A counter that nothing moves is a promise that nobody keeps. Read from the source text.
#[test]
fn every_metric_is_moved_by_something() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the project").join("node/src");
    let declared = std::fs::read_to_string(top.join("metrics.rs")).expect("the metrics");
    let (fields, functions) = declared.split_once("/// One metric as it is now.").expect("the counters come first");
    let mut others = functions.to_owned();
    read_all(&top, &mut others);
    let fields = fields.split_once("pub struct Metrics {\n").expect("the struct").1;
    let names: Vec<&str> = fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    let admission = declared.split_once("counted!(\n").and_then(|(_, rest)| rest.split_once(");")).expect("those of the admission").0;
    let admission: Vec<&str> = admission.split([' ', ',', '\n']).collect();
    for name in names {
        // Those of the admission are moved by functions that one line makes for each: `add_… field metric`.
        let moved = others.contains(&format!("self.{name}")) || others.contains(&format!("metrics.{name}")) || admission.contains(&name);
        assert!(moved, "nothing moves {name}");
    }
}

/// Every source but those that only show the metrics.
fn read_all(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("admin") && !path.ends_with("sys") {
            read_all(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("metrics.rs") && !path.ends_with("sys.rs") {
            *text += &std::fs::read_to_string(path).expect("a file");
        }
    }
}

/// Who is refused has not connected: neither in the names of the seed, nor in those of Prometheus, nor in the highest number.
#[test]
fn who_is_refused_is_not_counted_as_connected() {
    let users = auth::Scratch::new("");
    let broker = Broker::administered(|config| {
        config.auth.password_file = Some(users.path());
        config.auth.anonymous = Some(true);
    });
    for version in VERSIONS {
        broker.client(version).user("nobody", "x").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    }
    let mut client = broker.client(V5).connect();
    let now = broker.admin().get("/api/v1/metrics").json(200);
    let counters = &now["counters"];
    let seen = [&now["total_connections"], &now["current_connections"], &counters["connections_highest"], &counters["places_taken"]];
    assert_eq!(seen, [1; 4], "{now}");
    assert_eq!(counters["connections_refused"], VERSIONS.len());
    client.expect_nothing();
    let samples = samples(&broker.admin().get("/metrics").text);
    assert_eq!(samples["mqttd_connections_accepted_total"], 1.0);
}

/// The names of the seed, true at every moment.
#[test]
fn the_metrics_of_the_seed() {
    let broker = Broker::administered(|config| config.protocol.sys_interval_s = 0);
    let topic = unique("t");
    let (mut publisher, mut subscriber) = broker.pair(V5);
    subscriber.subscribe(&topic, 0);
    publisher.publish(message(&topic, "x").qos(1).retain());
    subscriber.receive(message(&topic, "x"));
    let metrics = || broker.admin().get("/api/v1/metrics").json(200);
    let now = metrics();
    let rows = [
        ("total_connections", 2),
        ("current_connections", 2),
        ("total_messages_published", 1),
        ("total_messages_received", 1),
        ("total_subscriptions", 1),
        ("total_unsubscriptions", 0),
        ("retained_messages_count", 1),
        ("active_subscriptions_count", 1),
    ];
    for (name, expected) in rows {
        assert_eq!(now[name], expected, "{name} in {now}");
    }
    assert_eq!(now["connections_per_ip"], serde_json::json!({ "127.0.0.1": 2 }));
    subscriber.disconnect();
    cluster::until("the client has left", || metrics()["connections_per_ip"]["127.0.0.1"] == 1);
}

/// Each is caused once, and says so.
#[test]
fn what_a_counter_counts_has_happened() {
    let broker = Broker::administered(|config| {
        config.access.deny_publish = vec!["never".into()];
        config.access.deny_subscribe = vec!["secret".into()];
    });
    let counters = || broker.admin().get("/api/v1/metrics").json(200)["counters"].clone();
    let topic = unique("t");
    let mut away = broker.client(V5).id("away").expiry(60).connect();
    away.subscribe(&topic, 1);
    away.disconnect();
    let mut small = broker.client(V5).id("small").maximum_packet_size(60).connect();
    small.subscribe(&topic, 1);
    small.subscribe_as(subscribe(9, &[("secret", 0)]), &[Reason::NOT_AUTHORIZED]);
    let mut publisher = broker.client(V5).connect();
    publisher.send(message("never", "x").qos(1).id(7));
    publisher.expect_ack(Kind::Puback, 7, Reason::NOT_AUTHORIZED);
    publisher.publish(message(&topic, [b'x'; 100]).qos(1));
    publisher.publish(message(&topic, "short").qos(1));
    publisher.publish(message(&topic, "brief").qos(1).expiry(1));
    small.receive(message(&topic, "short").qos(1));
    small.receive(message(&topic, "brief").qos(1).expiry(1));
    let before = counters();
    let rows = [
        ("sockets_total", 3),
        ("publishes_denied", 1),
        ("subscriptions_denied", 1),
        ("messages_too_large", 1),
        ("clients_kicked", 0),
        ("publishes_received", 4),
        ("publish_bytes_received", 111),
        ("publish_bytes_sent", 10),
    ];
    for (name, expected) in rows {
        assert_eq!(before[name], expected, "{name} in {before}");
    }
    assert_eq!(broker.admin().delete("/api/v1/clients/small").code, 204);
    small.expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    cluster::until("it was kicked", || counters()["clients_kicked"] == 1);
    pass(&broker, 2);
    let mut back = broker.client(V5).id("away").expiry(1).resume().connect();
    back.receive(message(&topic, [b'x'; 100]).qos(1));
    back.receive(message(&topic, "short").qos(1));
    back.expect_nothing();
    assert_eq!(samples(&broker.admin().get("/metrics").text)["mqttd_store_expired_messages_total"], 1.0);
    back.disconnect();
    cluster::until("its session has expired", || counters()["sessions_expired"] == 1);
    let now = counters();
    for (less, more) in [("publish_bytes_received", "bytes_received"), ("publish_bytes_sent", "bytes_sent")] {
        assert!(now[less].as_u64() < now[more].as_u64(), "{less} and {more} in {now}");
    }
    for (packets, publishes) in [("packets_received", "publishes_received"), ("packets_sent", "publishes_sent")] {
        assert!(now[publishes].as_u64() < now[packets].as_u64(), "{publishes} and {packets} in {now}");
    }
}
