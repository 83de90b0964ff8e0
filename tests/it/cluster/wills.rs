//! Wills of clients whose node died.

use mqttd_tests::cluster::{Cluster, PATIENCE};
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
