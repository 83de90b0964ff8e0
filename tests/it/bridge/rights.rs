//! What may be configured, and what the user of Redis has to be allowed.

use std::path::Path;

use mqttd::store::redis::link::acl;
use mqttd_tests::cluster::{Cluster, command};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::kit::{Listener, ON, receives, say, until_heard};

/// What `mqttd check` says with these variables.
fn check(variables: &[(&str, &str)]) -> (bool, String) {
    let output = command().arg("check").env("MQTTD_CONFIG", "/dev/null").envs(variables.iter().copied()).output().expect("mqttd runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout))
}

/// Variables, whether they may be, and what is said of them.
type Row<'a> = (&'a [(&'a str, &'a str)], bool, &'a str);

#[test]
fn a_bridge_that_cannot_be_is_said_so() {
    let store = ("MQTTD_STORE__URL", "redis://127.0.0.1:1");
    let prefix = |prefix: &'static str| ("MQTTD_BRIDGE__PREFIX", prefix);
    let rows: &[Row] = &[
        (&[ON, store], true, "mqttd:topic:"),
        (&[ON], false, "bridge.enabled wants the Store on Redis"),
        (&[ON, store, prefix("mqttd:")], false, "bridge.prefix = \"mqttd:\": topics would be channels of the nodes themselves"),
        (&[ON, store, prefix("mq")], false, "use one like `mqttd:topic:`"),
        (&[prefix("mq")], true, "mq"),
        (&[ON, store, ("MQTTD_BRIDGE__IN_FILTERS", "[\"a/#/b\"]")], false, "in_filters"),
        (&[ON, store, ("MQTTD_BRIDGE__QOS", "2")], false, "qos"),
    ];
    for (variables, good, expected) in rows {
        let (is_good, said) = check(variables);
        assert!(is_good == *good && said.contains(expected), "{variables:?}: {said}");
    }
}

/// A user of Redis with the rules of the README, and no more, is enough for both ways; one without those of the bridge is told what it lacks.
#[test]
fn a_user_with_few_rights_bridges() {
    let Some(redis) = Redis::start() else { return };
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("the README");
    assert!(readme.contains("`&mqttd:topic:* +psubscribe`"));
    let rules = acl::rules("mqttd", Some("mqttd:topic:*"));
    assert!(rules.contains(" &mqttd:topic:* ") && rules.contains(" +psubscribe "), "{rules}");
    for (name, rules) in [("few", &rules), ("fewer", &acl::rules("mqttd", None))] {
        let set: Vec<&str> = ["ACL", "SETUSER", name, "on", ">secret"].into_iter().chain(rules.split(' ')).collect();
        redis.query::<()>(&set);
    }
    let user = |name: &'static str| [ON, ("MQTTD_STORE__USER", name), ("MQTTD_STORE__PASSWORD", "secret")];
    let refused = command()
        .args(["--listen", "tcp://127.0.0.1:0", "--admin", "off", "--store", &redis.url()])
        .env("MQTTD_CONFIG", "/dev/null")
        .envs(user("fewer"))
        .output()
        .expect("mqttd runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("psubscribe") && said.contains("&mqttd:topic:*"), "{said}");

    let cluster = Cluster::on(redis, 2, &user("few"));
    until_heard(&cluster.redis);
    let topic = unique("t");
    let listener = Listener::new(&cluster.redis, &topic);
    let mut client = cluster.client(0, V5).connect();
    client.subscribe(&topic, 0);
    say(&cluster.redis, &topic, "of Redis");
    receives(&mut client, &topic, "of Redis");
    client.publish(message(&topic, "of MQTT"));
    client.receive(message(&topic, "of MQTT"));
    listener.hears(&topic, "of Redis");
    listener.hears(&topic, "of MQTT");
}
