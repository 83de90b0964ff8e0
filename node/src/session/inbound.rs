//! Messages from the Client: PUBLISH in, and the acknowledgements that the Server owes for it (sections 3.3 and 4.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;

use crate::message::{Message, Permit, Run};
use crate::packet::acknowledge::Kind;
use crate::packet::publish::{Publish, PublishProperties};
use crate::packet::reason::Reason;
use crate::packet::{PacketId, QoS, Version};
use crate::session::{Command, Fault, Promise, Promised, Session};
use crate::time::{Span, Time};
use crate::topic::name::TopicName;

#[derive(Debug)]
pub(super) struct Inbound {
    /// QoS 2 Packet Identifiers between their PUBLISH and their PUBREL.
    received: BTreeSet<PacketId>,
    /// QoS 1 messages that came in this turn: none of them can have been acknowledged yet.
    unacknowledged_qos_1: usize,
    /// What the Client's Topic Aliases stand for; index 0 is alias 1.
    aliases: Vec<Option<TopicName>>,
    /// The run that is growing.
    run: Vec<Message>,
    /// As many as the last one had: the next one is most likely like it.
    run_expected: usize,
    /// QoS 2 Packet Identifiers of the growing run, for a durable Session.
    run_received: Vec<PacketId>,
    /// What may be published to the Topic Name of the growing run.
    permit: Permit,
}

impl Default for Inbound {
    fn default() -> Inbound {
        let (received, aliases, run, run_received) = Default::default();
        Inbound { received, unacknowledged_qos_1: 0, aliases, run, run_expected: 0, run_received, permit: Permit::ALL }
    }
}

/// A PUBLISH whose message lies at the end of the growing run, and for which nothing is promised yet. Before the next packet comes it is
/// accepted, replaced or refused; or it is withdrawn, and then put back.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer {
    qos: QoS,
    packet_id: Option<PacketId>,
    is_request: bool,
}

impl Offer {
    /// Whether the publisher awaits an acknowledgement.
    pub fn is_acknowledged(&self) -> bool {
        self.packet_id.is_some()
    }
}

impl Inbound {
    pub(super) fn resume(received: Vec<PacketId>) -> Inbound {
        Inbound { received: received.into_iter().collect(), ..Inbound::default() }
    }

    pub(super) fn release(&mut self, packet_id: PacketId) -> bool {
        self.received.remove(&packet_id)
    }

    #[inline]
    fn push(&mut self, message: Message) {
        if self.run.is_empty() {
            self.run.reserve_exact(self.run_expected);
        }
        self.run.push(message);
    }

    fn take_run(&mut self) -> Run {
        let mut messages = std::mem::take(&mut self.run);
        self.run_expected = messages.len();
        if messages.capacity() > 2 * messages.len() {
            messages.shrink_to_fit(); // it may wait for long
        }
        Run::new(messages)
    }

    pub(super) fn turn_over(&mut self) {
        self.unacknowledged_qos_1 = 0;
    }
}

impl Session {
    /// A PUBLISH came. `None`: it was refused, or is here already.
    #[inline]
    pub(super) fn offer(
        &mut self,
        mut publish: Publish,
        admit: impl FnOnce(&TopicName) -> Result<Permit, Reason>,
        now: Time,
    ) -> Result<Option<Offer>, Fault> {
        self.counts.publishes_received += 1;
        self.counts.publish_bytes_received += publish.payload.len() as u64;
        self.check_publish(&publish)?;
        let topic = self.resolve_topic(&mut publish)?;
        let is_request = is_request(publish.properties.as_deref());
        if is_request {
            self.seal_run();
        }
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        let refused = self.refused(&topic, qos, publish.retain, admit);
        let repeated = packet_id.filter(|packet_id| qos == QoS::ExactlyOnce && self.inbound.received.contains(packet_id));
        if self.following.is_some() {
            self.note_publish(&publish, &topic, refused, repeated.is_none(), now);
        }
        if let Some(packet_id) = repeated {
            // Taken already: acknowledged again, not published again [MQTT-4.3.3-10].
            self.promises.push(Promise { command: None, packet: Promised::Acknowledge(Kind::Pubrec, packet_id, Reason::SUCCESS) });
            return Ok(None);
        }
        self.check_receive_maximum(qos)?;
        if refused.is_some() {
            self.promise_for_publish(qos, packet_id, refused);
            return Ok(None);
        }
        self.inbound.push(into_message(publish, topic, now));
        Ok(Some(Offer { qos, packet_id, is_request }))
    }

    /// The message of the offer.
    pub fn offered(&self) -> Option<&Message> {
        self.inbound.run.last()
    }

    /// Whether somebody else decides on it.
    #[inline]
    pub(super) fn asks(&self) -> bool {
        self.inbound.permit.asks
    }

    /// The message goes on as it is.
    #[inline]
    pub fn accept(&mut self, offer: Offer) {
        self.promise_for_publish(offer.qos, offer.packet_id, None);
        if offer.is_request {
            self.seal_run();
        }
    }

