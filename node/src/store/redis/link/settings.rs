//! The bounds of a link, each with its default and its reason.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Begins the name of every key and channel.
    pub prefix: String,
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
