//! Users, rules and bans that the nodes of a cluster share, and changes that reach all of them.

use mqttd::auth::password::Verifier;
use mqttd::config::{Admin, Config, ListenUrl};
use mqttd_tests::auth::Scratch;
use mqttd_tests::certificates::{Authority, Folder, localhost};
use mqttd_tests::cluster::{Cluster, until};
use mqttd_tests::deployment::{Deployment, Kind as Deployed};
use mqttd_tests::redis::{Redis, free_port};
use mqttd_tests::*;

pub(super) fn hash(password: &str) -> String {
    Verifier::new(password.as_bytes()).expect("it can be hashed").to_string()
}

pub(super) fn changed(redis: &Redis, what: &str) {
    let _: i64 = redis.query(&["HINCRBY", "mqttd:{auth}:version", what, "1"]);
}

/// A change on Redis holds at both nodes: for those who come, and for those who are there.
#[test]
fn users_and_rules_on_redis_hold_at_every_node() {
    let Some(redis) = Redis::start() else { return };
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "ann", &hash("pencil"), "bob", &hash("stone")]);
    let _: String = redis.query(&["SET", "mqttd:{auth}:rules", "allow user ann all #\nallow all open/#"]);
    let on = |_: usize| {
        Broker::with(|config| {
            config.store.url = mqttd::config::StoreUrl::Redis(redis.url());
            config.auth.redis_url = Some(redis.url());
        })
    };
    let nodes = [on(0), on(1)];
    let mut clients: Vec<_> = nodes.iter().map(|node| node.client(V5).user("ann", "pencil").connect()).collect();
    let mut bobs: Vec<_> = nodes.iter().map(|node| node.client(V5).user("bob", "stone").connect()).collect();
    for (node, client) in nodes.iter().zip(&mut clients) {
        node.client(V5).user("ann", "stone").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        node.client(V5).user("eve", "x").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        node.client(V5).refused(Reason::NOT_AUTHORIZED);
        client.subscribe("secret/x", 0);
    }
    // A new password.
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "bob", &hash("other")]);
    changed(&redis, "users");
    bobs.iter_mut().for_each(|bob| bob.expect_disconnect(Reason::NOT_AUTHORIZED));
    clients.iter_mut().for_each(Client::expect_nothing);
    // Fewer rights.
    let _: String = redis.query(&["SET", "mqttd:{auth}:rules", "allow all open/#"]);
    changed(&redis, "rules");
    clients.iter_mut().for_each(|client| client.expect_disconnect(Reason::NOT_AUTHORIZED));
    // What cannot be read changes nothing; what was known of it holds.
    let _: String = redis.query(&["SET", "mqttd:{auth}:rules", "allow everything"]);
    changed(&redis, "rules");
    let mut bob = nodes[0].client(V5).user("bob", "other").connect();
    bob.send(Packet::Subscribe(Box::new(subscribe(1, &[("open/x", 0), ("secret/x", 0)]))));
    bob.expect_suback(1, &[Reason(0), Reason::NOT_AUTHORIZED]);
}

/// Said at one node, it holds at the other within two seconds.
#[test]
fn a_ban_holds_at_every_node() {
    let Some(redis) = Redis::start() else { return };
    let on = || Broker::with(|config| config.store.url = mqttd::config::StoreUrl::Redis(redis.url()));
    let (here, there) = (on(), on());
    let id = unique("c");
    let mut client = there.client(V5).id(&id).connect();
    here.auth().ban(&format!("client:{id}"), None);
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
    there.client(V5).id(&id).refused(Reason::BANNED);
    here.client(V5).id(&id).refused(Reason::BANNED);
    assert_eq!(there.auth().bans(), here.auth().bans());
    assert!(there.auth().unban(&format!("client:{id}")));
    until("the ban is lifted here too", || here.client(V5).id(&id).send().expect_connack().reason == Reason::SUCCESS);
}

