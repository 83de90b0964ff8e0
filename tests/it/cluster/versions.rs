//! Nodes of two versions on one Redis, as in a rolling upgrade: each calls functions of its own, and none those of the other.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use mqttd_tests::cluster::{Cluster, PATIENCE, program, until};
use mqttd_tests::deployment::{Deployment, Kind as Deployed};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::deployments::everything_crosses;
use super::outages::back;

/// In the first comments of both libraries, each with what a newer version says there: a library is named after its text.
const TEXTS: [&str; 2] = ["s/-- The steps of the Store/-- THE STEPS OF THE STORE/", "s/-- What has to be atomic/-- WHAT HAS TO BE ATOMIC/"];

/// A program that is the same in all but the texts of its functions; its file goes with this value.
struct Newer(PathBuf);

impl Newer {
    fn make() -> Newer {
        let file = std::env::temp_dir().join(unique("mqttd-newer-"));
        std::fs::copy(program(), &file).expect("a file for the program");
        let newer = Newer(file);
        let mut edit = Command::new("sed");
        edit.env("LC_ALL", "C").arg("-i").args(TEXTS.iter().flat_map(|text| ["-e", text])).arg(&newer.0);
        assert!(edit.status().expect("sed runs").success());
        newer
    }
}

impl Drop for Newer {
    fn drop(&mut self) {
        // What is left in the folder of temporary files does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The names of the libraries that a server of Redis has.
fn libraries(redis: &Redis) -> BTreeSet<String> {
    let listed: Vec<HashMap<String, ::redis::Value>> = redis.query(&["FUNCTION", "LIST"]);
    let name = |mut library: HashMap<String, ::redis::Value>| ::redis::from_redis_value(library.remove("library_name")?).ok();
    listed.into_iter().filter_map(name).collect()
}

/// Everything crosses, in both directions and on every primary; then the older node dies, and the newer one goes on with what it had.
fn upgrade(redis: Deployment, primaries: usize) {
    let newer = Newer::make();
    let mut cluster = Cluster::of_programs(redis, &[program(), &newer.0]);
    for server in &cluster.redis.servers[..primaries] {
        let found = libraries(server);
        let both = |stem: &str| found.iter().filter(|name| name.rsplit_once('_').is_some_and(|(name, _)| name == stem)).count();
        assert_eq!((both("mqttd"), both("mqttd_cluster")), (2, 2), "{found:?}");
    }
    everything_crosses(&cluster);
    for (from, to) in [(0, 1), (1, 0)] {
        bells_ring(&cluster, from, to);
    }
    let (topic, id) = (unique("t"), unique("c"));
    let mut old = cluster.client(0, V5).id(&id).durable().will(message("wills", "dead").qos(1)).connect();
    old.subscribe(&topic, 2);
    let mut publisher = cluster.client(1, V5).connect();
    publisher.subscribe("wills", 1);
    publisher.publish(message(&topic, "in flight").qos(2));
    let packet_id = old.expect_publish(message(&topic, "in flight").qos(2));
    cluster.node(0).kill();
    let mut resumed = back(&cluster, 1, V5, &id);
    assert!(resumed.session_present());
    resumed.receive(message(&topic, "in flight").qos(2).dup().id(packet_id));
    publisher.expect_within(PATIENCE, message("wills", "dead").qos(1));
    until("the newer node has buried the older", || cluster.node(1).has_said("a node is dead"));
}

/// A durable Session hears at once of what the other node puts into its queue, many times over: only a bell can tell it.
fn bells_ring(cluster: &Cluster<Deployment>, from: usize, to: usize) {
    let topic = unique("t");
    let mut subscribers: Vec<_> = (0..8).map(|_| cluster.durable(to, V5, &unique("bell"))).collect();
    subscribers.iter_mut().for_each(|subscriber| subscriber.subscribe(&topic, 1));
    let mut publisher = cluster.client(from, V5).connect();
    for number in 0..50 {
        publisher.publish(message(&topic, format!("{number}")).qos(1));
        // Each is waited for before the next: a bell that is lost would be made up for by that.
        for subscriber in &mut subscribers {
            subscriber.receive(message(&topic, format!("{number}")).qos(1));
        }
    }
}

#[test]
fn two_versions_on_one_redis() {
    let Some(redis) = Deployment::start(Deployed::Standalone) else { return };
    upgrade(redis, 1);
}

#[test]
fn two_versions_on_a_redis_cluster() {
    let Some(redis) = Deployment::start(Deployed::Cluster) else { return };
    upgrade(redis, 3);
}

/// The newer node goes, and the older one still calls its own.
#[test]
fn an_upgrade_may_be_taken_back() {
    let Some(redis) = Deployment::start(Deployed::Standalone) else { return };
    let newer = Newer::make();
    let path: &Path = &newer.0;
    let mut cluster = Cluster::of_programs(redis, &[path, program()]);
    let id = unique("c");
    let mut client = cluster.durable(0, V5, &id);
    client.subscribe("a", 1);
    let mut publisher = cluster.client(1, V5).connect();
    publisher.publish(message("a", "1").qos(1));
    let packet_id = client.expect_publish(message("a", "1").qos(1));
    cluster.node(0).terminate();
    cluster.node(0).ended();
    let mut back = cluster.durable(1, V5, &id);
    assert!(back.session_present());
    back.receive(message("a", "1").qos(1).dup().id(packet_id));
    publisher.publish(message("a", "2").qos(1));
    back.receive(message("a", "2").qos(1));
}