    /// Another message goes on in its place, in a run of its own: what grows is what its publisher may publish to.
    pub fn replace(&mut self, offer: Offer, other: Message) {
        self.note_decided(offer.packet_id, Ok(&other));
        self.withdraw();
        self.seal_run();
        self.promise_for_publish(offer.qos, offer.packet_id, None);
        self.inbound.push(other);
        self.seal_run();
    }

    /// The message goes nowhere.
    pub fn refuse(&mut self, offer: Offer, reason: Reason) {
        self.note_decided(offer.packet_id, Err(reason));
        self.withdraw();
        self.promise_for_publish(offer.qos, offer.packet_id, Some(reason));
    }

    /// The message of the offer, taken back: what came before it is not to wait for what is decided on it.
    pub fn withdraw(&mut self) -> Option<Message> {
        self.inbound.run.pop()
    }

    /// What was withdrawn comes next.
    pub fn put_back(&mut self, message: Message) {
        self.seal_run();
        self.inbound.push(message);
    }

    /// What is promised for a message of the growing run, or for one that is refused.
    #[inline]
    fn promise_for_publish(&mut self, qos: QoS, packet_id: Option<PacketId>, refused: Option<Reason>) {
        match (qos, packet_id) {
            (QoS::AtLeastOnce, Some(packet_id)) => {
                self.inbound.unacknowledged_qos_1 += 1;
                self.promise_acknowledgement(Kind::Puback, packet_id, refused);
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                if refused.is_none() || self.version < Version::V5 {
                    self.inbound.received.insert(packet_id);
                }
                self.promise_acknowledgement(Kind::Pubrec, packet_id, refused);
                if self.durable && refused.is_none() {
                    self.inbound.run_received.push(packet_id);
                }
            }
            _ => {}
        }
    }

    /// A PUBREL came: the Packet Identifier is free for the Client again `[MQTT-4.3.3-11]`.
    pub(super) fn released(&mut self, packet_id: PacketId) {
        let known = self.inbound.release(packet_id);
        let reason = if known { Reason::SUCCESS } else { Reason::PACKET_IDENTIFIER_NOT_FOUND };
        let command = (known && self.durable).then(|| self.command(Command::Forget(packet_id)));
        self.promises.push(Promise { command, packet: Promised::Acknowledge(Kind::Pubcomp, packet_id, reason) });
    }

    /// Puts a command behind all that came before it, and says its place.
    pub(super) fn command(&mut self, command: Command) -> usize {
        self.seal_run();
        self.commands.push(command);
        self.commands.len() - 1
    }

    /// The growing run becomes a command.
    pub(super) fn seal_run(&mut self) {
        if !self.inbound.run.is_empty() {
            let run = Arc::new(self.inbound.take_run());
            self.commands.push(Command::Publish { run, received: std::mem::take(&mut self.inbound.run_received) });
        }
    }

    /// The acknowledgement waits for the command that the growing run will be; one for a refused message waits for nothing.
    #[inline]
    fn promise_acknowledgement(&mut self, kind: Kind, packet_id: PacketId, refused: Option<Reason>) {
        if self.promises.capacity() == 0 {
            self.promises.reserve(self.promises_expected);
        }
        let packet = Promised::Acknowledge(kind, packet_id, refused.unwrap_or(Reason::SUCCESS));
        self.promises.push(Promise { command: refused.is_none().then_some(self.commands.len()), packet });
    }

    /// The rules of section 3.3 that a decoder cannot know.
    fn check_publish(&self, publish: &Publish) -> Result<(), Fault> {
        if publish.qos > self.settings.maximum_qos {
            return Err(Fault::new(Reason::QOS_NOT_SUPPORTED, "QoS above the Maximum QoS of this Server")); // [MQTT-3.2.2-11]
        }
        if publish.retain && !self.settings.retain_available {
            return Err(Fault::new(Reason::RETAIN_NOT_SUPPORTED, "this Server keeps no retained messages")); // [MQTT-3.2.2-14]
        }
        let Some(properties) = publish.properties.as_deref() else { return Ok(()) };
        if !properties.subscription_ids.is_empty() {
            return Err(Fault::new(Reason::PROTOCOL_ERROR, "a Client sends no Subscription Identifier in PUBLISH")); // [MQTT-3.3.4-6]
        }
        if properties.response_topic.as_ref().is_some_and(|topic| TopicName::new(topic.clone()).is_none()) {
            return Err(Fault::new(Reason::PROTOCOL_ERROR, "the Response Topic is no Topic Name")); // [MQTT-3.3.2-14]
        }
        Ok(())
    }

