//! Another Redis, which lacks the last that was confirmed (REDIS.md 3.2, trap 3): what it lacks is lost, but nothing new is mistaken for it.

use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::deployment::{Deployment, Kind as Deployed};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::outages::back;

/// A subscriber that has got messages at QoS 2, of which Redis loses the last.
struct Story {
    topic: String,
    subscriber: Client,
    publisher: Client,
    /// Packet Identifiers of what was lost, which the Client may still hold.
    lost: Vec<u16>,
}

impl Story {
    #[track_caller]
    fn begin<R>(cluster: &Cluster<R>) -> Story {
        let topic = unique("t");
        let mut subscriber = cluster.durable(1, V5, &unique("s"));
        subscriber.subscribe(&topic, 2);
        let mut publisher = cluster.durable(0, V5, &unique("p"));
        publisher.publish(message(&topic, "kept").qos(2));
        subscriber.receive(message(&topic, "kept").qos(2));
        subscriber.fence();
        Story { topic, subscriber, publisher, lost: Vec::new() }
    }

    /// Redis is going to lose this: the half of it is acknowledged to the end, of the other the Client has said PUBREC.
    #[track_caller]
    fn go_on(&mut self) {
        for number in 0..10 {
            let lost = message(&self.topic, format!("lost {number}")).qos(2);
            self.publisher.publish(&lost);
            let id = self.subscriber.expect_publish(lost);
            self.subscriber.send(pubrec(id));
            self.subscriber.expect_pubrel(id);
            if number < 5 {
                self.subscriber.send(pubcomp(id));
            }
            self.lost.push(id);
        }
        self.subscriber.fence();
    }

    /// What comes new comes, to a connection that has read further than Redis knows, and to one that begins again.
    #[track_caller]
    fn end<R>(mut self, cluster: &Cluster<R>) {
        let mut publisher = back(cluster, 0, V5, &self.publisher.id);
        for number in 0..10 {
            let new = message(&self.topic, format!("new {number}")).qos(2);
            publisher.publish(&new);
            let id = self.subscriber.expect_within(PATIENCE, new);
            assert!(!self.lost.contains(&id), "new {number} has the Packet Identifier {id} of a message that was lost: {:?}", self.lost);
            self.subscriber.acknowledge(mqttd::packet::QoS::ExactlyOnce, id);
        }
        let id = self.subscriber.id.clone();
        // Not cut: what came before the node noticed would come again with DUP.
        self.subscriber.disconnect();
        for number in 10..20 {
            publisher.publish(message(&self.topic, format!("new {number}")).qos(2));
        }
        let mut subscriber = back(cluster, 1, V5, &id);
        assert!(subscriber.session_present());
        for number in 10..20 {
            let id = subscriber.receive(message(&self.topic, format!("new {number}")).qos(2));
            assert!(!self.lost.contains(&id), "new {number} has the Packet Identifier {id} of a message that was lost: {:?}", self.lost);
        }
        subscriber.expect_nothing();
    }
}

/// `[MQTT-2.2.1-4]` `[MQTT-4.3.3-3]` A replica is promoted by hand while the primary goes on confirming; then the primary dies.
#[test]
fn a_replica_without_the_last_messages_is_promoted() {
    let Some(redis) = Deployment::start(Deployed::Sentinel) else { return };
    let mut cluster = Cluster::deployed(redis, 2, &[]);
    let mut story = Story::begin(&cluster);
    let queue = format!("mqttd:{{{}}}:queue", story.subscriber.id);
    let dump = |server: &Redis| server.query::<Option<Vec<u8>>>(&["DUMP", &queue]);
    until("the replica has all", || dump(&cluster.redis.servers[0]) == dump(&cluster.redis.servers[1]));
    cluster.redis.dismiss_primary();
    cluster.redis.servers[1].query::<()>(&["REPLICAOF", "NO", "ONE"]);
    story.go_on();
    cluster.redis.servers[0].kill();
    cluster.redis.name_primary(1);
    story.end(&cluster);
}

/// The same when Redis dies and comes back with what it had a moment before.
#[test]
fn redis_comes_back_without_the_last_messages() {
    let Some(redis) = Redis::start() else { return };
    let mut cluster = Cluster::on(redis, 2, &[]);
    let mut story = Story::begin(&cluster);
    cluster.redis.query::<()>(&["SAVE"]);
    story.go_on();
    cluster.redis.kill();
    cluster.redis.revive();
    story.end(&cluster);
}
