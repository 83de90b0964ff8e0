//! Whole exchanges, for the parts of a dialogue that are not what it is about. Packets of other exchanges that come in between
//! are kept for the next expectation.

use std::time::Instant;

use mqttd::packet::acknowledge::Kind;
use mqttd::packet::publish::Publish;
use mqttd::packet::reason::Reason;
use mqttd::packet::subscribe::Subscribe;
use mqttd::packet::{Packet, QoS};

use crate::build::{Asked, Message, message, puback, pubcomp, pubrec, pubrel, subscribe, unsubscribe};
use crate::client::{Came, Client, DEADLINE};
use crate::expect::is_ack;
use crate::unique;

impl Client {
    /// Publishes, and comes back when the broker has taken the message over: QoS 1 and 2 with all their acknowledgements,
    /// QoS 0 with a fence.
    #[track_caller]
    pub fn publish(&mut self, message: impl Into<Message>) {
        let mut message = message.into();
        if message.publish().qos == QoS::AtMostOnce {
            self.send(message);
            return self.fence();
        }
        if message.publish().packet_id.is_none() {
            message = message.id(self.unused_packet_id());
        }
        let id = message.publish().packet_id.expect("just set").get();
        let twice = message.publish().qos == QoS::ExactlyOnce;
        self.send(message);
        if twice {
            self.wait_for_ack(Kind::Pubrec, id);
            self.send(pubrel(id));
            self.wait_for_ack(Kind::Pubcomp, id);
        } else {
            self.wait_for_ack(Kind::Puback, id);
        }
    }

    /// Expects this message and acknowledges it to the end.
    #[track_caller]
    pub fn receive(&mut self, expected: impl Into<Message>) -> u16 {
        let expected = expected.into();
        let qos = expected.publish().qos;
        let id = self.expect_publish(expected);
        self.acknowledge(qos, id);
        id
    }

    /// Acknowledges a message that came, to the end.
    #[track_caller]
    pub fn acknowledge(&mut self, qos: QoS, id: u16) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send(puback(id)),
            QoS::ExactlyOnce => {
                self.send(pubrec(id));
                self.wait_for_ack(Kind::Pubrel, id);
                self.send(pubcomp(id));
            }
        }
    }

    /// Subscribes to one filter and expects it to be granted as asked.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: impl Copy + Asked) {
        let id = self.unused_packet_id();
        self.subscribe_as(subscribe(id, &[(filter, options)]), &[Reason(options.asked().qos as u8)]);
    }

    #[track_caller]
    pub fn subscribe_as(&mut self, request: Subscribe, granted: &[Reason]) {
        let id = request.packet_id;
        self.send(Packet::Subscribe(Box::new(request)));
        let found = self.wait_for("SUBACK", |packet| matches!(packet, Packet::Suback(suback) if suback.packet_id == id));
        match found {
            Packet::Suback(suback) if suback.reasons == granted => {}
            other => self.fail(&format!("SUBACK {granted:?}"), &other),
        }
    }

    #[track_caller]
    pub fn unsubscribe(&mut self, filter: &str) {
        let id = self.unused_packet_id();
        self.send(unsubscribe(id, &[filter]));
        self.wait_for("UNSUBACK", |packet| matches!(packet, Packet::Unsuback(unsuback) if unsuback.packet_id.get() == id));
    }

    /// Comes back when the broker has handled everything this client has sent.
    #[track_caller]
    pub fn fence(&mut self) {
        for _ in 0..2 {
            self.send(Packet::Pingreq);
            self.wait_for("PINGRESP", |packet| matches!(packet, Packet::Pingresp));
        }
    }

    /// What comes next when a PINGREQ is sent: PINGRESP, if nothing else is due.
    #[track_caller]
    pub fn next_after_ping(&mut self) -> Came {
        self.send(Packet::Pingreq);
        self.next_event()
    }

    /// The next PUBLISH of those that came while something else was waited for, as a [`Client::fence`] does.
    pub fn take_early_publish(&mut self) -> Option<Publish> {
        match self.early.pop_front() {
            Some(Packet::Publish(publish)) => Some(publish),
            Some(other) => self.fail("a PUBLISH", &other),
            None => None,
        }
    }

    /// Nothing that `other` published has come or will come: a marker goes the same way, and it is the next thing that comes.
    #[track_caller]
    pub fn expect_nothing_from(&mut self, other: &mut Client) {
        let marker = unique("marker");
        self.subscribe(&marker, 0);
        other.publish(message(&marker, "all before has come").qos(1));
        self.expect_publish(message(&marker, "all before has come"));
        self.unsubscribe(&marker);
        self.expect_nothing();
    }

    /// DISCONNECT, and the end of the connection from the broker's side.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send_hex("e0 00");
        self.expect_closed();
    }

    #[track_caller]
    fn wait_for_ack(&mut self, kind: Kind, id: u16) {
        let found = self.wait_for(&format!("{kind:?} {id}"), |packet| matches!(packet, Packet::Acknowledge(ack) if is_ack(ack, kind, id)));
        match found {
            Packet::Acknowledge(ack) if !ack.reason.is_error() => {}
            other => self.fail(&format!("{kind:?} {id} that accepts"), &other),
        }
    }

    #[track_caller]
    pub fn wait_for(&mut self, name: &str, is_it: impl Fn(&Packet) -> bool) -> Packet {
        if let Some(packet) = self.early.iter().position(&is_it).and_then(|at| self.early.remove(at)) {
            return packet;
        }
        // Others may come for ever.
        let until = Instant::now() + 12 * DEADLINE;
        loop {
            match self.next_from_socket(DEADLINE) {
                Came::Packet(packet) if is_it(&packet) => return packet,
                other if Instant::now() > until => self.fail(name, &other),
                Came::Packet(packet) => self.early.push_back(packet),
                other => self.fail(name, &other),
            }
        }
    }
}
