//! What is measured.

use mqttd::hook::client::Transport;

use crate::broker::Kind;

/// What a measurement takes besides the seconds that are measured: starting the broker, warming up, draining. A run that has used
/// more than this for each of its measurements leaves out the rest.
const OVERHEAD_S: f64 = 1.4;

/// The same for two nodes, which have to hear of each other.
const OVERHEAD_ACROSS_S: f64 = 4.0;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One after the other; most have one.
    pub(crate) stages: Vec<Stage>,
    pub(crate) load: Load,
}

/// What is measured at once.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// CPU time of Redis for each message in µs, as the design measured it (REDIS.md sections 1.8, 4.3 and 6).
    pub(crate) redis_us: Option<f64>,
}

pub(crate) enum Load {
    Traffic(Traffic),
    /// The same between two nodes of ours on one Redis: all publish at one of them and subscribe at the other.
    Across(Traffic),
    /// The same, but the subscribers are away while all is published, and come then.
    Away(Traffic),
    /// Clients that connect and are silent from then on.
    Idle,
    /// Clients that connect and go, as fast as they can.
    Connects,
}

/// Publishers that publish and subscribers that receive.
#[derive(Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Whether every publisher has a subscriber of its own; otherwise all subscribers receive everything.
    pub(crate) pairs: bool,
    /// Of the messages and of the subscriptions.
    pub(crate) qos: u8,
    pub(crate) payload_bytes: usize,
    /// Whether the Sessions of the subscribers last.
    pub(crate) durable: bool,
    pub(crate) pace: Pace,
}

/// What keeps a publisher from flooding the broker.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// So many published messages may be undelivered: counted at the subscribers, as a mean over them.
    Undelivered(u64),
    /// So many messages of each publisher may be without their last acknowledgement.
    Window(u64),
    /// So many messages a second, evenly.
    PerSecond(u64),
}

impl Scenario {
    /// Whether it is run on this broker over this transport. Two nodes there are of ours alone, and over TCP alone.
    pub(crate) fn runs(&self, kind: Kind, transport: Transport) -> bool {
        match self.load {
            Load::Across(_) | Load::Away(_) => (kind, transport) == (Kind::Ours, Transport::Tcp),
            Load::Traffic(_) | Load::Idle | Load::Connects => kind.has(transport),
        }
    }

    /// How long it may take, when so much is measured. What is stored is drained as fast as it came.
    pub(crate) fn takes_s(&self, measured_s: f64) -> f64 {
        match self.load {
            Load::Across(_) => measured_s + OVERHEAD_ACROSS_S,
            Load::Away(_) => 2.0 * measured_s + OVERHEAD_ACROSS_S,
            Load::Traffic(_) | Load::Idle | Load::Connects => measured_s + OVERHEAD_S,
        }
    }
}

impl Traffic {
    /// The message goes to so many.
    pub(crate) fn copies(&self) -> u64 {
        if self.pairs { 1 } else { self.subscribers as u64 }
    }

    pub(crate) fn topic(&self, publisher: usize) -> String {
        if self.pairs { format!("load/pair/{publisher}") } else { "load/all".to_owned() }
    }

    /// Whether the times of delivery are what is asked for.
    pub(crate) fn is_paced(&self) -> bool {
        matches!(self.pace, Pace::PerSecond(_))
    }
}

pub(crate) fn all() -> Vec<Scenario> {
    let stage = |name, title, redis_us| Stage { name, title, redis_us };
    let alone = |name, title, load| Scenario { name, stages: vec![stage(name, title, None)], load };
    let traffic = |name, title, traffic| alone(name, title, Load::Traffic(traffic));
    let across =
        |name, title, redis_us, traffic| Scenario { name, stages: vec![stage(name, title, Some(redis_us))], load: Load::Across(traffic) };
    let one = Traffic { publishers: 1, subscribers: 1, pairs: true, qos: 1, payload_bytes: 64, durable: false, pace: Pace::Window(100) };
    let away = Traffic { publishers: 100, subscribers: 100, durable: true, pace: Pace::Window(20), ..one };
    let undelivered = Pace::Undelivered;
    vec![
        traffic("A", "1 → 1, QoS 0, 64 B, at most 1000 undelivered", Traffic { qos: 0, pace: undelivered(1000), ..one }),
        traffic("B", "1 → 1, QoS 1, 64 B, window 100", one),
        traffic("C", "1 → 1, QoS 2, 64 B, window 100", Traffic { qos: 2, ..one }),
        traffic(
            "D",
            "1 → 200, QoS 0, 256 B, at most 100 undelivered",
            Traffic { subscribers: 200, pairs: false, qos: 0, payload_bytes: 256, pace: undelivered(100), ..one },
        ),
        traffic("E1", "100 → 1, QoS 1, 64 B, window 20 each", Traffic { publishers: 100, pairs: false, pace: Pace::Window(20), ..one }),
        traffic("F", "50 pairs, QoS 1, 64 B, window 20 each", Traffic { publishers: 50, subscribers: 50, pace: Pace::Window(20), ..one }),
        traffic("G", "1 → 1, QoS 1, 64 B, 5000 messages a second", Traffic { pace: Pace::PerSecond(5000), ..one }),
        alone("H", "10,000 idle connections; 2,000 over another transport", Load::Idle),
        Scenario {
            name: "I",
            stages: vec![
                stage("I", "100 pairs, node 1 → node 2, QoS 1, 64 B, window 20 each, stored while the Sessions are away", Some(3.4)),
                stage("I drain", "the same, drained when they come", None),
            ],
            load: Load::Away(away),
        },
        across("J0", "node 1 → node 2, QoS 0, 64 B, at most 1000 undelivered", 0.27, Traffic { qos: 0, pace: undelivered(1000), ..one }),
        across("J1", "node 1 → node 2, QoS 1, 64 B, window 100", 0.35, one),
        alone("K", "8 clients that come and go", Load::Connects),
        across(
            "L",
            "200 pairs, node 1 → node 2, QoS 1, 200 B, window 20 each, to Sessions that last",
            3.6,
            Traffic { publishers: 200, subscribers: 200, payload_bytes: 200, ..away },
        ),
    ]
}
