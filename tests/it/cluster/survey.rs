//! `mqttd sessions`, `inspect` and `fsck`: what an operator sees of the Redis of a cluster, and that a soak leaves nothing there.

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, PATIENCE, PREFIX, command, until};
use mqttd_tests::deployment::{Deployment, Kind};
use mqttd_tests::*;

use super::leftovers::is_of_the_cluster;

/// Sessions of the soak.
const SESSIONS: usize = 300;

/// What the program says, and whether it came to a good end.
fn ask(store: &str, arguments: &[&str]) -> (bool, String) {
    let output = command().args(arguments).args(["--store", store]).env("MQTTD_CONFIG", "/dev/null").output().expect("mqttd runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// Every line of all pages.
#[track_caller]
fn sessions(store: &str) -> String {
    let (mut all, mut from) = (String::new(), "0:0".to_owned());
    loop {
        let (good, text) = ask(store, &["sessions", "--limit", "1", "--from", &from]);
        assert!(good, "{text}");
        all += &text;
        match text.lines().find_map(|line| line.strip_prefix("more: --from ")) {
            Some(next) => from = next.to_owned(),
            None => return all,
        }
    }
}

#[track_caller]
fn expect_lines(text: &str, expected: &[&str]) {
    for expected in expected {
        let words: Vec<_> = expected.split(' ').collect();
        let is_it = |line: &str| line.split_whitespace().collect::<Vec<_>>().windows(words.len()).any(|part| part == words);
        assert!(text.lines().any(is_it), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn a_session_can_be_looked_at() {
    let Some(cluster) = Cluster::start(2) else { return };
    let (topic, id, store) = (unique("t"), unique("c"), cluster.redis.url());
    let mut publisher = cluster.durable(0, V5, &unique("p"));
    let mut client = cluster.client(1, V5).id(&id).resume().expiry(3600).receive_maximum(1).will(message("w", "gone")).connect();
    client.subscribe(&topic, 1);
    client.subscribe(&format!("$share/g/{topic}/+"), 2);
    for number in 0..3 {
        publisher.publish(message(&topic, format!("{number}")).qos(1));
    }
    client.expect_publish(message(&topic, "0").qos(1));
    publisher.send(message(&topic, "unreleased").qos(2).id(9));
    publisher.expect_pubrec(9);

    let (good, text) = ask(&store, &["inspect", &id]);
    assert!(good, "{text}");
    let qos_1 = format!("{topic} QoS 1");
    let qos_2 = format!("$share/g/{topic}/+ QoS 2");
    expect_lines(&text, &["state connected", "queued 4", "will yes", "subscriptions 2", &qos_1, &qos_2, "expires 3600 s after"]);
    assert!(text.contains("node           n1.") && text.contains("bytes, perhaps sent") && text.contains("bytes, not sent"), "{text}");
    let (_, text) = ask(&store, &["inspect", &publisher.id]);
    expect_lines(&text, &["received 1: 9", "queued 0"]);
    let (good, text) = ask(&store, &["inspect", "nobody"]);
    assert!(!good && text.contains("there is no Session"), "{text}");

    let live = cluster.client(0, V3_1_1).connect();
    client.disconnect();
    let text = sessions(&store);
    for (client, state) in [(&id, "away"), (&publisher.id, "connected"), (&live.id, "live")] {
        let line = text.lines().find(|line| line.ends_with(client.as_str())).unwrap_or_else(|| panic!("{client} is not in\n{text}"));
        assert!(line.starts_with(state), "{line}");
    }
    let (good, text) = ask("memory:", &["fsck"]);
    assert!(!good && text.contains("memory:"), "{text}");
}

/// What nobody has is found; what is only somebody else's is not called ours.
#[test]
fn what_nobody_has_is_found() {
    let Some(cluster) = Cluster::start(1) else { return };
    let store = cluster.redis.url();
    let _client = cluster.durable(0, V5, &unique("c"));
    let (good, text) = ask(&store, &["fsck"]);
    assert!(good && text.contains("clean"), "{text}");
    let key = |rest: &str| format!("{PREFIX}:{rest}");
    for (command, rest, value) in [
        ("XADD", "{ghost}:queue", &["*", "m", ""][..]),
        ("HSET", "{ghost}:subs", &["f", "v"]),
        ("HSET", "{lost}:s", &["e", "1", "n", "ghost.1", "d", "1", "x", "0"]),
        ("HSET", "{late}:s", &["e", "1", "n", "", "d", "1", "x", "1", "t", "2", "ek", "2"]),
        ("HSET", "{willed}:wills", &["1", "0000000000000000x"]),
        ("ZADD", "{often}:once", &["1", "p"]),
        ("HSET", "{routes}:s:ghost", &["n", ""]),
        ("HSET", "{routes}:n:ghost.1", &["n", ""]),
        ("SADD", "{n:ghost.1}:sess", &["x"]),
        ("SET", "{sh:a/b}:cur", &["1"]),
        ("SET", "request:1", &["x"]),
        ("SET", "strange", &["x"]),
    ] {
        cluster.redis.query::<::redis::Value>(&[&[command, &key(rest)], value].concat());
    }
    let (good, text) = ask(&store, &["fsck"]);
    assert!(!good && text.contains("11 keys that nobody has"), "{text}");
    for rest in [
        "{ghost}:queue: the Session",
        "{lost}:s: it is of the node ghost.1",
        "{late}:s: its time was over",
        "request:1: it does not expire",
    ] {
        assert!(text.contains(&key(rest)), "{rest} is not in\n{text}");
    }
    assert!(text.contains("1 keys with our prefix that this version does not know") && text.contains("  mqttd:strange"), "{text}");
}

#[test]
fn a_redis_cluster_is_looked_at_as_a_whole() {
    let Some(redis) = Deployment::start(Kind::Cluster) else { return };
    let cluster = Cluster::deployed(redis, 2, &[("MQTTD_PROTOCOL__SYS_INTERVAL_S", "1")]);
    let store = cluster.redis.url();
    let clients: Vec<_> = (0..20).map(|number| cluster.durable(number % 2, V5, &unique("c"))).collect();
    let text = sessions(&store);
    assert!(clients.iter().all(|client| text.contains(&client.id)), "{text}");
    let (good, text) = ask(&store, &["fsck"]);
    assert!(good && text.contains("20 Sessions") && text.contains("clean"), "{text}");
    // The nodes count them too, wherever they are.
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe("$SYS/broker/clients/total", 0);
    until("all are counted", || match watcher.came_within(PATIENCE) {
        Came::Packet(Packet::Publish(came)) => came.payload == "21",
        other => watcher.fail("how many there are", &other),
    });
}

/// Hundreds of Sessions of all kinds come, subscribe, publish and go, a node dies, all expires: Redis holds what it held before.
#[test]
fn a_soak_leaves_nothing() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let (before, store) = (cluster.keys(), cluster.redis.url());
    let mut publisher = cluster.client(2, V5).connect();
    let mut held = Vec::new();
    for number in 0..SESSIONS {
        let (node, topic) = (number % 3, format!("soak/{}", number % 7));
        let connecting = match number % 4 {
            0 => cluster.client(node, V5).resume().expiry(1),
            1 => cluster.client(node, V5),
            2 => cluster.client(node, V3_1_1).will(message(&topic, "will").qos(1)),
            _ => cluster.client(node, V5).expiry(3).will_after(1, message(&topic, "will").qos(2)),
        };
        let mut client = connecting.connect();
        client.subscribe(&topic, 2);
        if number % 5 == 0 {
            client.subscribe("$share/g/soak/+", 1);
        }
        publisher.publish(message(&topic, format!("{number}")).qos(1 + (number % 2) as u8));
        match number / 4 % 3 {
            0 => client.send_hex("e0 00"), // it may get messages all the same
            1 => client.cut(),
            _ => held.push(client),
        }
    }
    let (good, text) = ask(&store, &["fsck"]);
    println!("in the middle of it: {text}");
    assert!(good, "{text}");
    cluster.node(0).kill();
    drop(held);
    publisher.disconnect();
    cluster.until_buried(2);
    let is_left = |key: &String| !before.contains(key) && !is_of_the_cluster(key) || key.contains("{n:n0");
    let mut last = Vec::new();
    until("nothing is left", || {
        last = cluster.keys();
        last.retain(is_left);
        last.is_empty()
    });
    let (good, text) = ask(&store, &["fsck"]);
    println!("at the end of it: {text}");
    assert!(good && text.contains(" 0 Sessions"), "{text}");
}