/// A durable Session of a user whose name only its own node knows: what is denied to it does not come, wherever it is published.
#[test]
fn rules_hold_for_what_another_node_publishes() {
    let rules = Scratch::new("deny user reader subscribe a/secret\nallow all #\n");
    let path = rules.path();
    let Some(cluster) = Cluster::with(2, &[("MQTTD_ACCESS__RULES_FILE", &path)]) else { return };
    let durable = cluster.client(0, V5).id("d").durable().user("reader", "");
    let mut reader = durable.connect();
    reader.subscribe("a/#", 1);
    let mut brief = cluster.client(0, V5).user("reader", "").connect();
    brief.subscribe("a/#", 1);
    let mut other = cluster.client(0, V5).user("other", "").connect();
    other.subscribe("a/#", 0);
    let mut publisher = cluster.client(1, V5).connect();
    for topic in ["a/secret", "a/open"] {
        publisher.publish(message(topic, "x").qos(1));
    }
    for client in [&mut reader, &mut brief] {
        client.receive(message("a/open", "x").qos(1));
        client.expect_nothing();
    }
    other.receive(message("a/secret", "x"));
    other.receive(message("a/open", "x"));
    reader.cut();
    for topic in ["a/secret", "a/open"] {
        publisher.publish(message(topic, "away").qos(1));
    }
    let mut reader = durable.to(cluster.address(1)).connect();
    reader.receive(message("a/open", "away").qos(1));
    reader.expect_nothing();
}

/// To begin without knowing who is shut out would let in too many.
#[test]
fn a_redis_of_users_that_is_away_lets_nobody_in() {
    let Some(mut redis) = Redis::start() else { return };
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "ann", &hash("pencil"), "bad", "$argon2id$nonsense"]);
    let broker = Broker::with(|config| config.auth.redis_url = Some(redis.url()));
    let mut ann = broker.client(V5).user("ann", "pencil").connect();
    broker.client(V5).user("bad", "x").refused(Reason::NOT_AUTHORIZED);
    redis.kill();
    broker.client(V5).user("ann", "pencil").refused(Reason::SERVER_UNAVAILABLE);
    ann.send(Packet::Pingreq);
    ann.expect_pingresp();
    redis.revive();
}

/// `auth.redis_url` may be all that `store.url` may be, and its user needs no rights but for what it asks.
#[test]
fn users_on_redis_however_it_is_deployed() {
    for kind in [Deployed::Sentinel, Deployed::Cluster] {
        let Some(redis) = Deployment::shared(kind) else { return };
        let prefix = unique("auth");
        let users = format!("{prefix}:{{auth}}:users");
        for server in &redis.servers {
            let keys = format!("~{prefix}:*");
            let rights = ["on", ">pencil", &keys, "-@all", "+hget", "+hmget", "+get", "+cluster|slots", "+cluster|info"];
            let _: String = server.query(&[&["ACL", "SETUSER", "reader"], &rights[..]].concat());
        }
        let primary = match kind {
            Deployed::Cluster => redis.owner(redis.servers[0].query(&["CLUSTER", "KEYSLOT", &users])),
            _ => 0,
        };
        let _: i64 = redis.servers[primary].query(&["HSET", &users, "ann", &hash("pencil")]);
        let broker = Broker::with(|config| {
            config.store.prefix = prefix;
            config.auth.redis_url = Some(redis.url().replace("://", "://reader:pencil@"));
        });
        broker.client(V5).user("ann", "pencil").connect();
        broker.client(V5).user("ann", "stone").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    }
}

/// The authorities of `store.tls_ca` hold for it too.
#[test]
fn users_on_a_redis_with_tls() {
    let folder = Folder::new("auth-tls");
    let ((certificate, key), port) = (localhost(folder.path()), free_port());
    let ca = folder.file("ca.pem", &Authority::shared().pem);
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
    let Some(redis) = Redis::with(&[&["--tls-port", &port.to_string()], &files[..]].concat()) else { return };
    let _: i64 = redis.query(&["HSET", "mqttd:{auth}:users", "ann", &hash("pencil")]);
    let broker = |ca: Option<&str>| {
        Broker::with(|config| {
            config.auth.redis_url = Some(format!("rediss://127.0.0.1:{port}"));
            config.store.tls_ca = ca.map(str::to_owned);
        })
    };
    broker(Some(&ca)).client(V5).user("ann", "pencil").connect();
    broker(None).client(V5).user("ann", "pencil").refused(Reason::SERVER_UNAVAILABLE);
}

#[test]
fn a_wrong_url_is_named() {
    for (url, expected) in
        [("http://a", "begins with redis://"), ("redis+sentinel://a", "the name of the master is missing"), ("redis://", "is not a host")]
    {
        let mut config = Config { listen: vec![ListenUrl::tcp("127.0.0.1", 0)], admin: Admin::Off, ..Config::default() };
        config.auth.redis_url = Some(url.to_owned());
        let said = mqttd::node::Node::check(&config).expect_err(url).to_string();
        assert!(said.contains("auth.redis_url: ") && said.contains(expected), "{url}: {said}");
    }
}
