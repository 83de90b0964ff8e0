//! Wills of clients whose node died, or whose Session Redis has forgotten.

use std::collections::HashMap;

use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::*;

/// `[MQTT-3.1.2-8]` Whoever dies with its node has its Will published: once, at its QoS, retained if it said so.
#[test]
fn the_death_of_a_node_publishes_wills_once() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let mut watchers = [cluster.client(1, V5).connect(), cluster.client(2, V3_1_1).connect()];
    let rows = VERSIONS.into_iter().flat_map(|version| [0, 1, 2].map(|level| (version, level, level == 1, level != 0)));
    let mut wills = Vec::new();
    for (version, level, retain, durable) in rows {
        let topic = unique("t");
        watchers.iter_mut().for_each(|watcher| watcher.subscribe(&topic, 2));
        let will = message(&topic, "dead").qos(level);
        let connecting = cluster.client(0, version).will(if retain { will.clone().retain() } else { will.clone() });
        wills.push((will, if durable { connecting.durable() } else { connecting }.connect(), retain));
    }
    let mut left = cluster.client(0, V5).will(message(&wills[0].0.publish().topic, "left")).connect();
    left.send_hex("e0 00");
    left.expect_closed();
    cluster.bury(0);
    for watcher in &mut watchers {
        for _ in 0..wills.len() {
            let came = watcher.next_publish();
            assert!(
                wills
                    .iter()
                    .any(|(will, ..)| will.publish().topic == came.topic && will.publish().qos == came.qos && came.payload == "dead")
            );
            watcher.acknowledge(came.qos, came.packet_id.map_or(0, u16::from));
        }
        watcher.expect_nothing();
    }
    for (will, _, retained) in wills {
        let mut late = cluster.client(1, V5).connect();
        late.subscribe(&will.publish().topic, 2);
        if retained {
            late.receive(will.retain());
        }
        late.expect_nothing();
    }
}

/// `[MQTT-3.1.3-9]` A Session that lives on elsewhere when its old node dies has no Will published; nor has one that is back in time.
#[test]
fn a_session_that_moved_has_no_will_published() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let topic = unique("t");
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe(&topic, 1);
    let will = |from: usize, name: &str| cluster.client(from, V5).id(name).durable().will_after(3600, message(&topic, name));
    let (moved, back, dead) = (unique("moved"), unique("back"), unique("dead"));
    let first = will(0, &moved).connect();
    let second = cluster.client(1, V5).id(&moved).durable().connect();
    first.cut();
    let _back = will(0, &back).connect();
    let _dead = cluster.client(0, V5).id(&dead).will(message(&topic, &dead).qos(1)).connect();
    let (to, again) = (cluster.address(2), will(2, &back));
    cluster.node(0).kill();
    let mut again = again.connect();
    assert!(again.session_present(), "at {to}");
    cluster.until_buried(2);
    watcher.receive(message(&topic, &dead).qos(1));
    watcher.expect_nothing_from(&mut again);
    drop(second);
}

/// `[MQTT-3.1.3-9]` A Will with a delay waits from the death of its node on, and is published by another node.
#[test]
fn a_delayed_will_outlives_its_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let mut watcher = cluster.client(1, V5).connect();
    let topics = [unique("cut"), unique("killed")];
    topics.iter().for_each(|topic| watcher.subscribe(topic, 1));
    let will = |topic: &str| cluster.client(0, V5).durable().will_after(2, message(topic, "late").qos(1)).connect();
    let (cut, _killed) = (will(&topics[0]), will(&topics[1]));
    cut.cut();
    let mut fence = cluster.client(0, V5).connect();
    fence.fence();
    cluster.bury(0);
    for _ in 0..2 {
        let came = watcher.came_within(PATIENCE);
        let client::Came::Packet(Packet::Publish(came)) = came else { watcher.fail("a Will", &came) };
        assert!(topics.iter().any(|topic| *topic == *came.topic) && came.payload == "late");
        watcher.send(puback(came.packet_id.expect("QoS 1").get()));
    }
    watcher.expect_nothing();
}

/// Whether a Will with RETAIN was published: its topic has a message.
fn is_retained(cluster: &Cluster, topic: &str) -> bool {
    cluster.redis.try_query(&["HEXISTS", "mqttd:{ret:0}:h", topic]).unwrap_or(false)
}

/// Everything is gone in one step, and then the retained messages cannot be written.
fn flush_and_spoil(cluster: &Cluster) {
    let mut steps = ::redis::pipe();
    steps.atomic().cmd("FLUSHALL").cmd("SET").arg("mqttd:{ret:0}:h").arg("no hash");
    let client = ::redis::Client::open(cluster.redis.url()).expect("its address");
    steps.exec(&mut client.get_connection().expect("Redis accepts connections")).expect("done");
}

/// `[MQTT-3.1.2-8]` FLUSHALL forgets the Wills too: the node has them, and publishes each as soon as it can, however often that goes wrong.
#[test]
fn wills_outlive_a_flush() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let topics = ["connected", "cut"].map(unique);
    let will = |topic: &str| cluster.client(0, V5).durable().will(message(topic, "dead").qos(1).retain()).connect();
    let (_connected, cut) = (will(&topics[0]), will(&topics[1]));
    // Nobody can give a Session back.
    let listed = cluster.redis.query::<Vec<HashMap<String, ::redis::Value>>>(&["FUNCTION", "LIST", "WITHCODE"]);
    let codes = listed.into_iter().filter_map(|mut library| ::redis::from_redis_value::<String>(library.remove("library_code")?).ok());
    let library = codes.into_iter().find(|code| code.contains("register('close', close,")).expect("the library of the nodes");
    let broken = library.replace("register('close', close,", "register('close', function() error('not now') end,");
    cluster.redis.query::<()>(&["FUNCTION", "LOAD", "REPLACE", &broken]);
    cut.cut();
    until("the Session cannot be given back", || cluster.node(0).has_said("is given back when the Store answers again"));
    // The node begins anew, with its own functions; and the Will cannot be published either.
    flush_and_spoil(&cluster);
    until("the node begins anew", || cluster.node(0).has_said("is a member of the cluster"));
    until("the Will cannot be published", || cluster.node(0).has_said("WRONGTYPE"));
    assert!(topics.iter().all(|topic| !is_retained(&cluster, topic)));
    cluster.redis.query::<()>(&["DEL", "mqttd:{ret:0}:h"]);
    for topic in &topics {
        until("the Will is published", || is_retained(&cluster, topic));
    }
}

/// `[MQTT-3.1.2-8]` A client that goes between the flush and the moment in which its node hears of it.
#[test]
fn a_will_of_the_moment_of_a_flush() {
    for version in VERSIONS {
        let Some(mut cluster) = Cluster::start(1) else { return };
        let topics = ["live", "durable"].map(unique);
        let live = cluster.client(0, version).will(message(&topics[0], "dead").retain()).connect();
        let durable = cluster.client(0, version).durable().will(message(&topics[1], "dead").qos(1).retain()).connect();
        cluster.node(0).pause();
        cluster.redis.query::<()>(&["FLUSHALL"]);
        live.cut();
        durable.cut();
        cluster.node(0).resume();
        for topic in &topics {
            until("the Will is published", || is_retained(&cluster, topic));
        }
    }
}
