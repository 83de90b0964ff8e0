//! Shared Subscriptions (5.0 section 4.8.2); 3.1.1 clients may use them as well.

use std::collections::BTreeMap;

use mqttd_tests::*;

fn shared(topic: &str) -> String {
    format!("$share/group/{topic}")
}

/// Publishes numbered messages and counts who got how many; every message must reach one member exactly.
#[track_caller]
fn distribute(publisher: &mut Client, members: &mut [Client], topic: &str, level: u8, count: usize) -> Vec<usize> {
    for number in 0..count {
        publisher.publish(message(topic, format!("{number}")).qos(level));
    }
    let mut owners = BTreeMap::new();
    let mut counts = vec![0; members.len()];
    for (index, member) in members.iter_mut().enumerate() {
        member.fence();
        while let Some(came) = member.take_early_publish() {
            if let Some(id) = came.packet_id {
                member.send(puback(id.get()));
            }
            counts[index] += 1;
            let before = owners.insert(came.payload.clone(), index);
            assert_eq!(before, None, "{:?} reached two members", came.payload);
        }
    }
    assert_eq!(owners.len(), count, "messages are missing");
    counts
}

/// `[MQTT-4.8.2-1]` `[MQTT-4.8.2-2]` Each message goes to one member, and every member gets its part.
#[test]
fn each_message_goes_to_one_member() {
    for version in [V3_1_1, V5] {
        for level in [0, 1] {
            let topic = unique("t");
            let mut publisher = client(version).connect();
            let mut members: Vec<_> = (0..3).map(|_| client(version).connect()).collect();
            for member in &mut members {
                member.subscribe(&shared(&topic), level);
            }
            let counts = distribute(&mut publisher, &mut members, &topic, level, 30);
            assert!(counts.iter().all(|&count| count >= 5), "{counts:?}");
        }
    }
}

/// Section 4.8.2: groups are apart, and so are plain subscriptions.
#[test]
fn every_group_gets_its_own_copy() {
    let topic = unique("t");
    let mut publisher = client(V5).connect();
    let mut clients: Vec<_> = (0..3).map(|_| client(V5).connect()).collect();
    clients[0].subscribe(&format!("$share/one/{topic}"), 1);
    clients[1].subscribe(&format!("$share/two/{topic}"), 1);
    clients[2].subscribe(&topic, 1);
    publisher.publish(message(&topic, "x").qos(1));
    for client in &mut clients {
        client.receive(message(&topic, "x").qos(1));
        client.expect_nothing();
    }
}

/// Section 4.8.2: one client may hold both kinds; each gives a copy.
#[test]
fn a_member_may_subscribe_plainly_as_well() {
    let topic = unique("t");
    let (mut publisher, mut subscriber) = pair(V5);
    subscriber.subscribe_as(subscribe_with_id(1, 1, &topic, 0), &[Reason::SUCCESS]);
    subscriber.subscribe_as(subscribe_with_id(2, 2, &shared(&topic), 0), &[Reason::SUCCESS]);
    publisher.publish(message(&topic, "x"));
    let mut ids: Vec<_> = (0..2).map(|_| subscriber.next_publish().properties.map(|properties| properties.subscription_ids)).collect();
    ids.sort();
    assert_eq!(ids, [Some(vec![1]), Some(vec![2])]);
    subscriber.expect_nothing();
}

/// `[MQTT-4.8.2-2]` Wildcards work inside a group.
#[test]
fn a_shared_filter_may_have_wildcards() {
    for version in [V3_1_1, V5] {
        let root = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&shared(&format!("{root}/+/b/#")), 0);
        for topic in ["/a/b", "/x/b/c/d"] {
            publisher.publish(message(&format!("{root}{topic}"), "x"));
            subscriber.expect_publish(message(&format!("{root}{topic}"), "x"));
        }
        publisher.publish(message(&format!("{root}/a/c"), "x"));
        subscriber.expect_nothing();
    }
}

/// `[MQTT-4.8.2-1]` `[MQTT-4.8.2-2]` What a Share Name and its filter may not be.
#[test]
fn bad_shared_filters_end_the_connection() {
    let shares = ["$share/group", "$share/group/", "$share//a", "$share/", "$share/g+/a", "$share/g#/a", "$share/+/a"];
    for (version, filter) in [V3_1_1, V5].into_iter().flat_map(|version| shares.map(|filter| (version, filter))) {
        let mut client = client(version).connect();
        client.send(Packet::Subscribe(Box::new(subscribe(1, &[(filter, 0)]))));
        client.expect_disconnect(Reason::PROTOCOL_ERROR);
    }
}

/// `[MQTT-4.7.1-1]` `[MQTT-4.7.1-2]` A misplaced wildcard behind a Share Name is a filter that is refused, as without one.
#[test]
fn a_misplaced_wildcard_behind_a_share_name_is_refused() {
    for version in [V3_1_1, V5] {
        let mut client = client(version).connect();
        for filter in ["$share/group/a/#/b", "$share/group/a+"] {
            client.send(Packet::Subscribe(Box::new(subscribe(1, &[(filter, 0)]))));
            client.expect_suback(1, &[Reason::TOPIC_FILTER_INVALID]);
        }
    }
}

