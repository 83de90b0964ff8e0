//! The bridge on Redis as it is deployed.

use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::deployment::{Deployment, Kind as Deployed};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::kit::{Listener, ON, receives, say};

const KEEPER: &str = "mqttd:{bridge}:keeper";

/// Numbers cross both ways, whichever server of Redis is spoken to; nothing comes twice.
fn cross(cluster: &Cluster<Deployment>, servers: &[&Redis]) {
    let topic = unique("t");
    let mut clients = [0, 1].map(|node| cluster.client(node, V5).connect());
    clients.iter_mut().for_each(|client| client.subscribe(&topic, 1));
    let listeners: Vec<_> = servers.iter().map(|server| Listener::new(server, &topic)).collect();
    for number in 0..50 {
        let server = servers[number % servers.len()];
        say(server, &topic, &format!("of Redis {number}"));
        clients.iter_mut().for_each(|client| receives(client, &topic, &format!("of Redis {number}")));
        listeners.iter().for_each(|listener| listener.hears(&topic, format!("of Redis {number}")));
        clients[number % 2].publish(message(&topic, format!("of MQTT {number}")).qos(1));
        for client in &mut clients {
            client.receive(message(&topic, format!("of MQTT {number}")).qos(1));
        }
        listeners.iter().for_each(|listener| listener.hears(&topic, format!("of MQTT {number}")));
    }
    clients.iter_mut().for_each(Client::expect_nothing);
}

fn until_heard(redis: &Redis) {
    until("a node hears what is published in Redis", || redis.try_query::<Option<String>>(&["GET", KEEPER]).ok().flatten().is_some());
}

/// Any client at any server of a Redis Cluster, for its bus carries what is published.
#[test]
fn the_bridge_on_a_cluster() {
    let Some(redis) = Deployment::start(Deployed::Cluster) else { return };
    let cluster = Cluster::deployed(redis, 2, &[ON]);
    let slot: u16 = cluster.redis.servers[0].query(&["CLUSTER", "KEYSLOT", KEEPER]);
    until_heard(&cluster.redis.servers[cluster.redis.owner(slot)]);
    cross(&cluster, &cluster.redis.servers.iter().collect::<Vec<_>>());
}

/// A replica takes over: the bridge follows it.
#[test]
fn the_bridge_behind_sentinels() {
    let Some(redis) = Deployment::start(Deployed::Sentinel) else { return };
    let mut cluster = Cluster::deployed(redis, 2, &[ON]);
    until_heard(&cluster.redis.servers[0]);
    cross(&cluster, &[&cluster.redis.servers[0]]);
    cluster.redis.servers[0].kill();
    until("the replica takes over", || cluster.redis.sentinels_say(1));
    let before: Option<String> = cluster.redis.servers[1].query(&["GET", KEEPER]);
    until("another ear hears", || {
        let now: Option<String> = cluster.redis.servers[1].query(&["GET", KEEPER]);
        now.is_some() && now != before
    });
    until("clients are welcome", || (0..2).all(|node| cluster.node(node).admin().get("/readyz").code == 200));
    cross(&cluster, &[&cluster.redis.servers[1]]);
}
