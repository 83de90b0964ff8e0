//! A Client and a Store as models, against the Session: whatever gets lost with a connection, QoS 1 arrives at least once, QoS 2 exactly
//! once, both in order and within the window, in both directions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::dialogue::{V3, V5, packets, setting, topic};
use crate::message::{InRun, Message, Permit, Run};
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::publish::Publish;
use crate::packet::reason::Reason;
use crate::packet::{Packet, PacketId, QoS, Version};
use crate::session::outbound::Delivery;
use crate::session::state::{Sequence, State};
use crate::session::{Command, Outcome, Session};
use crate::subscription::Grant;
use crate::time::Time;

const NOW: Time = Time(1_000_000);

#[derive(Clone, Debug)]
enum Action {
    /// Somebody publishes to the Client.
    Deliver(QoS),
    /// The Client takes in one packet that was sent to it, or its whole socket.
    Take,
    TakeAll,
    /// The Client sends one of the answers that it owes, the n-th.
    Answer(usize),
    /// The Client publishes.
    Publish(QoS),
    /// The connection breaks: what is on the way in either direction is lost.
    Break,
    /// The Client comes back with another Receive Maximum; otherwise the same.
    Window(u16),
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn actions(lasts: bool) -> impl Strategy<Value = Vec<Action>> {
    let breaks = if lasts { 2 } else { 0 };
    let action = prop_oneof![
        8 => qos().prop_map(Action::Deliver),
        8 => Just(Action::Take),
        3 => Just(Action::TakeAll),
        10 => (0..6_usize).prop_map(Action::Answer),
        4 => qos().prop_map(Action::Publish),
        breaks => Just(Action::Break),
        breaks => (1..5_u16).prop_map(Action::Window),
    ];
    prop::collection::vec(action, 1..120)
}

/// The queue of the Session, and what was published.
#[derive(Default)]
struct Store {
    queue: BTreeMap<Sequence, InRun>,
    last: Sequence,
    /// All that was ever read: it may have been sent.
    handed: Sequence,
    received: BTreeSet<PacketId>,
    released: Vec<Sequence>,
    published: Vec<(QoS, u32)>,
}

/// What the Client remembers over all its connections.
#[derive(Default)]
struct Client {
    /// On the way to it.
    incoming: VecDeque<Packet>,
    /// What it owes, in no order that anybody promised.
    owed: Vec<Packet>,
    /// QoS 2 Packet Identifiers that came and were not released.
    taken: BTreeSet<PacketId>,
    got: Vec<(QoS, u32)>,
    /// What it published and nobody has acknowledged: by Packet Identifier, with whether PUBREC came.
    open: Vec<(PacketId, QoS, u32, bool)>,
    next: u16,
    /// Packet Identifiers in flight on this connection, from PUBLISH to the last answer.
    in_flight: BTreeSet<PacketId>,
}

struct World {
    version: Version,
    lasts: bool,
    window: u16,
    session: Session,
    store: Store,
    client: Client,
    delivered: Vec<(QoS, u32)>,
    published: Vec<(QoS, u32)>,
}

fn session(version: Version, lasts: bool, window: u16, state: Option<State>) -> Session {
    let mut setting = setting(version, lasts);
    setting.settings.in_flight_max = window;
    setting.state = state;
    setting.start().session
}

fn message(qos: QoS, number: u32) -> Message {
    Message { topic: topic("a"), payload: number.to_string().into(), qos, retain: false, properties: None, expires_at: None }
}

fn number(publish: &Publish) -> u32 {
    std::str::from_utf8(&publish.payload).unwrap().parse().unwrap()
}

fn acknowledge(kind: Kind, packet_id: PacketId) -> Packet {
    Packet::Acknowledge(Acknowledge { kind, packet_id, reason: Reason::SUCCESS, properties: None })
}

impl World {
    fn new(version: Version, lasts: bool, first: Sequence) -> World {
        let session = session(version, lasts, 3, None);
        let store = Store { last: first, handed: first, ..Store::default() };
        let (client, delivered, published) = Default::default();
        let mut world = World { version, lasts, window: 3, session, store, client, delivered, published };
        world.turn(None);
        world
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(qos) => {
                let number = self.delivered.len() as u32;
                self.delivered.push((qos, number));
                let run = Arc::new(Run::from(message(qos, number)));
                let grant = Grant { qos: QoS::ExactlyOnce, ..Grant::default() };
                if self.lasts {
                    self.store.last += 1;
                    self.store.queue.insert(self.store.last, InRun { run, index: 0 });
                    self.session.ring();
                } else {
                    self.session.deliver(&Delivery { run, grant }, NOW);
                }
                self.turn(None);
            }
            Action::Take => self.take(),
            Action::TakeAll => (0..self.client.incoming.len()).for_each(|_| self.take()),
            Action::Answer(at) => {
                if !self.client.owed.is_empty() {
                    let packet = self.client.owed.remove(at % self.client.owed.len());
                    self.turn(Some(packet));
                }
            }
            Action::Publish(qos) => {
                self.client.next = self.client.next % 20 + 1;
                let id = PacketId::new(self.client.next).unwrap();
                if self.client.open.iter().all(|(other, ..)| *other != id) {
                    let number = self.published.len() as u32;
                    self.published.push((qos, number));
                    self.client.open.push((id, qos, number, false));
                    self.turn(Some(publish(id, qos, number, false)));
                }
            }
            Action::Break => self.come_back(),
            Action::Window(window) => {
                self.window = window;
                self.come_back();
            }
        }
    }

