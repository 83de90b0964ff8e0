//! The protocol of one Client: packets in, replies and commands out. No I/O, reads no clock, spawns nothing.
//!
//! The driver's rule: hand in what arrived ([`Session::handle`], [`Session::deliver`], [`Session::deliver_stored`]), take the
//! commands ([`Session::commands`]), have the Store do them, hand back the outcomes ([`Session::settle`]), then write what is
//! [`Session::outgoing`]. Whatever promises something is encoded by `settle` only, so it cannot leave too early.

pub mod connect;
mod following;
mod in_flight;
pub mod inbound;
pub mod outbound;
pub mod settings;
pub mod state;
pub mod subscribe;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::message::{Permit, Run};
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::connect::ClientId;
use crate::packet::disconnect::Disconnect;
use crate::packet::outgoing::Outgoing;
use crate::packet::primitive::DecodeError;
use crate::packet::reason::Reason;
use crate::packet::subscribe::Subscribe;
use crate::packet::{Packet, PacketId, Version};
use crate::session::settings::Settings;
use crate::session::state::Sequence;
use crate::subscription::{Selector, Subscription};
use crate::time::{Span, Time};
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Why a Network Connection must end. The connection turns it into a DISCONNECT with this Reason Code, or a plain close for 3.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub reason: Reason,
    pub text: &'static str,
}

impl Fault {
    pub const fn new(reason: Reason, text: &'static str) -> Fault {
        Fault { reason, text }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Fault {
        Fault { reason: error.reason, text: error.text }
    }
}

/// What the driver does next after a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Continue,
    /// A PUBLISH on which somebody else decides.
    Offered(inbound::Offer),
    /// The Client said DISCONNECT.
    Disconnected,
    /// An AUTH packet came: re-authentication is the connection's matter.
    Authenticate(Box<crate::packet::auth::Auth>),
}

/// Something that the Store or the router must do, in this order.
#[derive(Debug)]
pub enum Command {
    /// Route a run. `received` names the QoS 2 Packet Identifiers of a durable Session that must be on record with it.
    Publish {
        run: Arc<Run>,
        received: Vec<PacketId>,
    },
    Subscribe(Vec<Result<Subscription, Reason>>),
    Unsubscribe(Vec<Result<Selector, Reason>>),
    Acknowledge(Sequence),
    Release(Sequence),
    Complete(Sequence),
    Forget(PacketId),
}

/// What became of a [`Command`], one for each.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Routed; `matched` says whether any subscription was there.
    Published {
        matched: bool,
    },
    /// A publish that was not taken, with the reason for the publisher.
    Refused(Reason),
    Subscribed(Vec<Subscribed>),
    Unsubscribed(Vec<Reason>),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub subscription: Result<Subscription, Reason>,
    /// It replaced one with the same Topic Filter.
    pub existed: bool,
}

/// An acknowledgement that waits for the outcome of its command.
#[derive(Debug)]
struct Promise {
    command: Option<usize>,
    packet: Promised,
}

#[derive(Debug)]
enum Promised {
    Acknowledge(Kind, PacketId, Reason),
    Suback(PacketId),
    /// With the Topic Filters that are not shared.
    Unsuback(PacketId, Vec<TopicFilter>),
}

/// What was counted since it was last asked, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Control Packets of any type, PUBLISH among them.
    pub packets_sent: u64,
    pub publishes_received: u64,
    /// Payloads only, in both directions.
    pub publish_bytes_received: u64,
    pub publishes_sent: u64,
    pub publish_bytes_sent: u64,
    pub expired: u64,
    pub too_large: u64,
}

/// The Session of a connected Client.
#[derive(Debug)]
pub struct Session {
    client_id: ClientId,
    version: Version,
    settings: Arc<Settings>,
    /// Messages above QoS 0 come from the Store, and acknowledgements go to it.
    durable: bool,
    expiry: Option<Span>,
    expiry_at_connect_is_zero: bool,
    problem_information: bool,
    packet_bytes_max: u32,
    keep_alive: Span,
    last_heard: Time,
    keep_will: bool,
    inbound: inbound::Inbound,
    outbound: outbound::Outbound,
    retained_reads: std::collections::VecDeque<subscribe::RetainedRead>,
    commands: Vec<Command>,
    promises: Vec<Promise>,
    /// As many as the last turn had; without any they take no memory.
    promises_expected: usize,
    outgoing: Outgoing,
    counts: Counts,
    /// Who wants to know what becomes of messages.
    following: Option<Box<following::Following>>,
}

impl Session {
    pub fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// How long the Session outlives this connection; `None` for ever.
    pub fn expiry(&self) -> Option<Span> {
        self.expiry
    }

    /// Whether the will is to be published when the connection ends now (section 3.1.2.5).
    pub fn keep_will(&self) -> bool {
        self.keep_will
    }

