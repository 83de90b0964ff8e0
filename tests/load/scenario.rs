//! What is measured.

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) load: Load,
}

pub(crate) enum Load {
    Traffic(Traffic),
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
    let traffic = |name, title, traffic| Scenario { name, title, load: Load::Traffic(traffic) };
    let one = Traffic { publishers: 1, subscribers: 1, pairs: true, qos: 1, payload_bytes: 64, pace: Pace::Window(100) };
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
        Scenario { name: "H", title: "10,000 idle connections; 2,000 over another transport", load: Load::Idle },
        Scenario { name: "K", title: "8 clients that come and go", load: Load::Connects },
    ]
}
