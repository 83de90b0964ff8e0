//! A client of other hands: rumqttc 0.25, which shares no code with this house. What it takes for granted of a broker must hold.

use std::time::Duration;

use mqttd_tests::client::DEADLINE;
use mqttd_tests::{Broker, unique};

/// What rumqttc told.
#[derive(Debug, PartialEq)]
enum Came {
    Connected {
        session_present: bool,
    },
    /// Every filter was granted this QoS.
    Granted(u8),
    /// A QoS 1 message was acknowledged.
    Acknowledged,
    /// A QoS 2 message was acknowledged to the end.
    Completed,
    Message {
        topic: String,
        qos: u8,
        retain: bool,
        payload: String,
    },
    /// DISCONNECT was sent.
    Left,
    /// Steps in between, and what goes without saying.
    Other,
}

/// What a client is to be before it connects.
#[derive(Clone)]
struct Wish {
    client_id: String,
    durable: bool,
    /// Topic and payload, QoS 1.
    will: Option<(String, String)>,
}

/// One of rumqttc's two clients: they share their shape, not their types.
trait Foreign {
    fn subscribe(&self, filter: &str, qos: u8);
    fn publish(&self, topic: &str, qos: u8, retain: bool, payload: &str);
    fn leave(&self);
    fn next(&mut self, patience: Duration) -> Came;
}

macro_rules! foreign {
    ($name:ident, $($path:ident)::+, $packets:ident, $options:expr, $will:expr, $topic:expr) => {
        mod $name {
            use std::time::Duration;

            use $($path)::+::{Client, Connection, Event, MqttOptions};
            use $($path)::+::mqttbytes::QoS;
            use $($path)::+::mqttbytes::$packets::{Packet, Publish, SubscribeReasonCode};

            use super::{Came, Foreign, Wish};

            struct Peer {
                client: Client,
                connection: Connection,
            }

            pub(super) fn connect(address: std::net::SocketAddr, wish: &Wish) -> Box<dyn Foreign> {
                let mut options = MqttOptions::new(&wish.client_id, address.ip().to_string(), address.port());
                $options(&mut options, wish.durable);
                if let Some((topic, payload)) = &wish.will {
                    options.set_last_will($will(topic, payload));
                }
                let (client, connection) = Client::new(options, 16);
                Box::new(Peer { client, connection })
            }

            fn level(level: u8) -> QoS {
                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(level)]
            }

            impl Foreign for Peer {
                fn subscribe(&self, filter: &str, qos: u8) {
                    self.client.subscribe(filter, level(qos)).expect("rumqttc takes the request");
                }

                fn publish(&self, topic: &str, qos: u8, retain: bool, payload: &str) {
                    self.client.publish(topic, level(qos), retain, payload.to_owned()).expect("rumqttc takes the request");
                }

                fn leave(&self) {
                    self.client.disconnect().expect("rumqttc takes the request");
                }

                fn next(&mut self, patience: Duration) -> Came {
                    let event = self.connection.recv_timeout(patience).expect("rumqttc tells something in time");
                    match event.expect("the connection holds") {
                        Event::Incoming(Packet::ConnAck(connack)) => Came::Connected { session_present: connack.session_present },
                        Event::Incoming(Packet::SubAck(suback)) => match suback.return_codes[..] {
                            [SubscribeReasonCode::Success(qos)] => Came::Granted(qos as u8),
                            _ => panic!("refused: {suback:?}"),
                        },
                        Event::Incoming(Packet::PubAck(_)) => Came::Acknowledged,
                        Event::Incoming(Packet::PubComp(_)) => Came::Completed,
                        Event::Incoming(Packet::Publish(Publish { topic, qos, retain, payload, .. })) => Came::Message {
                            topic: $topic(topic),
                            qos: qos as u8,
                            retain,
                            payload: String::from_utf8(payload.to_vec()).expect("the payload is text"),
                        },
                        Event::Outgoing(rumqttc::Outgoing::Disconnect) => Came::Left,
                        _ => Came::Other,
                    }
                }
            }
        }
    };
}

foreign!(
    v3,
    rumqttc,
    v4,
    |options: &mut MqttOptions, durable: bool| {
        options.set_clean_session(!durable);
    },
    |topic: &str, payload: &str| rumqttc::LastWill::new(topic, payload, QoS::AtLeastOnce, false),
    |topic: String| topic
);

foreign!(
    v5,
    rumqttc::v5,
    v5,
    |options: &mut MqttOptions, durable: bool| {
        options.set_clean_start(!durable).set_session_expiry_interval(durable.then_some(3600));
    },
    |topic: &str, payload: &str| rumqttc::v5::mqttbytes::v5::LastWill::new(topic, payload, QoS::AtLeastOnce, false, None),
    |topic: bytes::Bytes| String::from_utf8(topic.to_vec()).expect("a topic is text")
);

