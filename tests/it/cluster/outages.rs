//! Redis dies, or says nothing: nothing is acknowledged that is not stored, and nobody is taken for dead.

use std::collections::HashMap;
use std::time::Duration;

use mqttd_tests::client::Came;
use mqttd_tests::cluster::{Cluster, LEASE, PATIENCE, until};
use mqttd_tests::*;

use super::WATCH;
use super::load::{Publisher, Subscriber, start};

/// A client that must not be told that anything was taken; its connection may end.
#[track_caller]
fn expect_no_acknowledgement(client: &mut Client, patience: Duration) {
    match client.came_within(patience) {
        Came::Nothing | Came::Closed => {}
        Came::Packet(Packet::Disconnect(end)) if end.reason == Reason::SERVER_BUSY => {}
        other => client.fail("no acknowledgement", &other),
    }
}

/// Connects as soon as the node accepts.
#[track_caller]
pub(super) fn back<R>(cluster: &Cluster<R>, node: usize, version: Version, id: &str) -> Client {
    let mut client = None;
    until("the node accepts clients again", || {
        client = cluster.client(node, version).id(id).durable().try_connect(Duration::from_secs(1));
        client.is_some()
    });
    client.expect("just looked")
}

/// A subscriber with two messages in flight and a publisher with one that is not released, on different nodes.
struct Pair {
    version: Version,
    topic: String,
    subscriber: Client,
    publisher: Client,
    packet_ids: [u16; 2],
}

impl Pair {
    #[track_caller]
    fn begin(cluster: &Cluster, version: Version) -> Pair {
        let topic = unique("t");
        let mut subscriber = cluster.durable(1, version, &unique("s"));
        subscriber.subscribe(&topic, 2);
        let mut publisher = cluster.durable(0, version, &unique("p"));
        let packet_ids = [1, 2].map(|level| {
            publisher.publish(message(&topic, format!("{level}")).qos(level));
            subscriber.expect_publish(message(&topic, format!("{level}")).qos(level))
        });
        publisher.send(message(&topic, "3").qos(2).id(50));
        publisher.expect_pubrec(50);
        subscriber.expect_publish(message(&topic, "3").qos(2));
        Pair { version, topic, subscriber, publisher, packet_ids }
    }

    /// Everything that was acknowledged is there: 1, 2 and 3 again, 4 once or twice, and what comes new.
    #[track_caller]
    fn go_on(self, cluster: &Cluster) {
        let (topic, [one, two]) = (&self.topic, self.packet_ids);
        let mut subscriber = back(cluster, 1, self.version, &self.subscriber.id);
        assert!(subscriber.session_present() || self.version == V3_1);
        subscriber.receive(message(topic, "1").qos(1).dup().id(one));
        subscriber.receive(message(topic, "2").qos(2).dup().id(two));
        subscriber.receive(message(topic, "3").qos(2).dup());
        let mut publisher = back(cluster, 0, self.version, &self.publisher.id);
        publisher.send(pubrel(50));
        publisher.expect_pubcomp(50);
        publisher.publish(message(topic, "4").qos(1).id(51).dup());
        publisher.publish(message(topic, "5").qos(2).id(52));
        let mut last = subscriber.next_publish();
        while last.payload == "4" {
            subscriber.acknowledge(last.qos, last.packet_id.map_or(0, u16::from));
            last = subscriber.next_publish();
        }
        assert_eq!(last.payload, "5");
        subscriber.acknowledge(last.qos, last.packet_id.map_or(0, u16::from));
        subscriber.expect_nothing();
    }
}

