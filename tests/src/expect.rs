//! Expectations: each names the one thing that must come next, and fails with the dialogue so far when something else comes.

use std::time::Duration;

use mqttd::packet::acknowledge::{Acknowledge, Kind};
use mqttd::packet::connack::Connack;
use mqttd::packet::publish::Publish;
use mqttd::packet::reason::Reason;
use mqttd::packet::subscribe::Suback;
use mqttd::packet::unsubscribe::Unsuback;
use mqttd::packet::{Packet, Version};

use crate::build::Message;
use crate::client::{Came, Client};

impl Client {
    #[track_caller]
    pub fn expect_connack(&mut self) -> Connack {
        match self.next_event() {
            Came::Packet(Packet::Connack(connack)) => *connack,
            other => self.fail("CONNACK", &other),
        }
    }

    /// A CONNACK with this Reason Code and no Session Present, then the end of the connection.
    #[track_caller]
    pub fn expect_refused(&mut self, reason: Reason) -> Connack {
        let connack = self.expect_connack();
        if connack.reason != reason || connack.session_present {
            self.fail(&format!("CONNACK {reason:?} without Session Present"), &connack);
        }
        self.expect_closed();
        connack
    }

    /// Exactly this message: flags, Topic Name, payload and properties; its Packet Identifier is the answer (0 for QoS 0).
    #[track_caller]
    pub fn expect_publish(&mut self, expected: impl Into<Message>) -> u16 {
        let expected = expected.into();
        let came = self.next_event();
        match &came {
            Came::Packet(Packet::Publish(publish)) if expected.is(publish) => publish.packet_id.map_or(0, u16::from),
            _ => self.fail(&format!("{:?}", expected.publish()), &came),
        }
    }

    /// As [`Client::expect_publish`], for what takes its time.
    #[track_caller]
    pub fn expect_within(&mut self, patience: Duration, expected: impl Into<Message>) -> u16 {
        match self.came_within(patience) {
            Came::Packet(packet) => self.early.push_front(packet),
            other => self.fail(&format!("a PUBLISH within {patience:?}"), &other),
        }
        self.expect_publish(expected)
    }

    /// Any PUBLISH, for a test that looks at it itself.
    #[track_caller]
    pub fn next_publish(&mut self) -> Publish {
        match self.next_event() {
            Came::Packet(Packet::Publish(publish)) => publish,
            other => self.fail("a PUBLISH", &other),
        }
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP with exactly this Reason Code (3.1.1 has only success).
    #[track_caller]
    pub fn expect_ack(&mut self, kind: Kind, id: u16, reason: Reason) -> Acknowledge {
        let came = self.next_event();
        let reason = if self.version == Version::V5 { reason } else { Reason::SUCCESS };
        match came {
            Came::Packet(Packet::Acknowledge(ack)) if is_ack(&ack, kind, id) && ack.reason == reason => ack,
            other => self.fail(&format!("{kind:?} {id} {reason:?}"), &other),
        }
    }

    /// PUBACK that accepts: "no matching subscribers" may be said or not.
    #[track_caller]
    pub fn expect_puback(&mut self, id: u16) {
        self.expect_accepted(Kind::Puback, id);
    }

    #[track_caller]
    pub fn expect_pubrec(&mut self, id: u16) {
        self.expect_accepted(Kind::Pubrec, id);
    }

    #[track_caller]
    pub fn expect_pubrel(&mut self, id: u16) {
        self.expect_ack(Kind::Pubrel, id, Reason::SUCCESS);
    }

    #[track_caller]
    pub fn expect_pubcomp(&mut self, id: u16) {
        self.expect_ack(Kind::Pubcomp, id, Reason::SUCCESS);
    }

    #[track_caller]
    fn expect_accepted(&mut self, kind: Kind, id: u16) {
        match self.next_event() {
            Came::Packet(Packet::Acknowledge(ack)) if is_ack(&ack, kind, id) && !ack.reason.is_error() => {}
            other => self.fail(&format!("{kind:?} {id} that accepts"), &other),
        }
    }

    #[track_caller]
    pub fn expect_suback(&mut self, id: u16, reasons: &[Reason]) -> Suback {
        match self.next_event() {
            Came::Packet(Packet::Suback(suback)) if suback.packet_id.get() == id && self.same_reasons(&suback.reasons, reasons) => *suback,
            other => self.fail(&format!("SUBACK {id} {reasons:?}"), &other),
        }
    }

    /// 3.1.1 knows one code for failure; its UNSUBACK has no codes at all.
    fn same_reasons(&self, came: &[Reason], expected: &[Reason]) -> bool {
        let as_sent = |reason: &Reason| if self.version != Version::V5 && reason.is_error() { Reason::UNSPECIFIED_ERROR } else { *reason };
        came.iter().copied().eq(expected.iter().map(as_sent))
    }

    #[track_caller]
    pub fn expect_unsuback(&mut self, id: u16, reasons: &[Reason]) -> Unsuback {
        let reasons = if self.version == Version::V5 { reasons } else { &[] };
        match self.next_event() {
            Came::Packet(Packet::Unsuback(unsuback)) if unsuback.packet_id.get() == id && unsuback.reasons == reasons => *unsuback,
            other => self.fail(&format!("UNSUBACK {id} {reasons:?}"), &other),
        }
    }

    /// 5.0: DISCONNECT with this Reason Code, then the end. 3.1.1: the end, since its Server cannot say why.
    #[track_caller]
    pub fn expect_disconnect(&mut self, reason: Reason) {
        self.expect_disconnect_of(&[reason]);
    }

    /// As [`Client::expect_disconnect`], where the standard leaves the choice between Reason Codes.
    #[track_caller]
    pub fn expect_disconnect_of(&mut self, reasons: &[Reason]) {
        if self.version == Version::V5 {
            match self.next_event() {
                // The Server must not send a Session Expiry Interval [MQTT-3.14.2-2].
                Came::Packet(Packet::Disconnect(end)) if reasons.contains(&end.reason) && end.session_expiry_s.is_none() => {}
                other => self.fail(&format!("DISCONNECT {reasons:?}"), &other),
            }
        }
        self.expect_closed();
    }

    /// The end of the connection, and nothing before it.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.next_event() {
            Came::Closed => {}
            other => self.fail("the end of the connection", &other),
        }
    }

    /// The end of the connection; before it, a broker that does not know the version yet may refuse in a CONNACK of any layout.
    #[track_caller]
    pub fn expect_closed_after_any_connack(&mut self) {
        match self.next_frame() {
            Some(bytes) if bytes[0] == 0x20 && bytes[3] != 0 => self.expect_closed(),
            Some(bytes) => self.fail("a CONNACK that refuses, or the end of the connection", &bytes),
            None => {}
        }
    }

    #[track_caller]
    pub fn expect_pingresp(&mut self) {
        match self.next_event() {
            Came::Packet(Packet::Pingresp) => {}
            other => self.fail("PINGRESP", &other),
        }
    }

    /// Nothing is due: everything the broker owed this client before this call would have come before the second PINGRESP.
    ///
    /// Two, since a broker may answer the first PINGREQ ahead of messages that it takes up in the same turn.
    #[track_caller]
    pub fn expect_nothing(&mut self) {
        for _ in 0..2 {
            self.send(Packet::Pingreq);
            self.expect_pingresp();
        }
    }
}

pub(crate) fn is_ack(ack: &Acknowledge, kind: Kind, id: u16) -> bool {
    ack.kind == kind && ack.packet_id.get() == id
}
