//! Redis has no memory left: what is new is refused (0x97), what was acknowledged is kept, and what makes room goes on. Then work resumes
//! by itself.

use std::time::Duration;

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, LEASE, until};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

/// What a Redis may have that this test fills.
const MEMORY: &str = "24mb";

/// Of one message, published one after the other: so the nodes hear that Redis is nearly full before it is full, with their next beat.
const PAYLOAD: usize = 2048;

/// More than fit.
const MESSAGES_MAX: usize = 20_000;

fn bounded(memory: &str) -> Option<Redis> {
    Redis::with(&["--maxmemory", memory, "--maxmemory-policy", "noeviction"])
}

/// A large message that begins with its number.
fn large(topic: &str, number: usize) -> Message {
    message(topic, format!("{number:<PAYLOAD$}")).qos(1)
}

/// What the broker says to this message at QoS 1.
#[track_caller]
fn answer(publisher: &mut Client, message: Message) -> Reason {
    let id = publisher.unused_packet_id();
    publisher.send(message.id(id));
    let is_it = |packet: &Packet| matches!(packet, Packet::Acknowledge(ack) if ack.packet_id.get() == id);
    match publisher.wait_for("PUBACK", is_it) {
        Packet::Acknowledge(ack) => ack.reason,
        other => publisher.fail("PUBACK", &other),
    }
}

/// What `/health` has to say, of which one is that the Store is full, or none.
fn says_full(cluster: &mut Cluster, node: usize) -> bool {
    let admin = cluster.node(node).admin();
    // Who could make room is welcome all the same.
    assert_eq!(admin.get("/readyz").code, 200);
    admin.get("/health").json(200)["errors"].to_string().contains("the Store is full")
}

#[track_caller]
fn until_full(cluster: &mut Cluster, is_full: bool) {
    for node in [0, 1] {
        until("the node knows how full Redis is", || says_full(cluster, node) == is_full);
    }
}

/// Reached by messages for a Session that is away, and left again by its acknowledgements.
#[test]
fn a_full_redis_refuses_and_loses_nothing() {
    let Some(redis) = bounded(MEMORY) else { return };
    let mut cluster = Cluster::on(redis, 2, &[]);
    let (topic, live, id) = (unique("t"), unique("live"), unique("c"));
    let mut away = cluster.durable(1, V5, &id);
    away.subscribe(&topic, 1);
    away.disconnect();
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe(&live, 1);
    let mut publisher = cluster.durable(0, V5, &unique("p"));
    let mut old = cluster.durable(0, V3_1_1, &unique("p"));
    let mut moving = cluster.durable(0, V5, &unique("m"));

    let mut acknowledged = 0;
    while answer(&mut publisher, large(&topic, acknowledged)) != Reason::QUOTA_EXCEEDED {
        acknowledged += 1;
        assert!(acknowledged < MESSAGES_MAX, "Redis is never full");
    }
    println!("{acknowledged} messages were acknowledged");
    until_full(&mut cluster, true);
    assert!(cluster.node(0).has_said("Redis is nearly full"));
    // Both ways to publish, and both versions: 3.1.1 has no word for it, so its connection ends.
    publisher.send(large(&topic, acknowledged).qos(2).id(60_000));
    publisher.expect_ack(Kind::Pubrec, 60_000, Reason::QUOTA_EXCEEDED);
    assert_eq!(answer(&mut publisher, message(&topic, "kept").qos(1).retain()), Reason::QUOTA_EXCEEDED);
    old.send(large(&topic, acknowledged).id(1));
    old.expect_closed();
    // Who has no Session gets none that lasts; one that ends with its connection, and who goes on with his at whatever node, is welcome.
    cluster.client(0, V5).durable().refused(Reason::QUOTA_EXCEEDED);
    cluster.client(1, V3_1_1).durable().refused(Reason::SERVER_UNAVAILABLE); // Connect Return code 3
    for version in VERSIONS {
        cluster.client(1, version).connect().disconnect();
    }
    let moved = cluster.durable(1, V5, &moving.id);
    moving.expect_disconnect(Reason::SESSION_TAKEN_OVER);
    assert!(moved.session_present());
    let by_api = serde_json::json!({ "topic": topic, "payload": "by the API", "qos": 1 });
    assert_eq!(cluster.node(0).admin().post("/api/v1/publish", by_api).json(507)["code"], "QUOTA_EXCEEDED");
    // What needs no queue goes on, also between nodes; and so do Sessions.
    publisher.publish(message(&live, "of no queue").qos(1));
    watcher.receive(message(&live, "of no queue").qos(1));

    let mut back = cluster.durable(1, V5, &id);
    assert!(back.session_present());
    for number in 0..acknowledged {
        let came = back.next_publish();
        assert!(came.payload.starts_with(format!("{number} ").as_bytes()), "{number} is not the next");
        back.acknowledge(came.qos, came.packet_id.map_or(0, u16::from));
    }
    // Nothing of what was refused.
    back.expect_nothing();
    until_full(&mut cluster, false);
    assert!(cluster.node(0).has_said("Redis has room again"));
    publisher.publish(large(&topic, acknowledged));
    assert!(back.next_publish().payload.starts_with(format!("{acknowledged} ").as_bytes()));
    for node in [0, 1] {
        assert!(cluster.node(node).runs() && !cluster.node(node).has_said("a node is dead"));
    }
}