    /// One turn of the connection.
    fn turn(&mut self, packet: Option<Packet>) {
        if let Some(packet) = packet {
            // From here on the Packet Identifier may be used again.
            if let Packet::Acknowledge(Acknowledge { kind: Kind::Puback | Kind::Pubcomp, packet_id, .. }) = &packet {
                self.client.in_flight.remove(packet_id);
            }
            self.session.handle(packet, |_| Ok(Permit::ALL), NOW).expect("the Client keeps to the rules");
        }
        self.commit();
        if let Some((after, limit)) = self.session.store_read() {
            let grant = Grant { qos: QoS::ExactlyOnce, ..Grant::default() };
            let page = self.store.queue.range(after + 1..).take(limit);
            let page: Vec<_> = page.map(|(&sequence, message)| (sequence, message.clone(), grant.clone())).collect();
            self.store.handed = page.last().map_or(self.store.handed, |last| last.0.max(self.store.handed));
            self.session.deliver_stored(page.into_iter().map(|(sequence, message, grant)| (sequence, Some(message), grant)), limit, NOW);
        }
        for packet in packets(&mut self.session) {
            if let Packet::Publish(Publish { packet_id: Some(id), .. }) = &packet {
                assert!(self.client.in_flight.insert(*id), "Packet Identifier {id} is used twice at a time");
                assert!(self.session.in_flight() <= usize::from(self.window), "more than the window in flight");
            }
            self.client.incoming.push_back(packet);
        }
    }

    fn commit(&mut self) {
        let mut outcomes = Vec::new();
        for command in self.session.commands() {
            outcomes.push(Outcome::Done);
            match command {
                Command::Publish { run, received } => {
                    let all = run.messages().iter();
                    self.store.published.extend(all.map(|it| (it.qos, std::str::from_utf8(&it.payload).unwrap().parse::<u32>().unwrap())));
                    self.store.received.extend(received);
                }
                Command::Acknowledge(sequence) => drop(self.store.queue.remove(&sequence)),
                Command::Release(sequence) => self.store.released.extend(self.store.queue.remove(&sequence).map(|_| sequence)),
                Command::Complete(sequence) => self.store.released.retain(|released| *released != sequence),
                Command::Forget(packet_id) => drop(self.store.received.remove(&packet_id)),
                Command::Subscribe(_) | Command::Unsubscribe(_) => unreachable!("the Client does not"),
            }
        }
        self.session.settle(outcomes).unwrap();
    }

