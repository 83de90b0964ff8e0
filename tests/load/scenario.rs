//! What is measured.

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One for each of its stages.
    pub(crate) rows: Vec<Row>,
    pub(crate) load: Load,
}

/// What is measured at once.
pub(crate) struct Row {
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
    Idle {
        connections: usize,
    },
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
    let row = |name, title, redis_us| Row { name, title, redis_us };
    let traffic = |name, title, traffic| Scenario { name, rows: vec![row(name, title, None)], load: Load::Traffic(traffic) };
    let across =
        |name, title, redis_us, traffic| Scenario { name, rows: vec![row(name, title, Some(redis_us))], load: Load::Across(traffic) };
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
        Scenario { name: "H", rows: vec![row("H", "10,000 idle connections", None)], load: Load::Idle { connections: 10_000 } },
        Scenario {
            name: "I",
            rows: vec![
                row("I", "100 pairs, QoS 1, 64 B, window 20 each, stored while the Sessions are away", Some(3.4)),
                row("I drain", "and drained", None),
            ],
            load: Load::Away(away),
        },
        across("J0", "node 1 → node 2, QoS 0, 64 B, at most 1000 undelivered", 0.27, Traffic { qos: 0, pace: undelivered(1000), ..one }),
        across("J1", "node 1 → node 2, QoS 1, 64 B, window 100", 0.35, one),
        across(
            "L",
            "200 pairs, node 1 → node 2, QoS 1, 200 B, window 20 each, to Sessions that last",
            3.6,
            Traffic { publishers: 200, subscribers: 200, payload_bytes: 200, ..away },
        ),
    ]
}
