//! The topics under `$SYS/broker/` (or that of one node) and what they say, in the words of mosquitto. Pure: numbers in, texts out.

use super::load::{LOADS, Load, PERIODS};
use crate::time::Span;

/// What the tree is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub uptime: Span,
    /// Clients that are connected, and the most that ever were.
    pub connected: u64,
    pub connected_highest: u64,
    /// Sessions that have expired.
    pub expired: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    pub retained: u64,
    /// Messages in the queues of all Sessions.
    pub queued: u64,
    pub held_bytes: u64,
    /// Those that are not shared.
    pub subscriptions: u64,
    pub shared_subscriptions: u64,
    /// Messages above QoS 0 that Clients have and have not acknowledged.
    pub in_flight: u64,
    /// Memory of the process in bytes, and the most that it ever had.
    pub memory: u64,
    pub memory_highest: u64,
    pub totals: Totals,
    pub publish_bytes_received: u64,
    pub publish_bytes_sent: u64,
}

/// What was counted since the start, and has a load average.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub connections: u64,
    pub sockets: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub packets_sent: u64,
    pub publishes_received: u64,
    pub publishes_sent: u64,
    pub publishes_dropped: u64,
}

impl Totals {
    /// Every one with the name of its load average.
    pub(super) fn with_load(&self) -> [(&'static str, u64); LOADS] {
        [
            ("connections", self.connections),
            ("sockets", self.sockets),
            ("bytes/received", self.bytes_received),
            ("bytes/sent", self.bytes_sent),
            ("messages/received", self.packets_received),
            ("messages/sent", self.packets_sent),
            ("publish/received", self.publishes_received),
            ("publish/sent", self.publishes_sent),
            ("publish/dropped", self.publishes_dropped),
        ]
    }
}

/// The layout of what a node tells the others.
const LAYOUT: u64 = 2;

impl Numbers {
    /// What a node has counted by itself.
    fn counted(&mut self) -> [&mut u64; 20] {
        let totals = &mut self.totals;
        [
            &mut self.uptime.0,
            &mut self.connected_highest,
            &mut self.connected,
            &mut self.expired,
            &mut self.subscriptions,
            &mut self.shared_subscriptions,
            &mut totals.connections,
            &mut totals.sockets,
            &mut totals.bytes_received,
            &mut totals.bytes_sent,
            &mut totals.packets_received,
            &mut totals.packets_sent,
            &mut totals.publishes_received,
            &mut totals.publishes_sent,
            &mut totals.publishes_dropped,
            &mut self.publish_bytes_received,
            &mut self.publish_bytes_sent,
            &mut self.in_flight,
            &mut self.memory,
            &mut self.memory_highest,
        ]
    }