/// Redis refuses everything that it may refuse: nobody is taken for dead by that; Sessions end as they should, a dead node is cleaned up
/// after, and then all goes on.
#[test]
fn a_redis_without_any_memory_left_still_lets_go() {
    let Some(redis) = bounded("0") else { return };
    let mut cluster = Cluster::on(redis, 2, &[]);
    let (topic, id) = (unique("t"), unique("c"));
    let mut subscriber = cluster.durable(1, V5, &id);
    subscriber.subscribe(&topic, 2);
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe("dead/#", 0);
    let live = unique("live");
    watcher.subscribe(&live, 2);
    let mut publisher = cluster.durable(0, V5, &unique("p"));
    let (mut old, mut plain) = (cluster.durable(0, V3_1_1, &unique("o")), cluster.client(0, V5).connect());
    let _doomed = cluster.client(0, V5).id(&unique("d")).will(message("dead/0", "gone")).connect();
    for level in [1, 2] {
        publisher.publish(message(&topic, "before").qos(level));
    }
    let ids = [1, 2].map(|level| subscriber.expect_publish(message(&topic, "before").qos(level)));
    cluster.redis.query::<()>(&["CONFIG", "SET", "maxmemory", "1mb"]);
    until_full(&mut cluster, true);

    assert_eq!(answer(&mut publisher, message(&topic, "refused").qos(1)), Reason::QUOTA_EXCEEDED);
    cluster.client(1, V5).durable().refused(Reason::QUOTA_EXCEEDED);
    // A live subscriber of another node cannot be reached, and no node can be told of a subscription: that is said, and the connections go on.
    assert_eq!(answer(&mut publisher, message(&live, "refused").qos(1)), Reason::QUOTA_EXCEEDED);
    publisher.send(message(&live, "refused").qos(2).id(60_000));
    publisher.expect_ack(Kind::Pubrec, 60_000, Reason::QUOTA_EXCEEDED);
    for client in [&mut publisher, &mut plain, &mut watcher] {
        client.subscribe_as(mqttd_tests::subscribe(100, &[("never", 1)]), &[Reason::QUOTA_EXCEEDED]);
    }
    old.subscribe_as(mqttd_tests::subscribe(100, &[("never", 1)]), &[Reason::UNSPECIFIED_ERROR]);
    plain.publish(message("never", "x"));
    for client in [&mut publisher, &mut plain, &mut old] {
        client.expect_nothing();
    }
    // 3.1.1 has no word for a message that is refused.
    old.send(message(&live, "refused").qos(1).id(7));
    old.expect_closed();
    subscriber.acknowledge(QoS::AtLeastOnce, ids[0]);
    subscriber.acknowledge(QoS::ExactlyOnce, ids[1]);
    subscriber.unsubscribe(&topic);
    // Longer than it takes to notice a death.
    match watcher.came_within(3 * LEASE) {
        Came::Nothing => {}
        other => watcher.fail("nothing: nobody is dead", &other),
    }
    cluster.bury(0);
    watcher.expect_within(Duration::from_secs(10), message("dead/0", "gone"));
    subscriber.disconnect();

    cluster.redis.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    until("the node has room", || !says_full(&mut cluster, 1));
    let mut subscriber = cluster.durable(1, V5, &id);
    assert!(subscriber.session_present());
    subscriber.expect_nothing();
    subscriber.subscribe(&topic, 1);
    watcher.subscribe("never", 1);
    let mut publisher = cluster.client(1, V5).connect();
    for topic in [&*topic, "never"] {
        publisher.publish(message(topic, "after").qos(1));
    }
    subscriber.receive(message(&topic, "after").qos(1));
    watcher.receive(message("never", "after").qos(1));
}
