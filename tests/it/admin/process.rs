//! A node as a process: what it logs, what signals do, and what `check` says before it runs.

use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::{Node, command, until};
use mqttd_tests::*;
use serde_json::Value;

/// One line for each event of a connection, in JSON, with everything that such a line has; and none of what was said.
#[test]
fn a_log_is_one_line_of_json_for_each_event() {
    let node = Node::alone(&[]);
    let mut client = node.client(V5).id("a client").connect();
    client.publish(message("t", "the payload").qos(1));
    client.disconnect();
    node.client(V3_1_1).id("").with(|connect| connect.clean_start = false).refused(Reason::CLIENT_IDENTIFIER_NOT_VALID);
    until("all of it is logged", || node.has_said("\"disconnected\"") && node.has_said("\"refused\""));
    let lines: Vec<Value> =
        node.said().iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    for line in &lines {
        assert_eq!(line["node"], "alone", "{line}");
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T', "{timestamp}");
    }
    let of = |text: &str| lines.iter().filter(|line| line["message"] == text).cloned().collect::<Vec<_>>();
    let [connected, disconnected, refused] = ["connected", "disconnected", "refused"].map(|text| {
        let lines = of(text);
        assert_eq!(lines.len(), 1, "{text}: {lines:?}");
        lines[0].clone()
    });
    for line in [&connected, &disconnected] {
        assert_eq!((&line["client_id"], &line["level"]), (&"a client".into(), &"INFO".into()), "{line}");
    }
    for line in [&connected, &disconnected, &refused] {
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
        assert!(line["listener"].as_str().is_some_and(|listener| listener.starts_with("tcp://127.0.0.1:")), "{line}");
    }
    assert_eq!((&disconnected["reason_code"], &refused["reason_code"]), (&0.into(), &0x85.into()));
    assert!(!node.has_said("the payload"));
}

/// Noise of connections can be left out, and nothing else with it; at a SIGHUP too.
#[test]
fn connection_lines_can_be_switched_off() {
    let config = Scratch::new("log.filter = \"info,mqttd::connection=warn\"\n");
    let node = Node::alone(&[("MQTTD_CONFIG", &config.path())]);
    node.client(V5).id("quiet").connect().disconnect();
    config.set("log.filter = \"info\"\n");
    node.hang_up();
    until("it is read again", || node.has_said("SIGHUP: the configuration was read again"));
    node.client(V5).id("loud").connect().disconnect();
    until("it is logged", || node.has_said("loud"));
    assert!(!node.has_said("quiet"));
}

#[test]
fn sigusr1_tells_how_the_node_is() {
    let node = Node::alone(&[]);
    let mut client = node.client(V5).connect();
    client.publish(message("t", "12345").qos(1));
    node.signal("USR1");
    until("it has told", || node.has_said("SIGUSR1: how this node is"));
    let lines = node.said();
    let line = lines.iter().find(|line| line.contains("SIGUSR1")).unwrap();
    let told: Value = serde_json::from_str(line).unwrap();
    let seen = ["connections", "connections_total", "publishes_received", "dropped"].map(|name| told[name].as_u64());
    assert_eq!((seen, &told["status"]), ([Some(1), Some(1), Some(1), Some(0)], &"healthy".into()));
    client.expect_nothing();
}

/// A token that is renewed in its file holds after a SIGHUP, and the one before does not; a file that is empty changes nothing.
#[test]
fn the_token_of_the_api_is_read_again() {
    let token = Scratch::new("old\n");
    let node = Node::alone(&[("MQTTD_API__TOKEN_FILE", &token.path())]);
    let code = |token: &str| node.admin().with_token(token).get("/api/v1/nodes").code;
    assert_eq!((code("old"), code("new")), (200, 401));
    token.set("\n");
    node.hang_up();
    until("it stays as it was", || node.has_said("the configuration stays as it was"));
    assert_eq!((code("old"), code("")), (200, 401));
    token.set("new\n");
    node.hang_up();
    until("it is read again", || code("new") == 200);
    assert_eq!(code("old"), 401);
}