    /// What is to be written to the Network Connection.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Handles one packet of the Client. `admit` says what may be published to a Topic Name; it is asked once for a run.
    pub fn handle(&mut self, packet: Packet, admit: impl FnOnce(&TopicName) -> Result<Permit, Reason>, now: Time) -> Result<Step, Fault> {
        self.last_heard = now;
        match packet {
            Packet::Publish(publish) => {
                if let Some(offer) = self.offer(publish, admit, now)? {
                    if self.asks() {
                        return Ok(Step::Offered(offer));
                    }
                    self.accept(offer);
                }
            }
            Packet::Acknowledge(acknowledge) => self.acknowledged(acknowledge, now)?,
            Packet::Subscribe(subscribe) => self.subscribe(*subscribe, &[])?,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(*unsubscribe)?,
            Packet::Pingreq => self.send(&Packet::Pingresp),
            Packet::Disconnect(disconnect) => return self.disconnected(&disconnect),
            Packet::Auth(auth) => return Ok(Step::Authenticate(auth)),
            Packet::Connect(_) => return Err(Fault::new(Reason::PROTOCOL_ERROR, "a second CONNECT")), // [MQTT-3.1.0-2]
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                return Err(Fault::new(Reason::PROTOCOL_ERROR, "a packet that only a Server sends"));
            }
        }
        Ok(Step::Continue)
    }

    /// What comes next is no part of the run that grows.
    pub fn end_run(&mut self) {
        self.seal_run();
    }

    /// A SUBSCRIBE of which some Topic Filters are refused by hooks, one entry for each of its filters.
    pub fn subscribe_except(&mut self, subscribe: Subscribe, refused: &[Option<Reason>], now: Time) -> Result<(), Fault> {
        self.last_heard = now;
        self.subscribe(subscribe, refused)
    }

    /// The Client is alive for all we know: nothing is read from it while somebody decides on what it said.
    pub fn excuse(&mut self, now: Time) {
        self.last_heard = now;
    }

    /// When the last packet of the Client came.
    pub fn last_heard(&self) -> Time {
        self.last_heard
    }

    /// When [`Session::handle_timeout`] is next to be called, if nothing comes from the Client before.
    pub fn deadline(&self) -> Option<Time> {
        (self.keep_alive > Span(0)).then(|| self.last_heard + self.keep_alive)
    }

    /// Ends the connection when nothing came for one and a half times the Keep Alive `[MQTT-3.1.2-22]`.
    pub fn handle_timeout(&self, now: Time) -> Result<(), Fault> {
        match self.deadline() {
            Some(deadline) if now >= deadline => {
                Err(Fault::new(Reason::KEEP_ALIVE_TIMEOUT, "nothing came within 1.5 times the Keep Alive"))
            }
            _ => Ok(()),
        }
    }

    /// The commands since the last call. Their outcomes go to [`Session::settle`] before anything else is handed in.
    pub fn commands(&mut self) -> Vec<Command> {
        self.seal_run();
        std::mem::take(&mut self.commands)
    }

    /// Encodes the acknowledgements that waited for these outcomes, in the order in which their packets came `[MQTT-4.6.0-2]`.
    ///
    /// # Errors
    /// A message of a 3.1.1 Client was refused: its protocol has no word for that, so the connection ends without an acknowledgement.
    pub fn settle(&mut self, mut outcomes: Vec<Outcome>) -> Result<(), Fault> {
        let mut unspeakable = None;
        self.promises_expected = self.promises.len();
        for promise in std::mem::take(&mut self.promises) {
            let outcome = promise.command.map(|index| &mut outcomes[index]);
            match promise.packet {
                Promised::Acknowledge(kind, packet_id, reason) => {
                    unspeakable = unspeakable.or(self.promise_acknowledge(kind, packet_id, reason, outcome));
                }
                Promised::Suback(packet_id) => self.promise_suback(packet_id, outcome),
                Promised::Unsuback(packet_id, filters) => self.promise_unsuback(packet_id, &filters, outcome),
            }
        }
        self.inbound.turn_over();
        unspeakable.map_or(Ok(()), Err)
    }

    fn promise_acknowledge(&mut self, kind: Kind, packet_id: PacketId, mut reason: Reason, outcome: Option<&mut Outcome>) -> Option<Fault> {
        match outcome {
            Some(Outcome::Refused(refused)) => {
                reason = *refused;
                self.inbound.release(packet_id);
                if self.version < Version::V5 {
                    return Some(Fault::new(reason, "a message was refused"));
                }
            }
            Some(Outcome::Published { matched: false }) => reason = Reason::NO_MATCHING_SUBSCRIBERS,
            _ => {}
        }
        self.send_acknowledge(kind, packet_id, reason);
        None
    }

    fn send_acknowledge(&mut self, kind: Kind, packet_id: PacketId, reason: Reason) {
        Packet::Acknowledge(Acknowledge { kind, packet_id, reason, properties: None }).encode(self.version, self.outgoing.tail());
        self.counts.packets_sent += 1;
    }

    /// Encodes a packet of the Server unless it is larger than the Client takes `[MQTT-3.1.2-24]`.
    pub fn send(&mut self, packet: &Packet) {
        let sent = packet.encode_within(self.version, self.packet_bytes_max, self.outgoing.tail());
        self.counts.packets_sent += u64::from(sent);
    }

    /// Tells a 5.0 Client why the connection ends; for 3.1.1 there is no such packet.
    pub fn send_disconnect(&mut self, fault: Fault) {
        if self.version == Version::V5 {
            let reason_string = self.problem_information.then(|| fault.text.into());
            let server_reference = self.settings.reference(fault.reason);
            let (session_expiry_s, user_properties) = (None, Vec::new());
            // Only CONNACK can say 0x88 (table 3-10).
            let reason = if fault.reason == Reason::SERVER_UNAVAILABLE { Reason::SERVER_BUSY } else { fault.reason };
            self.send(&Packet::Disconnect(Box::new(Disconnect {
                reason,
                session_expiry_s,
                reason_string,
                server_reference,
                user_properties,
            })));
        }
    }

    fn disconnected(&mut self, disconnect: &Disconnect) -> Result<Step, Fault> {
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if self.expiry_at_connect_is_zero && expiry_s != 0 {
                // Section 3.14.2.2.2: what was zero in CONNECT cannot be raised.
                return Err(Fault::new(Reason::PROTOCOL_ERROR, "Session Expiry Interval was 0 in CONNECT and cannot be raised"));
            }
            self.expiry = self.settings.session_expiry(expiry_s);
        }
        self.keep_will = disconnect.reason != Reason::SUCCESS; // [MQTT-3.14.4-3]
        Ok(Step::Disconnected)
    }
}