type Connect = fn(std::net::SocketAddr, &Wish) -> Box<dyn Foreign>;

/// 3.1.1 and 5.0.
const CLIENTS: [Connect; 2] = [v3::connect, v5::connect];

/// A client that takes up its Session, which must be there or not.
fn resume(connect: Connect, wish: &Wish, session_present: bool) -> Box<dyn Foreign> {
    let mut client = connect(Broker::shared().address(), wish);
    assert_eq!(client.next(DEADLINE), Came::Connected { session_present });
    client
}

fn fresh(connect: Connect) -> Box<dyn Foreign> {
    resume(connect, &Wish { client_id: unique("rumqttc"), durable: false, will: None }, false)
}

/// What comes next, but for the steps in between.
fn next(client: &mut dyn Foreign) -> Came {
    loop {
        match client.next(DEADLINE) {
            Came::Other => {}
            came => return came,
        }
    }
}

fn subscribe(client: &mut dyn Foreign, filter: &str, qos: u8) {
    client.subscribe(filter, qos);
    assert_eq!(next(client), Came::Granted(qos));
}

/// Publishes, and waits for what QoS 1 and 2 are owed.
fn publish(client: &mut dyn Foreign, topic: &str, qos: u8, retain: bool, payload: &str) {
    client.publish(topic, qos, retain, payload);
    match qos {
        0 => assert_eq!(client.next(DEADLINE), Came::Other, "it was sent"),
        1 => assert_eq!(next(client), Came::Acknowledged),
        _ => assert_eq!(next(client), Came::Completed),
    }
}

fn leave(mut client: Box<dyn Foreign>) {
    client.leave();
    assert_eq!(next(&mut *client), Came::Left);
}

fn message(topic: &str, qos: u8, retain: bool, payload: &str) -> Came {
    Came::Message { topic: topic.into(), qos, retain, payload: payload.into() }
}

#[test]
fn every_qos_goes_both_ways() {
    for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(from, to)| (CLIENTS[from], CLIENTS[to])) {
        let (mut publisher, mut subscriber, topic) = (fresh(from), fresh(to), unique("rumqttc/qos"));
        subscribe(&mut *subscriber, &topic, 2);
        for qos in [0, 1, 2, 2, 1, 0] {
            publish(&mut *publisher, &topic, qos, false, &format!("at {qos}"));
            assert_eq!(next(&mut *subscriber), message(&topic, qos, false, &format!("at {qos}")));
        }
        leave(publisher);
        leave(subscriber);
    }
}

#[test]
fn a_retained_message_is_found_replaced_and_cleared() {
    for connect in CLIENTS {
        let (mut publisher, topic) = (fresh(connect), unique("rumqttc/retained"));
        for state in ["old", "new"] {
            publish(&mut *publisher, &topic, 1, true, state);
            let mut late = fresh(connect);
            subscribe(&mut *late, &topic, 1);
            assert_eq!(next(&mut *late), message(&topic, 1, true, state));
        }
        publish(&mut *publisher, &topic, 1, true, "");
        let mut later = fresh(connect);
        subscribe(&mut *later, &topic, 1);
        publish(&mut *publisher, &topic, 1, false, "the first that comes");
        assert_eq!(next(&mut *later), message(&topic, 1, false, "the first that comes"));
    }
}

#[test]
fn a_will_speaks_for_who_vanishes_and_not_for_who_leaves() {
    for connect in CLIENTS {
        let (mut heir, topic) = (fresh(connect), unique("rumqttc/will"));
        subscribe(&mut *heir, &topic, 1);
        let wish = |payload: &str| Wish { client_id: unique("rumqttc"), durable: false, will: Some((topic.clone(), payload.into())) };
        leave(resume(connect, &wish("left"), false));
        drop(resume(connect, &wish("vanished"), false));
        assert_eq!(next(&mut *heir), message(&topic, 1, false, "vanished"));
    }
}

#[test]
fn a_session_is_taken_up_with_what_was_queued() {
    for connect in CLIENTS {
        let (mut publisher, topic) = (fresh(connect), unique("rumqttc/session"));
        let wish = Wish { client_id: unique("rumqttc"), durable: true, will: None };
        let mut subscriber = resume(connect, &wish, false);
        subscribe(&mut *subscriber, &topic, 2);
        leave(subscriber);
        for (qos, payload) in [(1, "first"), (2, "second"), (1, "third"), (2, "fourth")] {
            publish(&mut *publisher, &topic, qos, false, payload);
        }

        let mut subscriber = resume(connect, &wish, true);
        for (qos, payload) in [(1, "first"), (2, "second"), (1, "third"), (2, "fourth")] {
            assert_eq!(next(&mut *subscriber), message(&topic, qos, false, payload));
        }
        publish(&mut *publisher, &topic, 2, false, "live");
        assert_eq!(next(&mut *subscriber), message(&topic, 2, false, "live"));
        leave(subscriber);
    }
}
