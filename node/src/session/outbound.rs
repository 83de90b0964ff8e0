//! Messages to the Client: PUBLISH out, Packet Identifiers, the window, and what the Client acknowledges (sections 3.3 and 4.3, 4.4, 4.9).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::fate::{Step, Why};
use crate::message::{InRun, Message, Run};
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::publish::{self, Head, OwnProperties};
use crate::packet::reason::Reason;
use crate::packet::{PacketId, QoS, Version};
use crate::session::in_flight::{Awaiting, InFlight, NotAwaited, Slot};
use crate::session::settings::Settings;
use crate::session::state::{Sequence, packet_id};
use crate::session::{Command, Fault, Promise, Promised, Session};
use crate::subscription::{Grant, ShareGroup};
use crate::time::Time;
use crate::topic::name::TopicName;

/// Bytes that may wait for the socket before the Session takes no more messages: a few full writes.
const OUTGOING_BYTES_MAX: usize = 256 * 1024;

/// So many bytes may wait before the rest of a page of the Store is left there. It is read again, so this is well above the usual page.
const STORED_BYTES_MAX: usize = 4 * OUTGOING_BYTES_MAX;

/// As many messages may at least wait in the Session for the window, however small it is; the rest stays in the mailbox.
const PENDING_MIN: usize = 256;

/// A run for one subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub run: Arc<Run>,
    pub grant: Grant,
}

impl Delivery {
    /// The messages that came through a share group and are more than QoS 0: another member is to have them if this Client does not take them.
    pub fn shared(&self) -> impl Iterator<Item = (InRun, Arc<ShareGroup>)> + '_ {
        let Delivery { run, grant } = self;
        // The group comes first: nearly everything has none, and its messages are not looked at.
        let group = grant.group.as_ref().filter(|_| grant.qos > QoS::AtMostOnce);
        group.into_iter().flat_map(move |group| {
            let messages = run.messages().iter().enumerate().filter(|(_, message)| message.qos > QoS::AtMostOnce);
            messages.map(move |(index, _)| (InRun { run: run.clone(), index: index as u32 }, group.clone()))
        })
    }
}

#[derive(Debug)]
pub(super) struct Outbound {
    /// QoS 1 and 2 messages that the Client takes at a time: its Receive Maximum within our own bound.
    window: usize,
    in_flight: InFlight,
    /// The last sequence given out: of the Store for a durable Session, of this connection otherwise.
    last: Sequence,
    /// Up to here messages may have been sent on an earlier connection.
    resent_up_to: Sequence,
    /// The Store may have messages after `last`.
    news: bool,
    /// The next message of the Store, when its Packet Identifier was in use: nothing is read before it is free.
    blocked: Option<Sequence>,
    /// Messages above QoS 0 of a Session that is not durable, waiting for the window.
    pending: VecDeque<(InRun, Grant)>,
    aliases: Option<Box<Aliases>>,
}

/// Topic Aliases towards the Client: the first Topic Names get them and keep them.
#[derive(Debug)]
struct Aliases {
    maximum: u16,
    given: HashMap<TopicName, u16>,
}

impl Outbound {
    pub(super) fn new(window: usize, alias_maximum: u16) -> Outbound {
        let aliases = (alias_maximum > 0).then(|| Box::new(Aliases { maximum: alias_maximum, given: HashMap::new() }));
        let (in_flight, pending) = Default::default();
        Outbound { window, in_flight, last: 0, resent_up_to: 0, news: false, blocked: None, pending, aliases }
    }

    /// Continues an earlier connection: PUBRELs first, then the Store is read from its beginning.
    pub(super) fn resume(&mut self, released: &[Sequence], sent: Sequence) {
        for &sequence in released {
            self.in_flight.insert(Slot { sequence, awaiting: Awaiting::Pubcomp, shared: None });
        }
        self.resent_up_to = sent;
        self.news = true;
    }

    /// Messages that wait for the window, with the QoS at which they are to go.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&Message, QoS)> {
        self.pending.iter().map(|(message, grant)| (message.message(), message.message().qos.min(grant.qos)))
    }

    /// Whether the Client takes one more message above QoS 0.
    fn is_open(&self) -> bool {
        self.in_flight.len() < self.window && !self.in_flight.is_taken(self.last + 1)
    }

    /// Whether another page of messages can be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < self.window.max(PENDING_MIN)
    }
}