/// What `run` would refuse `check` refuses, with the same words, and binds nothing.
#[test]
fn check_refuses_what_run_refuses() {
    let (empty, rules) = (Scratch::new("\n"), Scratch::new("nonsense\n"));
    let rows: [(&[(&str, &str)], &str); 9] = [
        (&[("MQTTD_API__TOKEN", "a"), ("MQTTD_API__TOKEN_FILE", "/nowhere")], "a"),
        (&[("MQTTD_API__TOKEN_FILE", "/nowhere/token")], "/nowhere/token"),
        (&[("MQTTD_API__TOKEN_FILE", &empty.path())], "the token of the API is empty"),
        (&[("MQTTD_LOG__OTLP_URL", "collector:4318")], "log.otlp_url"),
        (&[("MQTTD_LOG__FILTER", "loud")], "no such level"),
        (&[("MQTTD_STORE__URL", "redis+sentinel://localhost:1")], "the name of the master is missing"),
        (&[("MQTTD_ACCESS__RULES_FILE", &rules.path())], "line 1"),
        (&[("MQTTD_FAULTS__FILE", "/nowhere/faults")], "/nowhere/faults"),
        (&[("MQTTD_BRIDGE__ENABLED", "true")], "bridge.enabled wants the Store on Redis"),
    ];
    for (variables, expected) in rows {
        for verb in ["check", "run"] {
            let mut process = command();
            process.arg(verb).env("MQTTD_CONFIG", "/dev/null").envs(variables.iter().copied());
            let output = process.args(["--listen", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0"]).output().expect("mqttd runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(expected), "{verb} {variables:?}: {said}");
        }
    }
}

/// Every key, its value, and who said so.
#[test]
fn check_prints_where_each_value_comes_from() {
    let file = Scratch::new("# a comment\nlimits.packet_bytes_max = 4096\nlog.filter = \"debug\"\n");
    let output = command()
        .args(["check", "-c", &file.path(), "--node-id", "n7"])
        .envs([("MQTTD_LIMITS__TOPIC_BYTES_MAX", "99"), ("RUST_LOG", "warn"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")])
        .output()
        .expect("mqttd runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    let line = |key: &str| {
        let found: Vec<_> = printed.lines().filter(|line| line.split(['=', ' ']).next() == Some(key)).collect();
        assert_eq!(found.len(), 1, "{key} in\n{printed}");
        found[0].to_owned()
    };
    let rows = [
        ("limits.packet_bytes_max", "4096", format!("{}:2", file.path())),
        ("limits.topic_bytes_max", "99", "MQTTD_LIMITS__TOPIC_BYTES_MAX".to_owned()),
        ("node.id", "n7", "--node-id".to_owned()),
        ("log.filter", "warn", "RUST_LOG".to_owned()),
        ("log.otlp_url", "http://collector:4318/v1/traces", "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned()),
        ("limits.connect_timeout_s", "", "default".to_owned()),
    ];
    for (key, value, origin) in rows {
        let line = line(key);
        assert!(line.contains(value) && line.contains(&origin), "{line}");
    }
    for key in mqttd::config::keys::KEYS {
        line(&key.path());
    }
}

/// Two nodes on one Redis that have no name are two.
#[test]
fn nodes_without_a_name_are_given_one() {
    let Some(redis) = redis::Redis::shared() else { return };
    let prefix = unique("names");
    let start = || {
        Broker::administered(|config| {
            config.store.url = mqttd::config::StoreUrl::Redis(redis.url());
            config.store.prefix.clone_from(&prefix);
            config.node.id = None;
        })
    };
    let (a, b) = (start(), start());
    let names = |broker: &Broker| {
        let nodes = broker.admin().get("/api/v1/nodes").json(200);
        nodes["data"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until("both know of each other", || names(&a).len() == 2 && names(&a) == names(&b));
    assert_ne!(names(&a)[0], names(&a)[1]);
}

/// The switches of curl's test server by the flag, told loudly at the start.
#[test]
fn faults_are_told_at_the_start() {
    let file = Scratch::new("Testnum 7\n");
    let node = Node::alone(&[("MQTTD_FAULTS__FILE", &file.path())]);
    assert!(node.has_said("THIS BROKER DOES WRONG ON PURPOSE") && node.has_said("WARN"));
    node.client(V5).connect().expect_nothing();
    assert!(!Node::alone(&[]).has_said("ON PURPOSE"));
}
