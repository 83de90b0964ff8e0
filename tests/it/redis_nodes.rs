//! Two nodes of this process on one Redis: what is lost when a word between them comes late, or not at all.

use std::time::Duration;

use mqttd::Message as Said;
use mqttd::config::StoreUrl;
use mqttd_tests::cluster::until;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

fn node(redis: &Redis, prefix: &str) -> Broker {
    Broker::with(|config| {
        config.store.url = StoreUrl::Redis(redis.url());
        config.store.prefix = prefix.to_owned();
    })
}

fn nodes(redis: &Redis) -> [Broker; 2] {
    let prefix = unique("nodes");
    [node(redis, &prefix), node(redis, &prefix)]
}

/// What is granted QoS 0 is in no queue, whatever it was published with.
#[test]
fn a_durable_subscription_at_qos_0_is_served_from_another_node() {
    let Some(redis) = Redis::shared() else { return };
    let [a, b] = nodes(redis);
    let (topic, id) = (unique("t"), unique("c"));
    let mut publisher = a.client(V5).connect();
    let mut subscriber = b.client(V5).id(&id).durable().connect();
    subscriber.subscribe(&topic, 0);
    publisher.publish(message(&topic, "1").qos(1));
    subscriber.receive(message(&topic, "1").qos(0));
    // Also after it was resumed.
    drop(subscriber);
    let mut subscriber = b.client(V5).id(&id).durable().connect();
    publisher.publish(message(&topic, "2").qos(2));
    subscriber.receive(message(&topic, "2").qos(0));
}

/// The node that a client leaves hears of its new subscriptions while the old connection is not gone yet.
#[test]
fn who_moves_and_subscribes_is_known_where_it_was() {
    let Some(redis) = Redis::shared() else { return };
    let nodes = nodes(redis);
    let (id, root) = (unique("c"), unique("t"));
    let mut publishers = [0, 1].map(|at| nodes[at].client(V5).connect());
    let mut last = nodes[0].client(V5).id(&id).durable().connect();
    for turn in 1..30 {
        let topic = format!("{root}/{turn}");
        let mut moved = nodes[turn % 2].client(V5).id(&id).durable().connect();
        moved.subscribe(&topic, 1);
        for publisher in &mut publishers {
            publisher.publish(message(&topic, "x").qos(1));
            moved.receive(message(&topic, "x").qos(1));
        }
        moved.fence(); // What it acknowledged is not sent again to the next connection.
        drop(std::mem::replace(&mut last, moved));
    }
}

/// The connection ends while Redis is away: its will is published and its Session given back when Redis is there again.
#[test]
fn what_could_not_be_given_back_is_given_back_later() {
    let Some(redis) = Redis::start() else { return };
    let [a, b] = nodes(&redis);
    let topic = unique("t");
    let mut watcher = b.client(V5).connect();
    watcher.subscribe(&topic, 0);
    let dying = [a.client(V5).expiry(60), a.client(V5)].map(|client| client.will(message(&topic, "dead")).connect());
    redis.pause();
    dying.into_iter().for_each(Client::cut);
    // Longer than the link waits for Redis, shorter than a node may promise without it.
    std::thread::park_timeout(Duration::from_secs(5));
    redis.resume();
    for _ in 0..2 {
        watcher.expect_publish(message(&topic, "dead"));
    }
}

/// What a program asks of its node reaches Clients of the other one.
#[test]
fn a_handle_reaches_clients_of_another_node() {
    let Some(redis) = Redis::shared() else { return };
    let (url, prefix) = (redis.url(), unique("nodes"));
    let embed = || Broker::embed(mqttd::Node::builder().store(&url).set("store.prefix", &prefix));
    let ((_a, handle), (b, _)) = (embed(), embed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for version in VERSIONS {
        let mut kicked = b.client(version).id("c").durable().connect();
        until("a knows of b", || runtime.block_on(handle.kick("c")) == Ok(true));
        kicked.expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
        assert_eq!(runtime.block_on(handle.kick("nobody")), Ok(false));
        for durable in [false, true] {
            let connecting = b.client(version).id("d");
            let mut client = if durable { connecting.durable().connect() } else { connecting.connect() };
            for level in [0, 1, 2] {
                let said = Said::new("not/subscribed", format!("{level}")).unwrap().qos(QoS::from_bits(level).unwrap());
                runtime.block_on(handle.publish_to_client("d", said)).unwrap();
                client.receive(message("not/subscribed", format!("{level}")).qos(level));
            }
            client.expect_nothing();
            client.disconnect();
        }
    }
    let said = |level| Said::new("t", "x").unwrap().qos(QoS::from_bits(level).unwrap());
    let give = |id: &str, level| runtime.block_on(handle.publish_to_client(id, said(level)));
    for level in [0, 1] {
        assert!(give("nobody", level).unwrap_err().is_absent());
    }
    // Of a Session that is away: at QoS 0 nobody gets it, and above it waits.
    b.client(V5).id("d").durable().connect().disconnect();
    assert!(give("d", 0).unwrap_err().is_absent());
    give("d", 1).unwrap();
    let mut back = b.client(V5).id("d").durable().connect();
    back.receive(message("t", "x").qos(1));
    back.expect_nothing();
}
