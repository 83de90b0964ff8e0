//! A workload, and apart from it what judges it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mqttd::packet::publish::Publish;
use mqttd_tests::client::Came;
use mqttd_tests::cluster::PATIENCE;
use mqttd_tests::connecting::Connecting;
use mqttd_tests::*;

/// Messages of a publisher that wait for an acknowledgement at a time.
const WINDOW: usize = 20;

/// A connection that says nothing for so long is given up, as a client with a Keep Alive would.
const SILENCE: Duration = Duration::from_secs(3);

/// Publishes numbered messages with a Session that lasts: whenever its connection ends it goes to the next node, and what was not
/// acknowledged it sends again, as section 4.4 has it.
pub(super) struct Publisher {
    connecting: Connecting,
    nodes: Vec<SocketAddr>,
    topic: String,
    level: u8,
    count: usize,
    /// What is on its way, in order: the number of the message, and whether its PUBREC came.
    waiting: VecDeque<(usize, bool)>,
    next: usize,
    /// How often it had to begin a connection again.
    pub(super) resumptions: usize,
}

impl Publisher {
    pub(super) fn new(version: Version, nodes: &[SocketAddr], topic: &str, level: u8, count: usize) -> Publisher {
        let connecting = Connecting::new(nodes[0], version).durable();
        Publisher {
            connecting,
            nodes: nodes.to_vec(),
            topic: topic.to_owned(),
            level,
            count,
            waiting: VecDeque::new(),
            next: 0,
            resumptions: 0,
        }
    }

    /// Comes back when all is acknowledged.
    pub(super) fn run(mut self) -> Publisher {
        let mut client = self.connect();
        while self.next < self.count || !self.waiting.is_empty() {
            while self.next < self.count && self.waiting.len() < WINDOW {
                self.waiting.push_back((self.next, false));
                client.send(self.message(self.next));
                self.next += 1;
            }
            match client.came_within(SILENCE) {
                // "Packet Identifier not found" is no error when an exchange is resumed (section 4.3.3).
                Came::Packet(Packet::Acknowledge(ack)) if !ack.reason.is_error() || ack.reason == Reason::PACKET_IDENTIFIER_NOT_FOUND => {
                    self.take(&mut client, ack.kind, ack.packet_id.get());
                }
                Came::Packet(Packet::Disconnect(_)) => {}
                Came::Closed | Came::Nothing => client = self.resume(),
                other => client.fail("an acknowledgement that accepts, or the end", &other),
            }
        }
        self
    }

    fn take(&mut self, client: &mut Client, kind: Kind, packet_id: u16) {
        let Some(at) = self.waiting.iter().position(|(number, _)| id(*number) == packet_id) else { return };
        if kind == Kind::Pubrec {
            self.waiting[at].1 = true;
            client.send(pubrel(packet_id));
        } else {
            self.waiting.remove(at);
        }
    }

    fn resume(&mut self) -> Client {
        self.resumptions += 1;
        self.nodes.rotate_left(1);
        let mut client = self.connect();
        assert!(client.session_present() || client.version == V3_1, "the Session of a publisher is gone");
        for &(number, received) in &self.waiting {
            match received {
                true => client.send(pubrel(id(number))),
                false => client.send(self.message(number).dup()),
            }
        }
        client
    }

    /// At the first node that accepts.
    fn connect(&mut self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = self.connecting.clone().to(self.nodes[0]).try_connect(SILENCE) {
                return client;
            }
            assert!(Instant::now() < deadline, "no node accepts");
            self.nodes.rotate_left(1);
        }
    }

    fn message(&self, number: usize) -> Message {
        message(&self.topic, format!("{number}")).qos(self.level).id(id(number))
    }
}

fn id(number: usize) -> u16 {
    (number % 65_000 + 1) as u16
}

/// What a subscriber must have got of each topic: everything, and in order, repetitions aside.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The next number by topic.
    next: BTreeMap<String, usize>,
    /// How many came again, by QoS.
    pub(super) repeated: [usize; 3],
}

impl Checker {
    #[track_caller]
    pub(super) fn check(&mut self, came: &Publish) {
        let number: usize = std::str::from_utf8(&came.payload).ok().and_then(|text| text.parse().ok()).expect("a number");
        let next = self.next.entry(came.topic.to_string()).or_default();
        assert!(number <= *next, "{}: {number} came and {next} did not: lost, or out of order", came.topic);
        if number < *next {
            self.repeated[came.qos as usize] += 1;
        } else {
            *next += 1;
        }
    }

    pub(super) fn total(&self) -> usize {
        self.next.values().sum()
    }

    /// Whether every topic is there to the end.
    pub(super) fn is_complete(&self, topics: usize, count: usize) -> bool {
        self.next.len() == topics && self.next.values().all(|next| *next == count)
    }
}

/// The Session of a subscriber, from its own side: it knows what of QoS 2 it has received and not released, whatever connection it has.
#[derive(Default)]
pub(super) struct Subscriber {
    pub(super) checker: Checker,
    unreleased: BTreeSet<u16>,
    /// A PINGREQ was.
    answered: bool,
}

impl Subscriber {
    /// Takes one packet and acknowledges it. False: the connection has ended.
    #[track_caller]
    pub(super) fn take(&mut self, client: &mut Client) -> bool {
        match client.came_within(PATIENCE) {
            Came::Packet(Packet::Publish(came)) => {
                let packet_id = came.packet_id.map_or(0, u16::from);
                if came.qos != QoS::ExactlyOnce {
                    self.checker.check(&came);
                    client.send(puback(packet_id));
                } else {
                    if self.unreleased.insert(packet_id) {
                        self.checker.check(&came);
                    }
                    client.send(pubrec(packet_id));
                }
            }
            Came::Packet(Packet::Acknowledge(ack)) if ack.kind == Kind::Pubrel => {
                self.unreleased.remove(&ack.packet_id.get());
                client.send(pubcomp(ack.packet_id.get()));
            }
            Came::Packet(Packet::Disconnect(_)) => {}
            Came::Packet(Packet::Pingresp) => self.answered = true,
            Came::Closed => return false,
            other => client.fail("more messages", &other),
        }
        true
    }

    /// Takes what a Session that was resumed still owes: a PUBCOMP that an outage lost is asked for again, and nothing else may come.
    #[track_caller]
    pub(super) fn finish_resumed(&mut self, client: &mut Client) {
        client.send(Packet::Pingreq);
        while self.waits() || !self.answered {
            assert!(self.take(client), "the connection has ended");
        }
        client.expect_nothing();
    }

    /// A PUBREL is still to come.
    pub(super) fn waits(&self) -> bool {
        !self.unreleased.is_empty()
    }

    /// Until all that is underway has come to its end.
    #[track_caller]
    pub(super) fn finish(&mut self, client: &mut Client) {
        while self.waits() {
            assert!(self.take(client), "the connection has ended");
        }
        client.expect_nothing();
    }
}

/// Publishers at once; their outcome when all have come to the end.
pub(super) fn start(publishers: Vec<Publisher>) -> mpsc::Receiver<Publisher> {
    let (done, outcome) = mpsc::channel();
    for publisher in publishers {
        let done = done.clone();
        // A publisher that fails drops its end, and the receiver sees one too few.
        std::thread::spawn(move || drop(done.send(publisher.run())));
    }
    outcome
}
