//! The bounds of a cluster, each with its default and its reason.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    /// How often a node says that it lives.
    pub beat: Duration,
    /// A node that was not heard of for so long is suspected. Long against a pause of the node or a failover of Redis.
    pub lease: Duration,
    /// How long after its last beat a node may still promise anything to its clients: shorter than the lease, so that it has stopped
    /// before another node takes over.
    pub promise: Duration,
    /// A suspect is dead when it is still one so long after the first look.
    pub looks_apart: Duration,
    /// Nobody is declared dead before Redis was steady for so long: an outage of Redis is no death of nodes.
    pub steady: Duration,
    /// How long the cleaning up after a dead node belongs to one node; each page of its Sessions makes it last so long again.
    pub burial: Duration,
    /// Without Redis for so long, a node gives its connections up.
    pub outage_max: Duration,
    /// How long a SUBACK waits for the other nodes at most.
    pub visibility: Duration,
    /// How long Redis may take to confirm that a Session is listened for.
    pub listen_deadline: Duration,
    /// Batches in the inbox of a node; when it reads too slowly, the oldest are lost, and it is told.
    pub inbox_length_max: usize,
    /// From here on whoever writes to an inbox waits until it is shorter, and for so long at most: so its publishers are no faster
    /// than the node that reads.
    pub inbox_crowded: usize,
    pub inbox_hold: Duration,
    /// Changes in the log of routes; a node that is further behind loads the whole table again.
    pub log_length_max: usize,
    /// Bytes of a batch of posts, unless one alone is larger.
    pub post_bytes_max: usize,
    /// Messages at QoS 0 that wait to be sent to other nodes, counted as calls; beyond it they are dropped and counted.
    pub outbox_max: usize,
    /// News that wait to be taken.
    pub news_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::of_lease(Duration::from_secs(10))
    }
}

impl Settings {
    /// What depends on the lease stands in proportion to it.
    pub fn of_lease(lease: Duration) -> Settings {
        Settings {
            beat: lease / 10,
            lease,
            promise: lease * 7 / 10,
            looks_apart: lease / 2,
            steady: lease * 2,
            burial: lease * 3,
            outage_max: Duration::from_secs(30),
            visibility: Duration::from_secs(1),
            listen_deadline: Duration::from_secs(4),
            inbox_length_max: 100_000,
            inbox_crowded: 50_000,
            inbox_hold: Duration::from_secs(1),
            log_length_max: 200_000,
            post_bytes_max: 16 * 1024,
            outbox_max: 4096,
            news_max: 4096,
        }
    }
}
