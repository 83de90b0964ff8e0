//! Shared Subscriptions whose members are on several nodes.

use std::collections::BTreeMap;

use mqttd_tests::cluster::Cluster;
use mqttd_tests::*;

use super::publish_all;

/// What has come to a member by now, unacknowledged: payloads with their Packet Identifiers.
#[track_caller]
fn taken(member: &mut Client) -> Vec<(String, u16)> {
    member.fence();
    let mut taken = Vec::new();
    while let Some(came) = member.take_early_publish() {
        taken.push((String::from_utf8(came.payload.to_vec()).expect("a number"), came.packet_id.map_or(0, u16::from)));
    }
    taken
}

/// Adds what has come to all members until there are so many messages; none may have come before.
#[track_caller]
fn collect(members: &mut [Client], level: u8, count: usize) -> Vec<usize> {
    let (mut seen, mut counts) = (BTreeMap::new(), vec![0; members.len()]);
    cluster::until("every message has come to a member", || {
        for (index, member) in members.iter_mut().enumerate() {
            for (payload, id) in taken(member) {
                if level > 0 {
                    member.send(puback(id));
                }
                counts[index] += 1;
                assert_eq!(seen.insert(payload.clone(), index), None, "{payload} came to two members");
            }
        }
        seen.len() == count
    });
    counts
}

/// `[MQTT-4.8.2-1]` `[MQTT-4.8.2-2]` Each message comes to one member of all, wherever it was published, and every member has a part.
#[test]
fn a_group_spans_nodes() {
    let Some(cluster) = Cluster::start(2) else { return };
    for (version, durable) in [(V3_1_1, false), (V3_1_1, true), (V5, false), (V5, true)] {
        for level in [0, 1] {
            let topic = unique("t");
            let member = |node: usize| {
                let connecting = cluster.client(node, version);
                if durable { connecting.durable() } else { connecting }.connect()
            };
            let mut members = [member(0), member(1), member(0), member(1)];
            members.iter_mut().for_each(|member| member.subscribe(&format!("$share/group/{topic}"), level));
            for node in [0, 1] {
                let mut publisher = cluster.client(node, version).connect();
                publish_all(&mut publisher, &topic, node * 40..node * 40 + 40, level);
            }
            let counts = collect(&mut members, level, 80);
            // Of live members, and of messages that are not queued, a node knows where they are wanted.
            assert!(counts.iter().all(|&count| count >= 5), "{version:?}, durable {durable}, QoS {level}: {counts:?}");
        }
    }
}

/// A member's node dies: what it had not acknowledged is its own still, and once the death is known the others get what is new.
#[test]
fn a_group_survives_the_death_of_a_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let (topic, id) = (unique("t"), unique("c"));
    let filter = format!("$share/group/{topic}");
    let (mut first, mut second) = (cluster.durable(0, V5, &id), cluster.client(1, V5).durable().connect());
    first.subscribe(&filter, 1);
    second.subscribe(&filter, 1);
    let mut publisher = cluster.client(1, V5).connect();
    publish_all(&mut publisher, &topic, 0..20, 1);
    let (unacknowledged, mut seen) = (taken(&mut first), taken(&mut second));
    cluster.node(0).kill();
    publish_all(&mut publisher, &topic, 20..40, 1);
    cluster.until_buried(1);
    seen.extend(taken(&mut second));
    publish_all(&mut publisher, &topic, 40..60, 1);
    let new: Vec<_> = taken(&mut second).into_iter().map(|(payload, _)| payload).collect();
    assert_eq!(new, (40..60).map(|number| number.to_string()).collect::<Vec<_>>(), "the others get what is new");
    let mut back = cluster.durable(1, V5, &id);
    assert!(back.session_present());
    let came = taken(&mut back);
    assert!(unacknowledged.iter().all(|message| came.contains(message)), "{unacknowledged:?} are not all in {came:?}");
    let mut all: Vec<usize> = seen.into_iter().chain(came).map(|(payload, _)| payload.parse().expect("a number")).collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
}

/// Section 4.8.2: a live member ends with its node, and gets nothing any more.
#[test]
fn a_live_member_ends_with_its_node() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let topic = unique("t");
    let mut members = [cluster.client(0, V5).connect(), cluster.client(1, V5).connect()];
    members.iter_mut().for_each(|member| member.subscribe(&format!("$share/group/{topic}"), 1));
    cluster.bury(0);
    publish_all(&mut cluster.client(1, V5).connect(), &topic, 0..20, 1);
    assert_eq!(collect(&mut members[1..], 1, 20), [20]);
}

/// Section 4.8.2: what a member had not acknowledged when its Session ended, another one gets, also on another node. The Session may end
/// with its connection, or later by itself.
#[test]
fn what_a_member_leaves_goes_to_another_node() {
    let Some(cluster) = Cluster::start(2) else { return };
    for expiry in [0, 1] {
        let topic = unique("t");
        let filter = format!("$share/group/{topic}");
        let mut first = cluster.client(0, V5).resume().expiry(expiry).connect();
        first.subscribe(&filter, 1);
        publish_all(&mut cluster.client(1, V5).connect(), &topic, 0..10, 1);
        let mut count = 0;
        cluster::until("all has come to the only member", || {
            count += taken(&mut first).len();
            count == 10
        });
        let mut second = cluster.client(1, V5).connect();
        second.subscribe(&filter, 1);
        first.cut();
        assert_eq!(collect(&mut [second], 1, 10), [10]);
    }
}

/// `[MQTT-3.1.2-4]` Section 4.8.2: a clean start ends the Session of a member, and what it had not acknowledged goes to another, also on another node.
#[test]
fn what_a_clean_start_ends_goes_to_another_member() {
    let Some(cluster) = Cluster::start(2) else { return };
    for (from, to) in [(0, 0), (0, 1)] {
        let (topic, id) = (unique("t"), unique("c"));
        let filter = format!("$share/group/{topic}");
        let mut first = cluster.durable(0, V5, &id);
        first.subscribe(&filter, 1);
        first.fence();
        first.disconnect();
        publish_all(&mut cluster.client(1, V5).connect(), &topic, 0..10, 1);
        let mut second = cluster.client(1, V5).connect();
        second.subscribe(&filter, 1);
        second.expect_nothing();
        // Half of it was sent once, and not acknowledged.
        if from != to {
            let mut first = cluster.durable(from, V5, &id);
            taken(&mut first);
            first.cut();
        }
        let mut anew = cluster.client(to, V5).id(&id).expiry(60).connect();
        assert!(!anew.session_present());
        assert_eq!(collect(&mut [second], 1, 10), [10]);
        anew.expect_nothing();
    }
}

/// Section 4.8.2: a live member that takes nothing has no more room at last; another one gets what was meant for it.
#[test]
fn what_a_member_has_no_room_for_goes_to_another() {
    let Some(cluster) = Cluster::with(2, &[("MQTTD_LIMITS__MAILBOX_MESSAGES_MAX", "20")]) else { return };
    for publishing in [0, 1] {
        let topic = unique("t");
        let filter = format!("$share/group/{topic}");
        let mut slow = cluster.client(0, V5).receive_maximum(1).connect();
        slow.subscribe(&filter, 1);
        let mut quick = cluster.client(1, V5).connect();
        quick.subscribe(&filter, 1);
        let mut publisher = cluster.client(publishing, V5).connect();
        publish_all(&mut publisher, &topic, 0..200, 1);
        // Twenty and one are all that it can hold, so most of its half has come to the other by now; with its end comes the rest.
        slow.cut();
        assert_eq!(collect(&mut [quick], 1, 200), [200]);
    }
}