impl Session {
    /// Whether the socket keeps up with what it is given.
    pub fn keeps_up(&self) -> bool {
        self.outgoing.len() < OUTGOING_BYTES_MAX
    }

    /// Whether messages can be handed in: the socket keeps up, and not too many wait for the window.
    pub fn has_room(&self) -> bool {
        self.keeps_up() && self.outbound.has_room()
    }

    /// Messages above QoS 0 that wait in this Session for the Client's window.
    pub fn pending(&self) -> usize {
        self.outbound.pending.len()
    }

    /// QoS 1 and 2 messages that the Client has not settled.
    pub fn in_flight(&self) -> usize {
        self.outbound.in_flight.len()
    }

    /// The last sequence that may have been sent.
    pub fn sent(&self) -> Sequence {
        if self.durable { self.outbound.last.max(self.outbound.resent_up_to) } else { 0 }
    }

    /// The Store has put something into the queue of this Session.
    pub fn ring(&mut self) {
        self.outbound.news = self.durable;
    }

    /// Whether the Store has nothing new in the queue of this Session.
    pub(super) fn has_read_all(&self) -> bool {
        !self.outbound.news
    }

    /// What to read from the Store now: after which sequence, and how many messages.
    pub fn store_read(&self) -> Option<(Sequence, usize)> {
        let Outbound { window, in_flight, last, news, blocked, .. } = &self.outbound;
        let room = window.saturating_sub(in_flight.len());
        let is_blocked = || blocked.is_some_and(|sequence| in_flight.is_taken(sequence));
        (*news && room > 0 && self.has_room() && !is_blocked()).then_some((*last, room))
    }

    /// Takes messages that were read from the Store; fewer than asked for means that there are no more. `None` in place of a message: the
    /// Client is not to have it.
    pub fn deliver_stored(&mut self, stored: impl ExactSizeIterator<Item = (Sequence, Option<InRun>, Grant)>, asked: usize, now: Time) {
        self.outbound.news = stored.len() >= asked;
        self.outbound.blocked = None;
        for (sequence, message, grant) in stored {
            if self.outbound.in_flight.is_taken(sequence) {
                self.outbound.news = true; // It is read again when its Packet Identifier is free.
                self.outbound.blocked = Some(sequence);
                break;
            }
            if self.outgoing.len() > STORED_BYTES_MAX {
                self.outbound.news = true; // The rest is read again when these have left.
                break;
            }
            self.outbound.last = sequence;
            let dup = sequence <= self.outbound.resent_up_to;
            let send = |message: InRun| self.send_in_flight(sequence, message.message(), || message.clone(), &grant, dup, now);
            if !message.is_some_and(send) {
                self.commands.push(Command::Acknowledge(sequence)); // As if it had been sent [MQTT-3.1.2-25].
            }
        }
    }

    /// Takes a run that was routed to this Session. Of a durable Session this is the QoS 0 part: the rest is in the Store.
    pub fn deliver(&mut self, delivery: &Delivery, now: Time) {
        let Delivery { run, grant } = delivery;
        if self.deliver_frames(run, grant) {
            if self.following.is_some() {
                self.note_frames(run, now);
            }
            return;
        }
        for (index, message) in run.messages().iter().enumerate() {
            match message.qos.min(grant.qos) {
                QoS::AtMostOnce => {
                    self.send_publish(message, grant, QoS::AtMostOnce, None, false, now);
                }
                _ if self.durable => {}
                _ if self.outbound.pending.is_empty() && self.outbound.is_open() => {
                    self.send_next(message, || InRun { run: run.clone(), index: index as u32 }, grant, now);
                }
                _ => self.outbound.pending.push_back((InRun { run: run.clone(), index: index as u32 }, grant.clone())),
            }
        }
        self.send_pending(now);
    }

    /// The run as it is for everybody, if nothing about this Client is special: no copy and no look at its messages.
    fn deliver_frames(&mut self, run: &Run, grant: &Grant) -> bool {
        let special = grant.ids.is_some() || (grant.retain_as_published && run.any_retain()) || self.outbound.aliases.is_some();
        if special || grant.qos.min(run.highest_qos()) != QoS::AtMostOnce {
            return false;
        }
        match run.frames(self.version) {
            Some(frames) if frames.largest <= self.packet_bytes_max as usize => {
                self.outgoing.share(&frames.bytes);
                self.count_sent(run.messages().len(), run.payload_bytes());
                true
            }
            _ => false,
        }
    }

