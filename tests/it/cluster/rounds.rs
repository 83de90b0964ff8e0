//! A SUBACK is a promise (REDIS.md section 0), again and again. `MQTTD_TEST_ROUNDS` says how often; `tests/run soak` sets it.

use mqttd_tests::cluster::{Cluster, PATIENCE};
use mqttd_tests::*;

/// So many rounds, or every `share`-th of those that are asked for.
pub(super) fn rounds(usual: usize, share: usize) -> usize {
    let asked = std::env::var("MQTTD_TEST_ROUNDS").ok();
    asked.map_or(usual, |asked| asked.parse::<usize>().expect("MQTTD_TEST_ROUNDS is a number") / share)
}

/// Whoever was told SUBACK on one node gets what is published on the other from that moment on, at every QoS, live or durable.
#[test]
fn what_is_published_after_a_suback_is_never_missed() {
    let Some(cluster) = Cluster::start(2) else { return };
    let root = unique("t");
    let mut publishers = [0, 1].map(|node| cluster.durable(node, V5, &unique("p")));
    let mut subscribers = [0, 1].map(|node| [cluster.client(node, V5).connect(), cluster.durable(node, V5, &unique("s"))]);
    let rounds = rounds(200, 1);
    for round in 0..rounds {
        let (node, durable, level) = (round % 2, round / 2 % 2, (round / 4 % 3) as u8);
        let subscriber = &mut subscribers[node][durable];
        let topic = format!("{root}/{round}");
        let filter = if round / 12 % 2 == 0 { topic.clone() } else { format!("+/{round}/#") };
        subscriber.subscribe(&filter, 2);
        let payload = format!("{round}");
        publishers[1 - node].publish(message(&topic, &payload).qos(level));
        let id = subscriber.expect_within(PATIENCE, message(&topic, &payload).qos(level));
        subscriber.acknowledge(build::qos(level), id);
        subscriber.unsubscribe(&filter);
    }
    subscribers.iter_mut().flatten().for_each(|subscriber| subscriber.expect_nothing());
    println!("{rounds} rounds, none missed");
}