/// Section 4.8.2: `$shared/…`, or `$share` alone, is a filter like any other.
#[test]
fn what_only_looks_like_a_share_is_a_plain_filter() {
    for topic in [format!("$shared/group/{}", unique("t")), format!("{}/$share/group/x", unique("t"))] {
        let (mut publisher, mut subscriber) = pair(V5);
        subscriber.subscribe(&topic, 0);
        publisher.publish(message(&topic, "x"));
        subscriber.expect_publish(message(&topic, "x"));
    }
}

/// `[MQTT-3.8.3-4]`
#[test]
fn no_local_is_not_for_shared_subscriptions() {
    let mut client = client(V5).connect();
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[(&shared("a"), options(0).no_local())]))));
    client.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// Section 4.8.2: no retained messages for a Shared Subscription.
#[test]
fn retained_messages_are_not_for_shared_subscriptions() {
    for version in [V3_1_1, V5] {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(version);
        publisher.publish(message(&topic, "x").retain());
        subscriber.subscribe(&shared(&topic), 0);
        subscriber.expect_nothing();
    }
}

/// `[MQTT-4.8.2-3]` Each member gets it at the QoS it was granted.
#[test]
fn the_qos_is_that_of_the_member() {
    for level in 0..=2u8 {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = pair(V5);
        subscriber.subscribe(&shared(&topic), level);
        publisher.publish(message(&topic, "x").qos(2));
        subscriber.receive(message(&topic, "x").qos(level));
    }
}

/// A member that is away is passed over while another one is there.
#[test]
fn an_absent_member_is_passed_over() {
    for version in [V3_1_1, V5] {
        let topic = unique("t");
        let mut publisher = client(version).connect();
        let mut away = client(version).durable().connect();
        away.subscribe(&shared(&topic), 1);
        let mut members = [client(version).durable().connect()];
        members[0].subscribe(&shared(&topic), 1);
        away.disconnect();
        assert_eq!(distribute(&mut publisher, &mut members, &topic, 1, 10), [10]);
    }
}

/// Section 4.8.2: with nobody there the message waits in a Session of the group.
#[test]
fn messages_wait_when_all_members_are_away() {
    let (topic, id) = (unique("t"), unique("c"));
    let mut only = client(V5).id(&id).durable().connect();
    only.subscribe(&shared(&topic), 1);
    only.disconnect();
    client(V5).connect().publish(message(&topic, "waits").qos(1));
    client(V5).id(&id).durable().connect().receive(message(&topic, "waits").qos(1));
}

/// A QoS 1 message that a member has not acknowledged goes to another one when its Session ends.
#[test]
fn unacknowledged_messages_go_to_another_member() {
    let topic = unique("t");
    let mut publisher = client(V5).connect();
    let mut leaving = client(V5).connect();
    leaving.subscribe(&shared(&topic), 1);
    publisher.publish(message(&topic, "x").qos(1));
    leaving.expect_publish(message(&topic, "x").qos(1));
    let mut staying = client(V5).connect();
    staying.subscribe(&shared(&topic), 1);
    leaving.cut();
    let came = staying.next_publish();
    assert_eq!(came.payload, "x");
    staying.send(puback(came.packet_id.expect("QoS 1").get()));
    staying.expect_nothing();
}

/// `[MQTT-4.8.2-4]` `[MQTT-4.8.2-5]` A QoS 2 exchange that has begun stays with its member.
#[test]
fn a_qos_2_exchange_stays_with_its_member() {
    let (topic, id) = (unique("t"), unique("c"));
    let (mut publisher, mut other) = pair(V5);
    let mut member = client(V5).id(&id).durable().connect();
    member.subscribe(&shared(&topic), 2);
    publisher.publish(message(&topic, "x").qos(2));
    let packet_id = member.expect_publish(message(&topic, "x").qos(2));
    other.subscribe(&shared(&topic), 2);
    member.send(pubrec(packet_id));
    member.expect_pubrel(packet_id);
    member.cut();
    other.expect_nothing();
    let mut member = client(V5).id(&id).durable().connect();
    member.expect_pubrel(packet_id);
    member.send(pubcomp(packet_id));
    member.expect_nothing();
    other.expect_nothing();
}

/// `[MQTT-4.8.2-6]` What a member refuses is not offered to another.
#[test]
fn a_refused_message_is_not_offered_again() {
    for level in [1, 2] {
        let topic = unique("t");
        let (mut publisher, mut member) = pair(V5);
        member.subscribe(&shared(&topic), 2);
        publisher.publish(message(&topic, "x").qos(level));
        let id = member.expect_publish(message(&topic, "x").qos(level));
        let mut other = client(V5).connect();
        other.subscribe(&shared(&topic), 2);
        let kind = if level == 1 { Kind::Puback } else { Kind::Pubrec };
        member.send(ack(kind, id, Reason::UNSPECIFIED_ERROR));
        member.expect_nothing();
        other.expect_nothing();
    }
}

/// After UNSUBSCRIBE a member gets nothing more, and the rest get all.
#[test]
fn a_member_may_leave_the_group() {
    let topic = unique("t");
    let mut publisher = client(V5).connect();
    let mut members = [client(V5).connect(), client(V5).connect()];
    for member in &mut members {
        member.subscribe(&shared(&topic), 0);
    }
    members[0].unsubscribe(&shared(&topic));
    assert_eq!(distribute(&mut publisher, &mut members, &topic, 0, 10), [0, 10]);
}
