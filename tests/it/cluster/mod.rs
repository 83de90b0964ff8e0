//! Nodes that share one Redis (REDIS.md): each a process of its own, so that it can be killed. Short stories; what judges a workload
//! stands apart from it ([`load`]).

mod deployments;
mod failover;
mod faults;
mod full;
mod kills;
mod leftovers;
mod load;
mod messages;
mod moves;
mod outages;
mod rejoin;
mod rolling;
mod rounds;
mod shared;
mod storms;
mod survey;
mod system;
mod takeover;
mod versions;
mod wills;

use mqttd_tests::*;

/// Nobody is told anything while a test watches for so long.
const WATCH: std::time::Duration = std::time::Duration::from_millis(500);

/// Numbered messages, published and taken over.
#[track_caller]
fn publish_all(publisher: &mut Client, topic: &str, numbers: std::ops::Range<usize>, level: u8) {
    for number in numbers {
        publisher.publish(message(topic, format!("{number}")).qos(level));
    }
}