/// While Redis is away nothing is acknowledged; when it is back, Sessions are resumed with all that ever was.
#[test]
fn redis_dies_and_comes_back() {
    let Some(mut cluster) = Cluster::lasting(2) else { return };
    let mut pairs = VERSIONS.map(|version| Pair::begin(&cluster, version));
    cluster.redis.kill();
    for pair in &mut pairs {
        pair.publisher.send(message(&pair.topic, "4").qos(1).id(51));
        expect_no_acknowledgement(&mut pair.publisher, WATCH);
    }
    assert!(cluster.client(0, V5).durable().try_connect(WATCH).is_none(), "a Session begins without Redis");
    cluster.redis.revive();
    for pair in pairs {
        pair.go_on(&cluster);
    }
    assert!(cluster.node(0).runs() && cluster.node(1).runs());
}

/// Redis dies under load: of what was acknowledged nothing is lost, and nothing is out of order. What was on its way may come twice
/// at QoS 2 too: the README says so under "What does not work yet".
#[test]
fn redis_dies_under_load() {
    let Some(mut cluster) = Cluster::lasting(2) else { return };
    let (root, id, count) = (unique("t"), unique("c"), 300);
    let mut client = cluster.durable(1, V5, &id);
    client.subscribe(&format!("{root}/#"), 2);
    let rows = [(V3_1_1, 1), (V3_1_1, 2), (V5, 1), (V5, 2)];
    let nodes = [cluster.address(0), cluster.address(1)];
    let make = |(row, (version, level))| Publisher::new(version, &nodes, &format!("{root}/{row}"), level, count);
    let outcome = start(rows.into_iter().enumerate().map(make).collect());
    let (mut subscriber, mut killed) = (Subscriber::default(), false);
    while !subscriber.checker.is_complete(rows.len(), count) {
        if !subscriber.take(&mut client) {
            client = back(&cluster, 1, V5, &id);
        }
        if !killed && subscriber.checker.total() > 100 {
            cluster.redis.kill();
            cluster.redis.revive();
            killed = true;
        }
    }
    assert_eq!(outcome.into_iter().count(), rows.len(), "publishers failed, see above");
}

/// Redis says nothing for longer than a lease: no Will is published and no node is taken for dead; then work goes on.
#[test]
fn a_pause_of_redis_is_no_death() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let (topic, id) = (unique("t"), unique("c"));
    let mut watcher = cluster.durable(1, V5, &unique("w"));
    watcher.subscribe(&topic, 1);
    let mut quiet = cluster.client(0, V5).id(&id).durable().will(message(&topic, "dead").qos(1)).connect();
    let mut publisher = cluster.durable(0, V5, &unique("p"));
    cluster.redis.pause();
    publisher.send(message(&topic, "meanwhile").qos(1).id(1));
    expect_no_acknowledgement(&mut publisher, WATCH);
    expect_no_acknowledgement(&mut watcher, 3 * LEASE);
    cluster.redis.resume();
    let mut publisher = back(&cluster, 0, V5, &publisher.id);
    publisher.publish(message(&topic, "meanwhile").qos(1).id(1).dup());
    publisher.publish(message(&topic, "after").qos(1));
    quiet.expect_nothing();
    // Longer than it takes to notice a death.
    cluster.pass(1, 4 * LEASE.as_secs() as u32);
    let mut watcher = back(&cluster, 1, V5, &watcher.id);
    let mut last = watcher.next_publish();
    while last.payload == "meanwhile" {
        last = watcher.next_publish();
    }
    assert_eq!(last.payload, "after");
    watcher.expect_nothing();
    quiet.expect_nothing();
    for node in [0, 1] {
        assert!(cluster.node(node).runs() && !cluster.node(node).has_said("a node is dead"));
    }
}

/// A node that was paused for longer than its lease has been taken for dead: its clients are gone, it takes no message from them any more.
#[test]
fn a_paused_node_promises_nothing_when_it_goes_on() {
    let Some(mut cluster) = Cluster::start(2) else { return };
    let (topic, id) = (unique("t"), unique("c"));
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe(&topic, 1);
    let mut old = cluster.client(0, V5).id(&id).durable().will(message(&topic, "dead").qos(1)).connect();
    cluster.node(0).pause();
    cluster.until_buried(1);
    watcher.receive(message(&topic, "dead").qos(1));
    let mut new = cluster.durable(1, V5, &id);
    assert!(new.session_present());
    cluster.node(0).resume();
    old.send(message(&topic, "of old").qos(1).id(1));
    expect_end_without_acknowledgement(&mut old);
    new.publish(message(&topic, "of new").qos(1));
    watcher.receive(message(&topic, "of new").qos(1));
    watcher.expect_nothing();
    new.expect_nothing();
}