    /// The Client takes in the next packet.
    fn take(&mut self) {
        let Some(packet) = self.client.incoming.pop_front() else { return };
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id.unwrap();
                let first = publish.qos == QoS::AtLeastOnce || self.client.taken.insert(id);
                if first {
                    self.client.got.push((publish.qos, number(&publish)));
                }
                let kind = if publish.qos == QoS::AtLeastOnce { Kind::Puback } else { Kind::Pubrec };
                self.client.owed.push(acknowledge(kind, id));
            }
            Packet::Acknowledge(Acknowledge { kind, packet_id, reason, .. }) => {
                // PUBCOMP got lost, and with it that the Server has forgotten the Packet Identifier.
                assert!(!reason.is_error() || kind == Kind::Pubcomp, "{kind:?} {packet_id}: {reason:?}");
                match kind {
                    Kind::Pubrel => {
                        self.client.taken.remove(&packet_id);
                        self.client.owed.push(acknowledge(Kind::Pubcomp, packet_id));
                    }
                    Kind::Pubrec => {
                        self.client.open.iter_mut().filter(|(id, ..)| *id == packet_id).for_each(|open| open.3 = true);
                        self.client.owed.push(acknowledge(Kind::Pubrel, packet_id));
                    }
                    Kind::Puback | Kind::Pubcomp => self.client.open.retain(|(id, ..)| *id != packet_id),
                }
            }
            Packet::Connack(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Another connection: the Client sends again what was not acknowledged.
    fn come_back(&mut self) {
        self.client.incoming.clear();
        self.client.owed.clear();
        self.client.in_flight.clear();
        let state = State {
            subscriptions: Vec::new(),
            received: self.store.received.iter().copied().collect(),
            released: self.store.released.clone(),
            sent: self.store.handed.max(self.session.sent()),
        };
        // A released one is in flight until its PUBCOMP.
        let released = state.released.iter().map(|&sequence| crate::session::state::packet_id(sequence));
        self.client.in_flight = released.collect();
        self.session = session(self.version, self.lasts, self.window, Some(state));
        self.turn(None);
        for (id, qos, number, is_received) in self.client.open.clone() {
            let again = if is_received { acknowledge(Kind::Pubrel, id) } else { publish(id, qos, number, true) };
            self.turn(Some(again));
        }
    }

    /// Lets everything that is under way come to its end, and looks at what became of it.
    fn check(&mut self) {
        for _ in 0..10_000 {
            self.act(Action::TakeAll);
            if self.client.owed.is_empty() && self.client.incoming.is_empty() {
                break;
            }
            self.act(Action::Answer(0));
        }
        assert_eq!((self.session.in_flight(), self.session.pending()), (0, 0));
        assert!(self.store.queue.is_empty() && self.store.released.is_empty() && self.store.received.is_empty());
        assert!(self.client.open.is_empty() && self.client.taken.is_empty());
        check_all(&self.delivered, &self.client.got);
        check_all(&self.published, &self.store.published);
    }
}

fn publish(id: PacketId, qos: QoS, number: u32, dup: bool) -> Packet {
    let Message { topic, payload, .. } = message(qos, number);
    let topic = topic.text().clone();
    Packet::Publish(Publish { dup, qos, retain: false, topic, packet_id: Some(id), properties: None, payload })
}

/// Everything arrives, QoS 2 once, and for the first time in the order in which it was sent.
fn check_all(sent: &[(QoS, u32)], got: &[(QoS, u32)]) {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let of = |all: &[(QoS, u32)]| all.iter().filter(|one| one.0 == qos).map(|one| one.1).collect::<Vec<_>>();
        let mut seen = BTreeSet::new();
        let mut arrived = of(got);
        if qos == QoS::AtLeastOnce {
            arrived.retain(|number| seen.insert(*number));
        }
        assert_eq!(arrived, of(sent), "{qos:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_session_that_lasts_loses_nothing(actions in actions(true), v5: bool, first in prop_oneof![Just(0), Just(65_530), Just(1 << 50)]) {
        let mut world = World::new(if v5 { V5 } else { V3 }, true, first);
        actions.into_iter().for_each(|action| world.act(action));
        world.check();
    }

    #[test]
    fn a_session_of_one_connection_loses_nothing_while_it_lasts(actions in actions(false), v5: bool) {
        let mut world = World::new(if v5 { V5 } else { V3 }, false, 0);
        actions.into_iter().for_each(|action| world.act(action));
        world.check();
    }
}
