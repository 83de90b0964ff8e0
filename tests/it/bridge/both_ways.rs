//! Out of the cluster and into it, at every node, and nothing twice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use mqttd_tests::cluster::{Cluster, command, until};
use mqttd_tests::*;

use super::kit::{Listener, ON, bridged, channel, keeper, receives, say, until_heard};

/// Whoever subscribes in Redis sees what is published at any node, at any QoS and version: the payload, and once.
#[test]
fn redis_hears_what_is_published_at_every_node() {
    let Some(cluster) = bridged(3, &[]) else { return };
    let root = unique("t");
    let topic = format!("{root}/a b/ü");
    let (exact, pattern) = (Listener::new(&cluster.redis, &topic), Listener::new(&cluster.redis, &format!("{root}/*")));
    let mut subscriber = cluster.client(0, V5).connect();
    subscriber.subscribe(&format!("{root}/#"), 2);
    for node in 0..3 {
        for version in VERSIONS {
            let mut publisher = cluster.client(node, version).connect();
            for level in [0, 1, 2] {
                let payload = format!("{node} {version:?} {level}");
                publisher.publish(message(&topic, &payload).qos(level));
                exact.hears(&topic, &payload);
                pattern.hears(&topic, &payload);
                subscriber.receive(message(&topic, &payload).qos(level));
            }
        }
    }
    let mut publisher = cluster.client(1, V5).connect();
    publisher.publish(message(&topic, [0, 255, 13, 10]).qos(1));
    exact.hears(&topic, [0, 255, 13, 10]);
    subscriber.receive(message(&topic, [0, 255, 13, 10]).qos(1));
    // A Will is published like everything else; and that is all that anybody gets.
    cluster.client(2, V5).will(message(&topic, "dead")).connect().cut();
    exact.hears(&topic, "dead");
    subscriber.receive(message(&topic, "dead"));
    say(&cluster.redis, &topic, "last");
    exact.hears(&topic, "last");
    receives(&mut subscriber, &topic, "last");
}

/// Whoever publishes in Redis reaches every subscriber once, at every node; a share group at one member.
#[test]
fn every_subscriber_gets_what_redis_publishes_once() {
    let Some(cluster) = bridged(3, &[]) else { return };
    let root = unique("t");
    let topic = format!("{root}/a");
    let mut subscribers = Vec::new();
    for node in 0..3 {
        for version in VERSIONS {
            let mut live = cluster.client(node, version).connect();
            live.subscribe(&topic, 2);
            let mut durable = cluster.durable(node, version, &unique("c"));
            durable.subscribe(&format!("{root}/+"), 1);
            subscribers.extend([live, durable]);
        }
    }
    for number in 0..20 {
        say(&cluster.redis, &topic, &number.to_string());
        for subscriber in &mut subscribers {
            receives(subscriber, &topic, &number.to_string());
        }
    }
    let shared = format!("{root}/shared");
    let mut members: Vec<_> = (0..3).map(|node| cluster.client(node, V5).connect()).collect();
    members.iter_mut().for_each(|member| member.subscribe(&format!("$share/g/{shared}"), 1));
    for number in 0..60 {
        say(&cluster.redis, &shared, &number.to_string());
    }
    let (mut came, mut parts) = (BTreeMap::new(), vec![0; 3]);
    until("every message has come to a member", || {
        for (at, member) in members.iter_mut().enumerate() {
            member.fence();
            while let Some(publish) = member.take_early_publish() {
                assert_eq!(came.insert(publish.payload.clone(), at), None, "{:?} came to two members", publish.payload);
                parts[at] += 1;
            }
        }
        came.len() == 60
    });
    assert!(parts.iter().all(|part| *part > 0), "{parts:?}");
    // What the bridge keeps in Redis is known, and none of it stays.
    let fsck = command().args(["fsck", "--store", &cluster.redis.url()]).env("MQTTD_CONFIG", "/dev/null").output().expect("mqttd runs");
    let said = String::from_utf8_lossy(&fsck.stdout).into_owned();
    assert!(fsck.status.success() && !said.contains("does not know"), "{said}");
}