    /// What a node tells the others: the layout, then what it has counted.
    pub(super) fn write(&self) -> String {
        let mut copy = self.clone();
        let counted = copy.counted().map(|number| *number);
        std::iter::once(LAYOUT).chain(counted).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// What another node has told; `None` when it is not understood.
    pub(super) fn read(text: &str) -> Option<Numbers> {
        let told: Vec<u64> = text.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let (layout, told) = told.split_first()?;
        let mut numbers = Numbers::default();
        let counted = numbers.counted();
        if *layout != LAYOUT || told.len() != counted.len() {
            return None;
        }
        counted.into_iter().zip(told).for_each(|(number, told)| *number = *told);
        Some(numbers)
    }

    /// With what another node has counted: of the times, and of the most that ever were, the higher one.
    pub(super) fn add(&mut self, other: &Numbers) {
        let mut other = other.clone();
        for (place, (sum, number)) in self.counted().into_iter().zip(other.counted()).enumerate() {
            *sum = if place < 2 { (*sum).max(*number) } else { sum.saturating_add(*number) };
        }
    }
}

/// What only the Store knows, and no node can say of itself.
const OF_ALL: [&str; 7] = [
    "clients/disconnected",
    "clients/inactive",
    "clients/total",
    "messages/stored",
    "retained messages/count",
    "store/messages/count",
    "store/messages/bytes",
];

pub(super) fn is_of_all(name: &str) -> bool {
    OF_ALL.contains(&name)
}

/// Every name with its text, always the same names in the same order.
pub(super) fn tree(numbers: &Numbers, load: &Load) -> Vec<(String, String)> {
    let totals = &numbers.totals;
    let texts = [
        ("version", concat!("mqttd version ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("uptime", format!("{} seconds", numbers.uptime.0 / 1000)),
    ];
    let counts = [
        ("clients/connected", numbers.connected),
        ("clients/disconnected", numbers.sessions.saturating_sub(numbers.connected)),
        // The older names of these two, which some tools still ask for.
        ("clients/active", numbers.connected),
        ("clients/inactive", numbers.sessions.saturating_sub(numbers.connected)),
        ("clients/maximum", numbers.connected_highest),
        ("clients/total", numbers.sessions.max(numbers.connected)),
        ("clients/expired", numbers.expired),
        ("messages/received", totals.packets_received),
        ("messages/sent", totals.packets_sent),
        ("messages/inflight", numbers.in_flight),
        ("messages/stored", numbers.queued + numbers.retained),
        ("publish/messages/received", totals.publishes_received),
        ("publish/messages/sent", totals.publishes_sent),
        ("publish/messages/dropped", totals.publishes_dropped),
        ("publish/bytes/received", numbers.publish_bytes_received),
        ("publish/bytes/sent", numbers.publish_bytes_sent),
        ("bytes/received", totals.bytes_received),
        ("bytes/sent", totals.bytes_sent),
        ("retained messages/count", numbers.retained),
        ("store/messages/count", numbers.queued + numbers.retained),
        ("store/messages/bytes", numbers.held_bytes),
        ("subscriptions/count", numbers.subscriptions),
        ("shared_subscriptions/count", numbers.shared_subscriptions),
        ("heap/current", numbers.memory),
        ("heap/maximum", numbers.memory_highest),
    ];
    let loads = totals.with_load().into_iter().zip(load.averages()).flat_map(|((name, _), averages)| {
        let each = PERIODS.iter().zip(averages);
        each.map(move |((period, _), average)| (format!("load/{name}/{period}"), format!("{average:.2}")))
    });
    let texts = texts.into_iter().chain(counts.map(|(name, count)| (name, count.to_string())));
    texts.map(|(name, text)| (name.to_owned(), text)).chain(loads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn numbers() -> Numbers {
        Numbers {
            uptime: Span(83_999),
            connected: 3,
            connected_highest: 5,
            expired: 2,
            sessions: 7,
            retained: 60,
            queued: 40,
            held_bytes: 12_345,
            subscriptions: 11,
            shared_subscriptions: 4,
            in_flight: 8,
            memory: 70_000,
            memory_highest: 80_000,
            totals: Totals {
                connections: 20,
                sockets: 30,
                bytes_received: 1000,
                bytes_sent: 2000,
                packets_received: 100,
                packets_sent: 200,
                publishes_received: 50,
                publishes_sent: 60,
                publishes_dropped: 6,
            },
            publish_bytes_received: 500,
            publish_bytes_sent: 600,
        }
    }

    #[test]
    fn says_every_number_in_its_topic() {
        let mut load = Load::default();
        load.step(&Totals::default(), Time(0));
        load.step(&numbers().totals, Time(60_000));
        let tree = tree(&numbers(), &load);
        let rows = [
            ("version", concat!("mqttd version ", env!("CARGO_PKG_VERSION"))),
            ("uptime", "83 seconds"),
            ("clients/connected", "3"),
            ("clients/disconnected", "4"),
            ("clients/maximum", "5"),
            ("clients/total", "7"),
            ("clients/expired", "2"),
            ("messages/received", "100"),
            ("messages/sent", "200"),
            ("publish/messages/received", "50"),
            ("publish/messages/sent", "60"),
            ("publish/messages/dropped", "6"),
            ("publish/bytes/received", "500"),
            ("publish/bytes/sent", "600"),
            ("bytes/received", "1000"),
            ("bytes/sent", "2000"),
            ("retained messages/count", "60"),
            ("store/messages/count", "100"),
            ("store/messages/bytes", "12345"),
            ("subscriptions/count", "11"),
            ("shared_subscriptions/count", "4"),
            ("clients/active", "3"),
            ("clients/inactive", "4"),
            ("messages/inflight", "8"),
            ("messages/stored", "100"),
            ("heap/current", "70000"),
            ("heap/maximum", "80000"),
            ("load/connections/1min", "12.64"),
            ("load/connections/5min", "3.63"),
            ("load/connections/15min", "1.29"),
            ("load/sockets/1min", "18.96"),
            ("load/bytes/received/1min", "632.12"),
            ("load/bytes/sent/1min", "1264.24"),
            ("load/messages/received/1min", "63.21"),
            ("load/messages/sent/1min", "126.42"),
            ("load/publish/received/1min", "31.61"),
            ("load/publish/sent/1min", "37.93"),
            ("load/publish/dropped/15min", "0.39"),
        ];
        for (name, expected) in rows {
            let said: Vec<_> = tree.iter().filter(|(known, _)| known == name).map(|(_, text)| text).collect();
            assert_eq!(said, [expected], "{name}");
        }
        assert_eq!(tree.len(), 27 + 9 * 3);
    }

    #[test]
    fn what_nodes_have_counted_adds_up() {
        let told = Numbers::read(&numbers().write()).unwrap();
        let mut all = Numbers { sessions: 9, uptime: Span(100_000), ..Numbers::default() };
        all.add(&told);
        all.add(&told);
        let found = [all.connected, all.connected_highest, all.subscriptions, all.totals.bytes_sent, all.sessions, all.uptime.0];
        assert_eq!(found, [6, 5, 22, 4000, 9, 100_000]);
        for strange in ["", "1", "2 3", &format!("{} 1", told.write()), &told.write().replacen('2', "9", 1)] {
            assert!(Numbers::read(strange).is_none(), "{strange}");
        }
    }

    /// The numbers are not of the same moment: none goes below zero.
    #[test]
    fn nobody_is_counted_twice() {
        let numbers = Numbers { connected: 2, sessions: 1, ..Numbers::default() };
        let tree = tree(&numbers, &Load::default());
        for (name, expected) in [("connected", "2"), ("disconnected", "0"), ("total", "2")] {
            assert!(tree.contains(&(format!("clients/{name}"), expected.to_owned())), "{name}");
        }
    }
}
