//! The bounds of a link, each with its default and its reason.

use std::time::Duration;

use redis::{Cmd, cmd};

/// What a write that is confirmed has outlived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The memory of the primary. How much of it a crash may take is `appendfsync` of Redis.
    #[default]
    Relaxed,
    /// The memory of so many replicas too. Where it is not on them within this time, nothing is confirmed.
    Replicated { replicas: u64, within: Duration },
    /// The disk of the primary: `appendfsync always`, without which a node does not begin.
    Fsync,
}

impl Durability {
    /// What is asked after a batch. Its reply is the number of replicas that have the batch.
    pub(super) fn wait(self) -> Option<Cmd> {
        let Durability::Replicated { replicas, within } = self else { return None };
        Some(cmd("WAIT").arg(replicas).arg(within.as_millis().max(1) as u64).take())
    }

    pub(super) fn replicas(self) -> u64 {
        if let Durability::Replicated { replicas, .. } = self { replicas } else { 0 }
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Begins the name of every key and channel.
    pub prefix: String,
    /// The channels of the bridge, as a pattern; `None`: there is none.
    pub bridged: Option<String>,
    pub durability: Durability,
    /// Connections that write, side by side.
    pub lanes: usize,
    /// Commands in a batch: above this a batch saves nothing more (REDIS.md 1.3). A caller's commands are never split over two.
    pub batch_commands_max: usize,
    /// Bytes of a batch, so that it waits for no other on the wire.
    pub batch_bytes_max: usize,
    /// Batches of a lane that are sent and not answered: as many while they are full ones, else at most [`BATCHES_OUT_MIN`].
    pub batches_out_max: usize,
    /// Callers that wait for a place in a batch of a lane; more wait for a place here.
    pub queue_max: usize,
    /// How long a caller waits until it is sent, and then for its reply: an answer comes within twice this time.
    pub deadline: Duration,
    /// How long an attempt to connect may take, from the name to the first reply.
    pub connect_deadline: Duration,
    /// The pause after a failed attempt; doubled until [`Settings::backoff_max`].
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// A connection without traffic for so long is asked whether it lives.
    pub ping_after: Duration,
}

/// A batch that is not full leaves at once while fewer than this are out: one is on its way while another is worked on.
pub(super) const BATCHES_OUT_MIN: usize = 2;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            prefix: "mqttd".to_owned(),
            bridged: None,
            durability: Durability::Relaxed,
            lanes: 2,
            batch_commands_max: 512,
            batch_bytes_max: 256 * 1024,
            batches_out_max: 8,
            queue_max: 4096,
            deadline: Duration::from_secs(2),
            connect_deadline: Duration::from_secs(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            ping_after: Duration::from_secs(1),
        }
    }
}