/// Publishers of both worlds at once: what a node sent to Redis is not taken for a message of somebody else.
#[test]
fn what_the_cluster_sent_does_not_come_back() {
    const EACH: usize = 300;
    let Some(cluster) = bridged(3, &[]) else { return };
    let topic = unique("t");
    let mut subscribers: Vec<_> = (0..3).map(|node| cluster.client(node, V5).connect()).collect();
    subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe(&topic, 1));
    let listener = Listener::new(&cluster.redis, &topic);
    std::thread::scope(|scope| {
        for node in 0..3 {
            let mut publisher = cluster.client(node, V5).connect();
            let topic = &topic;
            scope.spawn(move || {
                for number in 0..EACH {
                    publisher.publish(message(topic, format!("{node} {number}")).qos((number % 2) as u8));
                }
            });
        }
        // The same payloads too: only where a message comes from tells them apart.
        for number in 0..EACH {
            say(&cluster.redis, &topic, &format!("0 {number}"));
        }
    });
    let mut came = [0; 3];
    for (subscriber, came) in subscribers.iter_mut().zip(&mut came) {
        let mut times = BTreeMap::<_, usize>::new();
        while times.values().sum::<usize>() < 4 * EACH {
            let publish = subscriber.next_publish();
            subscriber.acknowledge(publish.qos, publish.packet_id.map_or(0, u16::from));
            *times.entry(publish.payload).or_default() += 1;
        }
        assert!(times.iter().all(|(payload, times)| *times == if payload.starts_with(b"0 ") { 2 } else { 1 }), "{times:?}");
        *came = times.len();
    }
    assert_eq!(came, [3 * EACH; 3]);
    let mut heard = 0;
    until("Redis has heard all of it", || {
        heard += listener.heard();
        heard == 4 * EACH
    });
    // An echo would come before this.
    say(&cluster.redis, &topic, "last");
    listener.hears(&topic, "last");
    for subscriber in &mut subscribers {
        receives(subscriber, &topic, "last");
        subscriber.expect_nothing();
    }
}

/// The tool that everybody has.
#[test]
fn redis_cli_is_a_client_like_any_other() {
    let Some(cluster) = bridged(2, &[]) else { return };
    let mut cli = Command::new("redis-cli")
        .args(["-p", &cluster.redis.port().to_string(), "PSUBSCRIBE", "mqttd:topic:*"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is on the PATH (apt-get install redis-tools)");
    let mut said = BufReader::new(cli.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("mqttd:topic:*")), "it has subscribed");
    let topic = unique("t");
    let mut client = cluster.client(1, V3_1_1).connect();
    client.subscribe(&topic, 1);
    client.publish(message(&topic, "of MQTT").qos(1));
    assert!(said.any(|line| line.contains(&channel(&topic))) && said.any(|line| line.contains("of MQTT")));
    client.receive(message(&topic, "of MQTT").qos(1));
    let port = cluster.redis.port().to_string();
    let sent = Command::new("redis-cli").args(["-p", &port, "PUBLISH", &channel(&topic), "of Redis"]).output().expect("redis-cli runs");
    assert!(sent.status.success());
    receives(&mut client, &topic, "of Redis");
    let _ = cli.kill();
    cli.wait().expect("a child can be waited for");
}

/// A node without a bridge sends nothing to Redis; its subscribers get what Redis publishes, by way of one with a bridge, and nothing twice.
#[test]
fn a_bridge_at_one_node_only() {
    let Some(cluster) = Cluster::of(&[&[ON], &[]]) else { return };
    until_heard(&cluster.redis);
    let topic = unique("t");
    let listener = Listener::new(&cluster.redis, &topic);
    let mut clients = [0, 1].map(|node| cluster.client(node, V5).connect());
    clients.iter_mut().for_each(|client| client.subscribe(&topic, 1));
    clients[1].publish(message(&topic, "at the other").qos(1));
    clients[0].publish(message(&topic, "at the one").qos(1));
    for client in &mut clients {
        client.receive(message(&topic, "at the other").qos(1));
        client.receive(message(&topic, "at the one").qos(1));
    }
    listener.hears(&topic, "at the one");
    say(&cluster.redis, &topic, "of Redis");
    listener.hears(&topic, "of Redis");
    for client in &mut clients {
        receives(client, &topic, "of Redis");
        client.expect_nothing();
    }
}

/// Nothing of it is there unless it is asked for.
#[test]
fn it_is_off_unless_it_is_on() {
    let Some(cluster) = Cluster::start(1) else { return };
    let topic = unique("t");
    let listener = Listener::new(&cluster.redis, &topic);
    let mut client = cluster.client(0, V5).connect();
    client.subscribe(&topic, 1);
    client.publish(message(&topic, "inside").qos(1));
    client.receive(message(&topic, "inside").qos(1));
    say(&cluster.redis, &topic, "outside");
    listener.hears(&topic, "outside");
    client.expect_nothing();
    assert!(keeper(&cluster.redis).is_none());
    assert_eq!(cluster.redis.query::<usize>(&["PUBSUB", "NUMPAT"]), 0);
}