    /// Why a message is not taken. The Topic Name of what grows already was admitted with its first message.
    fn refused(
        &mut self,
        topic: &TopicName,
        qos: QoS,
        retain: bool,
        admit: impl FnOnce(&TopicName) -> Result<Permit, Reason>,
    ) -> Option<Reason> {
        if self.inbound.run.is_empty() {
            match self.refuses(topic).map_or_else(|| admit(topic), Err) {
                Ok(permit) => self.inbound.permit = permit,
                Err(reason) => return Some(reason),
            }
        }
        (!self.inbound.permit.allows(qos, retain)).then_some(Reason::NOT_AUTHORIZED)
    }

    /// Why a message to this Topic Name is not taken, though the packet is well formed.
    fn refuses(&self, topic: &TopicName) -> Option<Reason> {
        if self.settings.topic_levels_max < usize::MAX && topic.levels().count() > self.settings.topic_levels_max {
            return Some(Reason::TOPIC_NAME_INVALID);
        }
        if topic.as_str().len() > self.settings.topic_bytes_max {
            return Some(Reason::TOPIC_NAME_INVALID);
        }
        topic.is_system().then_some(Reason::NOT_AUTHORIZED)
    }

    /// Whether one more is within the Receive Maximum of the Server `[MQTT-3.3.4-9]`: what this turn brought was sent before any of it was
    /// acknowledged.
    #[inline]
    fn check_receive_maximum(&self, qos: QoS) -> Result<(), Fault> {
        let unacknowledged = self.inbound.received.len() + self.inbound.unacknowledged_qos_1;
        if qos > QoS::AtMostOnce && self.version == Version::V5 && unacknowledged >= usize::from(self.settings.receive_maximum) {
            return Err(Fault::new(
                Reason::RECEIVE_MAXIMUM_EXCEEDED,
                "more unacknowledged messages than the Receive Maximum of this Server",
            ));
        }
        Ok(())
    }

    /// The Topic Name of the run that grows: that of the next PUBLISH, most likely.
    pub fn topic_of_run(&self) -> Option<&ByteString> {
        self.inbound.run.first().map(|first| first.topic.text())
    }

    /// The Topic Name of a PUBLISH, by itself or by its Topic Alias (section 3.3.2.3.4).
    #[inline]
    fn resolve_topic(&mut self, publish: &mut Publish) -> Result<TopicName, Fault> {
        let alias = publish.properties.as_deref_mut().and_then(|properties| properties.topic_alias.take());
        let Some(alias) = alias else {
            if let Some(topic) = self.inbound.run.first().and_then(|first| first.topic.again(&mut publish.topic)) {
                return Ok(topic);
            }
            self.seal_run();
            return topic_name(publish);
        };
        if alias > self.settings.topic_alias_maximum {
            return Err(Fault::new(Reason::TOPIC_ALIAS_INVALID, "the Topic Alias is above the Topic Alias Maximum of this Server")); // [MQTT-3.3.2-9]
        }
        let slot = usize::from(alias) - 1;
        let topic = if publish.topic.is_empty() {
            let known = self.inbound.aliases.get(slot).and_then(Option::as_ref);
            known.ok_or(Fault::new(Reason::PROTOCOL_ERROR, "the Topic Alias stands for nothing yet"))?.clone()
        } else {
            let topic = topic_name(publish)?;
            if self.inbound.aliases.len() <= slot {
                self.inbound.aliases.resize(slot + 1, None);
            }
            // A copy of its own: an alias lives as long as the connection, the read buffer must not.
            self.inbound.aliases[slot] = Some(topic.compact());
            topic
        };
        if self.inbound.run.first().is_some_and(|first| first.topic != topic) {
            self.seal_run();
        }
        Ok(topic)
    }
}

fn topic_name(publish: &mut Publish) -> Result<TopicName, Fault> {
    let text = std::mem::take(&mut publish.topic);
    if text.is_empty() {
        return Err(Fault::new(Reason::PROTOCOL_ERROR, "neither a Topic Name nor a Topic Alias"));
    }
    TopicName::new(text).ok_or(Fault::new(Reason::TOPIC_NAME_INVALID, "a Topic Name has no wildcard characters")) // [MQTT-3.3.2-2]
}

/// A message that asks for an answer is a run of its own, for it may be refused by itself.
fn is_request(properties: Option<&PublishProperties>) -> bool {
    properties.is_some_and(|properties| properties.response_topic.is_some())
}

/// When a message that came now expires.
pub(super) fn expiry(publish: &Publish, now: Time) -> Option<Time> {
    publish.properties.as_deref().and_then(|properties| properties.message_expiry_s).map(|seconds| now + Span::seconds(seconds))
}

#[inline]
fn into_message(publish: Publish, topic: TopicName, now: Time) -> Message {
    let Publish { qos, retain, properties, payload, .. } = publish;
    let Some(mut properties) = properties else {
        return Message { topic, payload, qos, retain, properties: None, expires_at: None };
    };
    let expires_at = properties.message_expiry_s.take().map(|seconds| now + Span::seconds(seconds));
    let properties = Some(properties).filter(|properties| !properties.is_empty());
    Message { topic, payload, qos, retain, properties, expires_at }
}
