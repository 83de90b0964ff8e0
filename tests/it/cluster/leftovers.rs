//! When all has ended, Redis holds what it held before.

use mqttd_tests::cluster::{Cluster, PREFIX, until};
use mqttd_tests::*;

use super::publish_all;

/// Everything that leaves a trace, on both nodes, and its end.
#[track_caller]
fn live_and_end(cluster: &Cluster) {
    let mut publisher = cluster.client(0, V5).connect();
    let ids: Vec<_> = VERSIONS.iter().map(|version| (*version, unique("c"))).collect();
    for (version, id) in &ids {
        let topic = unique("t");
        let mut client = cluster.durable(0, *version, id);
        client.subscribe(&topic, 2);
        client.subscribe(&format!("{topic}/+"), 1);
        client.subscribe(&format!("$share/group/{topic}"), 1);
        publish_all(&mut publisher, &topic, 0..10, 2);
        publisher.publish(message(&topic, "kept").qos(1).retain());
        client.send(message(&topic, "not released").qos(2).id(9));
        client.fence();
        let mut client = cluster.durable(1, *version, id);
        client.fence();
        publisher.publish(message(&topic, "").qos(1).retain());
        client.cut();
    }
    let mut live = cluster.client(1, V5).will(message(&unique("t"), "gone").qos(1)).connect();
    live.subscribe("live/#", 1);
    live.subscribe("$share/group/live/#", 1);
    publish_all(&mut publisher, "live/a", 0..10, 1);
    live.fence();
    live.cut();
    for (version, id) in ids {
        // The one that ends a Session of 3.1.1 is a clean one.
        cluster.client(0, version).id(&id).connect().disconnect();
    }
    let brief = cluster.client(0, V5).resume().expiry(1).connect();
    brief.disconnect();
    publisher.disconnect();
}

/// What a cluster keeps for itself: its nodes, the log of routes, and for a minute who has ended.
pub(super) fn is_of_the_cluster(key: &str) -> bool {
    let key = key.trim_start_matches(PREFIX).trim_start_matches(':');
    let kept = ["log", "ver", "sessions", "nodes", "sessions-ended", "nodes-ended"];
    key.starts_with("{nodes}:") || key.starts_with("{n:") || key.strip_prefix("{routes}:").is_some_and(|word| kept.contains(&word))
}

#[test]
fn nothing_is_left_in_redis() {
    let Some(cluster) = Cluster::start(2) else { return };
    let before = cluster.keys();
    let left = || cluster.keys().into_iter().filter(|key| !before.contains(key) && !is_of_the_cluster(key)).collect::<Vec<_>>();
    live_and_end(&cluster);
    cluster.pass(1, 2);
    let mut last = Vec::new();
    until("nothing is left", || {
        let now = left();
        if now != last {
            println!("left: {now:#?}");
            last = now;
        }
        last.is_empty()
    });
}

/// Nor when a node died in the middle of it.
#[test]
fn nothing_is_left_of_a_dead_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let before = cluster.keys();
    let topic = unique("t");
    let mut clients: Vec<_> =
        (0..5).map(|_| cluster.client(0, V5).resume().expiry(1).will(message(&topic, "dead").qos(1)).connect()).collect();
    clients.extend((0..5).map(|_| cluster.client(0, V5).connect()));
    for client in &mut clients {
        client.subscribe(&topic, 1);
        client.subscribe(&format!("$share/group/{topic}"), 1);
    }
    publish_all(&mut cluster.client(1, V5).connect(), &topic, 0..10, 1);
    cluster.bury(0);
    let dead = |key: &String| !before.contains(key) && !is_of_the_cluster(key) || key.contains("{n:n0");
    until("nothing is left", || cluster.keys().iter().filter(|key| dead(key)).map(|key| println!("left: {key}")).count() == 0);
}
