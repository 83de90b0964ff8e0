//! Two nodes on Redis as it is deployed: behind Sentinels, as a Cluster. Servers die and slots move under load.

use mqttd_tests::cluster::{Cluster, LEASE, until};
use mqttd_tests::deployment::{Deployment, Kind as Deployed};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::load::{Publisher, Subscriber, start};
use super::outages::back;
use super::publish_all;

/// What is acknowledged is on a replica too.
const REPLICATED: &[(&str, &str)] = &[("MQTTD_STORE__DURABILITY", "replicated")];

/// A day between two nodes, in short: all that goes from one to the other.
pub(super) fn everything_crosses(cluster: &Cluster<Deployment>) {
    for version in VERSIONS {
        let topic = unique("t");
        let mut publisher = cluster.client(0, version).connect();
        let mut live = cluster.client(1, version).connect();
        let id = unique("c");
        let mut durable = cluster.durable(1, version, &id);
        for subscriber in [&mut live, &mut durable] {
            subscriber.subscribe(&format!("{topic}/#"), 2);
        }
        for level in [0, 1, 2] {
            publisher.publish(message(&format!("{topic}/a"), "x").qos(level));
            for subscriber in [&mut live, &mut durable] {
                subscriber.receive(message(&format!("{topic}/a"), "x").qos(level));
            }
        }
        // The Session goes to the other node, with what was queued meanwhile.
        durable.fence();
        drop(durable);
        publish_all(&mut publisher, &format!("{topic}/b"), 0..20, 1);
        let mut durable = cluster.durable(0, version, &id);
        for number in 0..20 {
            durable.receive(message(&format!("{topic}/b"), format!("{number}")).qos(1));
        }
        // Retained here, and there.
        publisher.publish(message(&format!("{topic}/r"), "kept").qos(1).retain());
        let mut late = cluster.client(1, version).connect();
        late.subscribe(&format!("{topic}/r"), 1);
        late.receive(message(&format!("{topic}/r"), "kept").qos(1).retain());
        publisher.publish(message(&format!("{topic}/r"), "").qos(1).retain());
        // A will, and a take-over.
        let dying = cluster.client(0, version).will(message(&format!("{topic}/w"), "dead").qos(1)).connect();
        dying.cut();
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "dead") {
            let publish = durable.next_publish();
            durable.acknowledge(publish.qos, publish.packet_id.map_or(0, u16::from));
            seen.push(String::from_utf8(publish.payload.to_vec()).unwrap());
        }
        let mut again = cluster.durable(1, version, &id);
        publisher.publish(message(&format!("{topic}/z"), "last").qos(2));
        again.receive(message(&format!("{topic}/z"), "last").qos(2));
    }
}

#[test]
fn everything_crosses_on_sentinels() {
    let Some(redis) = Deployment::start(Deployed::Sentinel) else { return };
    everything_crosses(&Cluster::deployed(redis, 2, &[]));
}

#[test]
fn everything_crosses_on_a_redis_cluster() {
    let Some(redis) = Deployment::start(Deployed::Cluster) else { return };
    everything_crosses(&Cluster::deployed(redis, 2, &[]));
}

/// Publishers on both nodes and a subscriber that lasts; `work` is done when some has come. Nothing that was acknowledged is lost, and
/// nothing is out of order. What was on its way may come twice.
fn under_load(cluster: &mut Cluster<Deployment>, work: impl FnOnce(&mut Deployment)) {
    let (root, id, count) = (unique("t"), unique("c"), 400);
    let mut client = cluster.durable(1, V5, &id);
    client.subscribe(&format!("{root}/#"), 2);
    let rows = [(V3_1_1, 1), (V3_1_1, 2), (V5, 1), (V5, 2)];
    let nodes = [cluster.address(0), cluster.address(1)];
    let make = |(row, (version, level))| Publisher::new(version, &nodes, &format!("{root}/{row}"), level, count);
    let outcome = start(rows.into_iter().enumerate().map(make).collect());
    let (mut subscriber, mut work) = (Subscriber::default(), Some(work));
    while !subscriber.checker.is_complete(rows.len(), count) {
        if !subscriber.take(&mut client) {
            client = back(cluster, 1, V5, &id);
        }
        if subscriber.checker.total() > 100
            && let Some(work) = work.take()
        {
            work(&mut cluster.redis);
        }
    }
    let done: Vec<_> = outcome.into_iter().collect();
    assert_eq!(done.len(), rows.len(), "a publisher has failed");
    let resumptions: usize = done.iter().map(|publisher| publisher.resumptions).sum();
    println!("repeated: {:?}, connections begun again: {resumptions}", subscriber.checker.repeated);
    assert!(cluster.node(0).runs() && cluster.node(1).runs());
}