    /// Sends what waited for the window, as far as it is open now.
    fn send_pending(&mut self, now: Time) {
        while !self.outbound.pending.is_empty() && self.outbound.is_open() {
            let Some((message, grant)) = self.outbound.pending.pop_front() else { break };
            self.send_next(message.message(), || message.clone(), &grant, now);
        }
        if self.outbound.pending.is_empty() && self.outbound.pending.capacity() > 64 {
            self.outbound.pending = VecDeque::new();
        }
    }

    /// Sends a message above QoS 0 of a Session that is not durable under the next sequence.
    fn send_next(&mut self, message: &Message, shared: impl FnOnce() -> InRun, grant: &Grant, now: Time) {
        let sequence = self.outbound.last + 1;
        if self.send_in_flight(sequence, message, shared, grant, false, now) {
            self.outbound.last = sequence;
        }
    }

    /// `shared`: the message as it is kept where it came by a share group.
    fn send_in_flight(
        &mut self,
        sequence: Sequence,
        message: &Message,
        shared: impl FnOnce() -> InRun,
        grant: &Grant,
        dup: bool,
        now: Time,
    ) -> bool {
        let qos = message.qos.min(grant.qos);
        if !self.send_publish(message, grant, qos, Some(packet_id(sequence)), dup, now) {
            return false;
        }
        let awaiting = if qos == QoS::AtLeastOnce { Awaiting::Puback } else { Awaiting::Pubrec };
        let shared = grant.group.as_ref().filter(|_| !self.durable).map(|group| Box::new((shared(), group.clone())));
        self.outbound.in_flight.insert(Slot { sequence, awaiting, shared });
        true
    }

    /// Encodes one PUBLISH. False when nothing was sent: it has expired, or is larger than the Client takes.
    fn send_publish(&mut self, message: &Message, grant: &Grant, qos: QoS, packet_id: Option<PacketId>, dup: bool, now: Time) -> bool {
        let remaining = message.expires_at.map(|at| at.since(now));
        if !dup && remaining.is_some_and(|remaining| remaining.0 == 0) {
            self.counts.expired += 1;
            self.note_message(Step::Dropped(Why::Expired), message, qos, packet_id, now);
            return false;
        }
        let retain = message.retain && grant.retain_as_published;
        let head = Head { version: self.version, qos, packet_id, dup, retain };
        let alias = self.outbound.aliases.as_ref().and_then(|aliases| aliases.given.get(&message.topic).copied());
        let new_alias = if alias.is_none() { self.outbound.aliases.as_ref().and_then(|aliases| aliases.next()) } else { None };
        let own = OwnProperties {
            message_expiry_s: remaining.map(|remaining| remaining.as_seconds_ceil()),
            topic_alias: alias.or(new_alias),
            subscription_ids: grant.ids.as_deref().unwrap_or_default(),
        };
        let topic = if alias.is_some() { "" } else { message.topic.as_str() };
        let sent = self.encode_publish(head, topic, message, &own);
        // An alias can cost more than it saves: no reason to withhold what fits without one.
        if !sent
            && (own.topic_alias.is_none()
                || !self.encode_publish(head, message.topic.as_str(), message, &OwnProperties { topic_alias: None, ..own }))
        {
            self.counts.too_large += 1;
            self.note_message(Step::Dropped(Why::TooLarge), message, qos, packet_id, now);
            return false;
        }
        if let (Some(alias), Some(aliases), true) = (new_alias, self.outbound.aliases.as_mut(), sent) {
            aliases.given.insert(message.topic.compact(), alias);
        }
        self.count_sent(1, message.payload.len());
        if self.following.is_some() {
            self.note_message(Step::Sent { dup }, message, qos, packet_id, now);
        }
        true
    }

    /// False when the packet is larger than the Client takes `[MQTT-3.1.2-24]` or than MQTT can say: nothing is written then.
    fn encode_publish(&mut self, head: Head, topic: &str, message: &Message, own: &OwnProperties<'_>) -> bool {
        let tail = self.outgoing.tail();
        let before = tail.len();
        publish::encode_parts(tail, head, topic, message.properties.as_deref(), own, &message.payload);
        let size = tail.len() - before;
        if size > self.packet_bytes_max as usize {
            tail.truncate(before);
        }
        (1..=self.packet_bytes_max as usize).contains(&size)
    }

