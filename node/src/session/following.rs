//! What becomes of messages in this Session, noted where somebody follows it. Otherwise it costs a look at an `Option`.

use std::collections::HashMap;

use crate::fate::{Note, Step, Subject, Watches, Why};
use crate::message::{Message, Run};
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::publish::Publish;
use crate::packet::reason::Reason;
use crate::packet::{PacketId, QoS};
use crate::session::Session;
use crate::session::inbound::expiry;
use crate::time::Time;
use crate::topic::name::TopicName;

#[derive(Debug)]
pub(super) struct Following {
    watches: Watches,
    notes: Vec<Note>,
    /// Messages that the Client has not acknowledged, at most as many as its window.
    sent: HashMap<PacketId, Subject>,
}

impl Session {
    /// From now on what becomes of messages that concern these is noted; `None`: nothing is.
    pub fn follow(&mut self, watches: Option<Watches>) {
        match (&mut self.following, watches) {
            (None, None) => {}
            (following, None) => *following = None,
            (Some(following), Some(watches)) => following.watches = watches,
            (following, Some(watches)) => {
                let (notes, sent) = Default::default();
                *following = Some(Box::new(Following { watches, notes, sent }));
            }
        }
    }

    /// Whether anything is.
    pub fn is_followed(&self) -> bool {
        self.following.is_some()
    }

    /// What was noted since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.following.as_mut().map(|following| std::mem::take(&mut following.notes)).unwrap_or_default()
    }

    /// What a Session that ends with its connection still had to send, or to see acknowledged, nobody gets any more.
    pub fn note_end(&mut self, now: Time) {
        let Some(following) = self.following.as_mut().filter(|_| !self.durable) else { return };
        let mut lost: Vec<_> = following.sent.drain().map(|(packet_id, subject)| (subject, Some(packet_id))).collect();
        lost.sort_by_key(|(_, packet_id)| *packet_id);
        lost.extend(self.outbound.waiting().map(|(message, qos)| (of(message, qos), None)));
        for (subject, packet_id) in lost {
            self.note_out(Step::Dropped(Why::Ended), subject, packet_id, now);
        }
    }

    /// A PUBLISH came; with what was said to it, and whether it is here already.
    pub(super) fn note_publish(&mut self, publish: &Publish, topic: &TopicName, refused: Option<Reason>, is_new: bool, now: Time) {
        if !self.concerns(topic, true) {
            return;
        }
        let subject = Subject::new(topic, publish.qos, &publish.payload, expiry(publish, now));
        self.note_in(Step::Received, subject.clone(), publish.packet_id, now);
        match refused {
            Some(reason) => self.note_in(Step::Refused(reason), subject, publish.packet_id, now),
            None if !is_new => self.note_in(Step::Repeated, subject, publish.packet_id, now),
            None => {}
        }
    }

    /// Another message goes on in place of the last one, or it was refused by somebody else.
    pub(super) fn note_decided(&mut self, packet_id: Option<PacketId>, decision: Result<&Message, Reason>) {
        let Some(message) = self.offered().filter(|message| self.concerns(&message.topic, true)) else { return };
        let (step, subject) = match decision {
            Err(reason) => (Step::Refused(reason), of(message, message.qos)),
            Ok(other) => (Step::Rewritten, of(other, other.qos)),
        };
        self.note_in(step, subject, packet_id, self.last_heard);
    }

    /// A message was sent to the Client, or not.
    pub(super) fn note_message(&mut self, step: Step, message: &Message, qos: QoS, packet_id: Option<PacketId>, now: Time) {
        if !self.concerns(&message.topic, false) {
            return;
        }
        let subject = of(message, qos);
        if let (Step::Sent { .. }, Some(packet_id), Some(following)) = (&step, packet_id, &mut self.following) {
            following.sent.insert(packet_id, subject.clone());
        }
        self.note_out(step, subject, packet_id, now);
    }

    pub(super) fn note_frames(&mut self, run: &Run, now: Time) {
        for message in run.messages() {
            self.note_message(Step::Sent { dup: false }, message, QoS::AtMostOnce, None, now);
        }
    }

    /// PUBACK or PUBREC came.
    pub(super) fn note_acknowledged(&mut self, acknowledge: &Acknowledge, now: Time) {
        let Acknowledge { kind: Kind::Puback | Kind::Pubrec, packet_id, reason, .. } = *acknowledge else { return };
        if let Some(subject) = self.following.as_mut().and_then(|following| following.sent.remove(&packet_id)) {
            self.note_out(Step::Acknowledged(reason), subject, Some(packet_id), now);
        }
    }

    fn concerns(&self, topic: &TopicName, publishes: bool) -> bool {
        let clients = if publishes { [Some(&self.client_id), None] } else { [None, Some(&self.client_id)] };
        self.following.as_ref().is_some_and(|following| following.watches.iter().any(|watch| watch.concerns(clients, topic)))
    }

    fn note_in(&mut self, step: Step, subject: Subject, packet_id: Option<PacketId>, at: Time) {
        let publisher = Some(self.client_id.clone());
        let note = Note { at, step, subject, publisher, recipient: None, packet_id };
        self.following.iter_mut().for_each(|following| following.notes.push(note.clone()));
    }

    fn note_out(&mut self, step: Step, subject: Subject, packet_id: Option<PacketId>, at: Time) {
        let recipient = Some(self.client_id.clone());
        let note = Note { at, step, subject, publisher: None, recipient, packet_id };
        self.following.iter_mut().for_each(|following| following.notes.push(note.clone()));
    }
}

fn of(message: &Message, qos: QoS) -> Subject {
    Subject::new(&message.topic, qos, &message.payload, message.expires_at)
}
