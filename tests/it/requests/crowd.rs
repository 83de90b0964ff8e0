//! Somebody who asks much at one node, hears the answers at another, and counts what comes for each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use mqttd::packet::publish::Publish;
use mqttd_tests::client::Came;
use mqttd_tests::cluster::{PATIENCE, until};
use mqttd_tests::connecting::Connecting;
use mqttd_tests::*;

use super::kit::*;

/// How far it is, for those who look on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub asked: AtomicU32,
    pub ended: AtomicU32,
}

/// How often something came for one Correlation Data.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub answers: u32,
    pub errors: u32,
}

pub(super) struct Crowd {
    /// Where it may go when its node dies; one: it stays.
    nodes: Vec<SocketAddr>,
    publisher: Client,
    listener: Client,
    /// Where they are.
    places: [usize; 2],
    replies: String,
    pub counts: HashMap<u32, Count>,
    /// What it asked again because its node died before the PUBACK, and how often: nobody knows whether the node kept it.
    pub again: HashMap<u32, u32>,
    pub progress: Arc<Progress>,
}

impl Crowd {
    /// Asks at the first of these nodes, hears at the second, and stays there.
    pub(super) fn new(publisher: SocketAddr, listener: SocketAddr) -> Crowd {
        Crowd::roaming(vec![publisher, listener], false)
    }

    /// The same, but goes on at the next one of them when its node dies.
    pub(super) fn roaming(nodes: Vec<SocketAddr>, roams: bool) -> Crowd {
        let replies = unique("replies/");
        let publisher = Connecting::new(nodes[0], V5).connect();
        let mut listener = listening(nodes[1], &replies).connect();
        listener.subscribe(&replies, 1);
        let nodes = if roams { nodes } else { Vec::new() };
        let (counts, again) = Default::default();
        Crowd { nodes, publisher, listener, places: [0, 1], replies, counts, again, progress: Arc::default() }
    }

    /// So many requests, at most so many of them unanswered.
    pub(super) fn run(&mut self, count: u32, window: u32) {
        let mut sent = 0;
        while self.counts.len() < count as usize {
            while sent < count && sent < self.counts.len() as u32 + window {
                self.ask(sent);
                sent += 1;
                self.progress.asked.store(sent, Relaxed);
            }
            self.hear();
        }
    }

    fn ask(&mut self, number: u32) {
        loop {
            let asked = request(&format!("ask/{}", number % 7), number.to_string(), &self.replies, &number.to_string());
            self.publisher.send(asked.qos(1).id((number % 60_000) as u16 + 1));
            match self.publisher.came_within(PATIENCE) {
                Came::Packet(Packet::Acknowledge(ack)) if !ack.reason.is_error() => return,
                Came::Closed | Came::Packet(Packet::Disconnect(_)) if !self.nodes.is_empty() => {}
                other => self.publisher.fail("PUBACK", &other),
            }
            *self.again.entry(number).or_default() += 1;
            self.publisher = self.elsewhere(0, |node| Connecting::new(node, V5));
        }
    }

    fn hear(&mut self) {
        loop {
            match self.listener.came_within(PATIENCE) {
                Came::Packet(Packet::Publish(publish)) => return self.note(publish),
                Came::Closed | Came::Packet(Packet::Disconnect(_)) if !self.nodes.is_empty() => {
                    let replies = self.replies.clone();
                    self.listener = self.elsewhere(1, |node| listening(node, &replies));
                    assert!(self.listener.session_present(), "its Session was kept");
                }
                other => self.listener.fail("an answer", &other),
            }
        }
    }

    /// Whatever is still to come has come.
    pub(super) fn drain(&mut self) {
        for _ in 0..2 {
            self.listener.send(Packet::Pingreq);
            loop {
                match self.listener.came_within(PATIENCE) {
                    Came::Packet(Packet::Pingresp) => break,
                    Came::Packet(Packet::Publish(publish)) => self.note(publish),
                    other => self.listener.fail("PINGRESP", &other),
                }
            }
        }
    }

    fn elsewhere(&mut self, who: usize, connecting: impl Fn(SocketAddr) -> Connecting) -> Client {
        let mut found = None;
        until("another node lets it in", || {
            self.places[who] = (self.places[who] + 1) % self.nodes.len();
            found = connecting(self.nodes[self.places[who]]).try_connect(PATIENCE);
            found.is_some()
        });
        found.expect("just found")
    }

    fn note(&mut self, came: Publish) {
        if let Some(id) = came.packet_id {
            self.listener.send(puback(id.get()));
        }
        let properties = came.properties.expect("Correlation Data");
        let number: u32 = std::str::from_utf8(&properties.correlation_data.unwrap()).unwrap().parse().unwrap();
        // A PUBACK that was lost with a node: the same message, and not another answer.
        if came.dup && self.counts.contains_key(&number) {
            return;
        }
        let count = self.counts.entry(number).or_default();
        if properties.user_properties.iter().any(|(name, _)| name == "mqttd-error") {
            count.errors += 1;
        } else {
            assert_eq!(came.payload, number.to_string());
            count.answers += 1;
        }
        self.progress.ended.store(self.counts.len() as u32, Relaxed);
    }
}

/// A Session that lasts, named like its topic.
fn listening(node: SocketAddr, replies: &str) -> Connecting {
    Connecting::new(node, V5).id(&replies.replace('/', "-")).durable().receive_maximum(1000)
}