    fn count_sent(&mut self, messages: usize, payload_bytes: usize) {
        self.counts.packets_sent += messages as u64;
        self.counts.publishes_sent += messages as u64;
        self.counts.publish_bytes_sent += payload_bytes as u64;
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP came.
    pub(super) fn acknowledged(&mut self, acknowledge: Acknowledge, now: Time) -> Result<(), Fault> {
        if self.following.is_some() {
            self.note_acknowledged(&acknowledge, now);
        }
        let Acknowledge { kind, packet_id, reason, .. } = acknowledge;
        match kind {
            Kind::Pubrel => self.released(packet_id),
            Kind::Puback => self.settled(packet_id, Awaiting::Puback, Command::Acknowledge)?,
            Kind::Pubrec if reason.is_error() => self.settled(packet_id, Awaiting::Pubrec, Command::Acknowledge)?,
            Kind::Pubrec => self.pubrec(packet_id)?,
            Kind::Pubcomp => self.settled(packet_id, Awaiting::Pubcomp, Command::Complete)?,
        }
        self.send_pending(now);
        Ok(())
    }

    fn settled(&mut self, packet_id: PacketId, expected: Awaiting, command: fn(Sequence) -> Command) -> Result<(), Fault> {
        match self.outbound.in_flight.settle(packet_id, expected) {
            Ok(Some(sequence)) if self.durable => drop(self.command(command(sequence))),
            Ok(_) => {}
            Err(NotAwaited) => return Err(Fault::new(Reason::PROTOCOL_ERROR, "an acknowledgement that the message does not await")),
        }
        Ok(())
    }

    /// PUBREC: the message is the Client's from now on, and only its PUBREL is owed, once that is stored `[MQTT-4.3.3-4]`.
    fn pubrec(&mut self, packet_id: PacketId) -> Result<(), Fault> {
        let (command, reason) = match self.outbound.in_flight.find(packet_id) {
            None => (None, Reason::PACKET_IDENTIFIER_NOT_FOUND),
            Some(slot) if slot.awaiting == Awaiting::Puback => {
                return Err(Fault::new(Reason::PROTOCOL_ERROR, "PUBREC for a QoS 1 message"));
            }
            Some(slot) => {
                let first = slot.awaiting == Awaiting::Pubrec;
                slot.awaiting = Awaiting::Pubcomp;
                slot.shared = None;
                let sequence = slot.sequence;
                let command = (first && self.durable).then(|| self.command(Command::Release(sequence)));
                (command, Reason::SUCCESS)
            }
        };
        self.promises.push(Promise { command, packet: Promised::Acknowledge(Kind::Pubrel, packet_id, reason) });
        Ok(())
    }

    /// Sends again the PUBRELs that the Client has not confirmed, in their order `[MQTT-4.4.0-1]`.
    pub(super) fn resend_released(&mut self, released: &[Sequence]) {
        for &sequence in released {
            self.send_acknowledge(Kind::Pubrel, packet_id(sequence), Reason::SUCCESS);
        }
    }

    /// Messages of share groups that this Client has not acknowledged: another member gets them when this Session ends.
    pub fn take_shared(&mut self) -> Vec<(InRun, Arc<ShareGroup>)> {
        let mut shared: Vec<_> = self.outbound.in_flight.take_shared().collect();
        shared.extend(self.outbound.pending.drain(..).filter_map(|(message, grant)| grant.group.map(|group| (message, group))));
        shared
    }
}

impl Aliases {
    fn next(&self) -> Option<u16> {
        let given = self.given.len() as u16;
        (given < self.maximum).then_some(given + 1)
    }
}

impl Settings {
    /// The window and the number of Topic Aliases towards a Client.
    pub(super) fn outbound(&self, version: Version, receive_maximum: Option<u16>, alias_maximum: Option<u16>) -> Outbound {
        let aliases = if version == Version::V5 { alias_maximum.unwrap_or(0).min(self.topic_alias_outbound_max) } else { 0 };
        Outbound::new(usize::from(receive_maximum.unwrap_or(u16::MAX).min(self.in_flight_max)), aliases)
    }
}