#[test]
fn the_primary_behind_sentinels_dies_under_load() {
    let Some(redis) = Deployment::start(Deployed::Sentinel) else { return };
    let mut cluster = Cluster::deployed(redis, 2, REPLICATED);
    under_load(&mut cluster, |redis| {
        redis.servers[0].kill();
        until("the replica is the primary", || redis.sentinels_say(1));
        // It confirms again as soon as it has a replica of its own; the Sentinels make the old primary one. Any sooner, and the old one
        // would be the primary again, with nothing in it: it has no persistence.
        redis.servers[0].revive();
    });
}

#[test]
fn a_primary_of_a_redis_cluster_dies_under_load() {
    let Some(redis) = Deployment::cluster(1) else { return };
    let mut cluster = Cluster::deployed(redis, 2, REPLICATED);
    under_load(&mut cluster, |redis| {
        for at in [0, 1, 2] {
            redis.servers[at].kill();
            until("its replica is a primary", || redis.servers[at + 3].query::<String>(&["INFO", "replication"]).contains("role:master"));
            redis.servers[at].revive();
            until("it is a replica", || redis.servers[at + 3].query::<String>(&["INFO", "replication"]).contains("state=online"));
        }
    });
}

#[test]
fn all_slots_of_the_nodes_move_under_load() {
    let Some(redis) = Deployment::start(Deployed::Cluster) else { return };
    let mut cluster = Cluster::deployed(redis, 2, &[]);
    under_load(&mut cluster, |redis| {
        for turn in 1..3 {
            for slot in redis.used_slots() {
                redis.move_slot(slot, (redis.owner(slot) + turn) % 3);
            }
        }
    });
}

/// Redis says nothing for longer than any lease: nobody is taken for dead when it speaks again.
fn redis_pauses(pause: std::time::Duration, lease_s: &str) {
    let Some(redis) = Redis::start() else { return };
    let mut cluster = Cluster::on(redis, 2, &[("MQTTD_CLUSTER__LEASE_S", lease_s)]);
    let topic = unique("t");
    let id = unique("c");
    let mut watcher = cluster.durable(1, V5, &id);
    watcher.subscribe(&topic, 1);
    let ids = [0, 1].map(|node| (node, unique("w")));
    let wills = ids.each_ref().map(|(node, id)| {
        let client = cluster.client(*node, V5).id(id).expiry(600).will_after(120, message(&topic, "spurious"));
        client.connect()
    });
    cluster.redis.pause();
    std::thread::park_timeout(pause);
    cluster.redis.resume();
    let mut watcher = back(&cluster, 1, V5, &id);
    cluster.pass(0, LEASE.as_secs() as u32 * 3);
    assert!(cluster.node(0).runs() && cluster.node(1).runs());
    for node in [0, 1] {
        assert!(!cluster.node(node).has_said("a node is dead"), "node {node} took one for dead");
    }
    assert_eq!(cluster.redis.query::<usize>(&["ZCARD", "mqttd:{nodes}:hb"]), 2);
    watcher.expect_nothing();
    drop(wills);
}

#[test]
fn a_pause_of_redis_kills_nobody() {
    redis_pauses(LEASE * 3, "2");
}

/// With the lease as it is by default. Half a minute long, so it is asked for by name.
#[test]
#[ignore = "half a minute: tests/run soak"]
fn a_pause_of_redis_of_twenty_seconds_kills_nobody() {
    redis_pauses(std::time::Duration::from_secs(20), "10");
}