#[track_caller]
fn expect_end_without_acknowledgement(client: &mut Client) {
    match client.came_within(PATIENCE) {
        Came::Packet(Packet::Disconnect(_)) => client.expect_closed(),
        Came::Closed => {}
        other => client.fail("the end, and no acknowledgement", &other),
    }
}

/// `[MQTT-3.1.2-8]` A client that is cut while Redis is away has its Will published when Redis is back, and its Session expires in time.
#[test]
fn what_ends_in_an_outage_ends_afterwards() {
    let Some(cluster) = Cluster::start(2) else { return };
    let topic = unique("t");
    let mut watcher = cluster.client(1, V5).connect();
    watcher.subscribe(&topic, 1);
    let durable = cluster.client(0, V5).resume().expiry(1).will(message(&topic, "durable").qos(1)).connect();
    let live = cluster.client(0, V3_1_1).will(message(&topic, "live").qos(1)).connect();
    let id = durable.id.clone();
    cluster.redis.pause();
    durable.cut();
    live.cut();
    expect_no_acknowledgement(&mut watcher, 2 * LEASE);
    cluster.redis.resume();
    let mut came = [0; 2].map(|_| match watcher.came_within(PATIENCE) {
        Came::Packet(Packet::Publish(came)) => came.payload,
        other => watcher.fail("a Will", &other),
    });
    came.sort();
    assert_eq!(came, ["durable", "live"]);
    cluster.pass(1, 3);
    assert!(!cluster.durable(1, V5, &id).session_present());
}

/// A Session that was opened, but nobody heard that it was: its Client was refused, and it is given back.
#[test]
fn a_session_opened_for_nobody_is_given_back() {
    let Some(cluster) = Cluster::start(2) else { return };
    // As the nodes have loaded it, under the name of its text.
    let listed = cluster.redis.query::<Vec<HashMap<String, ::redis::Value>>>(&["FUNCTION", "LIST", "WITHCODE"]);
    let codes = listed.into_iter().filter_map(|mut library| ::redis::from_redis_value::<String>(library.remove("library_code")?).ok());
    let library = codes.into_iter().find(|code| code.contains("register('open', open)")).expect("the library of the nodes");
    // It opens, and then says that it has failed.
    let broken = "register('open', function(keys, args) open(keys, args) error('the answer is lost') end)";
    let broken = library.replace("register('open', open)", broken);
    let load = |code: &str| cluster.redis.query::<()>(&["FUNCTION", "LOAD", "REPLACE", code]);
    load(&broken);
    let ids = ["lasting", "ending"].map(unique);
    for (id, expiry) in ids.iter().zip([3600, 1]) {
        let refused = cluster.client(0, V5).id(id).resume().expiry(expiry).try_connect(PATIENCE);
        assert!(refused.is_none(), "{id}: a Session begins without an answer");
    }
    let [lasting, ending] = ids.each_ref().map(|id| format!("mqttd:{{{id}}}:s"));
    let owner = || cluster.redis.query::<Option<String>>(&["HGET", &lasting, "n"]);
    until("it is given back", || owner().is_some_and(|owner| owner.is_empty()));
    load(&library);
    until("what was to end has ended", || cluster.redis.query::<usize>(&["EXISTS", &ending]) == 0);
    // It is a Session like any other.
    let mut client = back(&cluster, 1, V5, &ids[0]);
    assert!(client.session_present());
    client.subscribe("a", 1);
    client.publish(message("a", "1").qos(1));
    client.receive(message("a", "1").qos(1));
}
