//! Clients of Redis that know nothing of MQTT, and nodes with a bridge.

use std::sync::mpsc;

use mqttd_tests::cluster::{Cluster, PATIENCE, until};
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

pub(super) const ON: (&str, &str) = ("MQTTD_BRIDGE__ENABLED", "true");

/// Which ear of which node hears: `NODE.INCARNATION.EAR`.
const KEEPER: &str = "mqttd:{bridge}:keeper";

/// The channel of a topic.
pub(super) fn channel(topic: &str) -> String {
    format!("mqttd:topic:{topic}")
}

/// Nodes with a bridge and with these variables, one of which hears what is published in Redis.
pub(super) fn bridged(nodes: usize, variables: &[(&str, &str)]) -> Option<Cluster> {
    let cluster = Cluster::with(nodes, &[&[ON], variables].concat())?;
    until_heard(&cluster.redis);
    Some(cluster)
}

pub(super) fn until_heard(redis: &Redis) {
    until("a node hears what is published in Redis", || keeper(redis).is_some());
}

/// The ear that hears.
pub(super) fn keeper(redis: &Redis) -> Option<String> {
    redis.try_query(&["GET", KEEPER]).ok().flatten()
}

/// The number of the node that hears.
#[track_caller]
pub(super) fn keeping_node(redis: &Redis) -> usize {
    let ear = keeper(redis).expect("a node hears");
    ear.split('.').next().and_then(|node| node.strip_prefix('n')).and_then(|number| number.parse().ok()).expect("the name of a node")
}

/// What a client of Redis does.
pub(super) fn say(redis: &Redis, topic: &str, payload: &str) {
    redis.query::<()>(&["PUBLISH", &channel(topic), payload]);
}

/// One that hears the channels of this topic; those of all topics that match, where there is a `*` in it.
pub(super) struct Listener(mpsc::Receiver<(String, Vec<u8>)>);

impl Listener {
    /// The thread ends with the test.
    pub(super) fn new(redis: &Redis, topic: &str) -> Listener {
        let client = ::redis::Client::open(redis.url()).expect("its address");
        let (sender, messages) = mpsc::channel();
        let (subscribed, ready) = mpsc::channel();
        let channel = channel(topic);
        std::thread::spawn(move || {
            let mut connection = client.get_connection().expect("Redis accepts connections");
            let mut subscriber = connection.as_pubsub();
            let asked = if channel.contains('*') { subscriber.psubscribe(&channel) } else { subscriber.subscribe(&channel) };
            asked.expect("subscribed");
            subscribed.send(()).expect("the test waits");
            while let Ok(message) = subscriber.get_message() {
                let heard = (message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec());
                if sender.send(heard).is_err() {
                    return;
                }
            }
        });
        ready.recv().expect("it listens");
        Listener(messages)
    }

    /// The next message is this one.
    #[track_caller]
    pub(super) fn hears(&self, topic: &str, payload: impl AsRef<[u8]>) {
        let (found, body) = self.0.recv_timeout(PATIENCE).expect("a message on the channel");
        assert_eq!((found, String::from_utf8_lossy(&body)), (channel(topic), String::from_utf8_lossy(payload.as_ref())));
    }

    /// What has come so far.
    pub(super) fn heard(&self) -> usize {
        self.0.try_iter().count()
    }
}

/// A message at QoS 0 is the next.
#[track_caller]
pub(super) fn receives(client: &mut Client, topic: &str, payload: &str) {
    client.expect_within(PATIENCE, message(topic, payload));
}

/// A counter of a node.
#[track_caller]
pub(super) fn counter(cluster: &mut Cluster, node: usize, name: &str) -> u64 {
    let text = cluster.node(node).admin().get("/metrics").text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}
