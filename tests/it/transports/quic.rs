//! QUIC: streams in the place of sockets, with a client of our own making.

use std::net::{SocketAddr, UdpSocket};

use bytes::BytesMut;
use mqttd::hook::client::Transport;
use mqttd_tests::bridge::runtime;
use mqttd_tests::client::DEADLINE;
use mqttd_tests::way::Way;
use mqttd_tests::*;
use quinn::{Connection, Endpoint, RecvStream, SendStream};

use super::{count, eventually};

/// One stream, speaking MQTT 5.0.
pub(super) struct Stream {
    send: SendStream,
    receive: RecvStream,
    input: BytesMut,
}

impl Stream {
    pub(super) fn open(connection: &Connection) -> Stream {
        let (send, receive) = runtime().block_on(connection.open_bi()).expect("a stream");
        Stream { send, receive, input: BytesMut::new() }
    }

    pub(super) fn send(&mut self, packet: impl Into<Packet>) {
        let mut bytes = BytesMut::new();
        packet.into().encode(V5, &mut bytes);
        runtime().block_on(self.send.write_all(&bytes)).expect("it is taken");
    }

    /// The next packet; `None` is the end of the stream.
    pub(super) fn next(&mut self) -> Option<Packet> {
        loop {
            if let Ok(Some((_, total))) = mqttd::packet::frame(&self.input, u32::MAX) {
                return Some(Packet::decode(V5, self.input.split_to(total).freeze()).expect("well formed"));
            }
            let mut chunk = [0; 4096];
            let read = async { tokio::time::timeout(DEADLINE, self.receive.read(&mut chunk)).await.expect("something comes") };
            match runtime().block_on(read) {
                Ok(Some(count)) => self.input.extend_from_slice(&chunk[..count]),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    #[track_caller]
    fn expect_publish(&mut self, expected: &Message) {
        match self.next() {
            Some(Packet::Publish(publish))
                if publish.payload == expected.publish().payload && publish.topic == expected.publish().topic => {}
            other => panic!("expected {expected:?}, came {other:?}"),
        }
    }
}

fn start() -> Broker {
    Broker::over(&[Transport::Quic], |_| {})
}

fn connect(broker: &Broker) -> (Endpoint, Connection) {
    let way = Way::new(Transport::Quic);
    let address = broker.address();
    runtime().block_on(async move { way.quic(address).await }).expect("a handshake")
}

/// A connection whose Client is in, with its control stream.
pub(super) fn enter(broker: &Broker) -> (Endpoint, Connection, Stream) {
    let (endpoint, connection) = connect(broker);
    let mut control = Stream::open(&connection);
    control.send(broker.client(V5).packet());
    assert!(matches!(control.next(), Some(Packet::Connack(connack)) if connack.reason == Reason::SUCCESS));
    (endpoint, connection, control)
}

/// Subscribe and publish on data streams: answers and messages come on the stream of what they answer.
#[test]
fn data_streams_have_their_own_acknowledgements() {
    let broker = start();
    let (_endpoint, connection, mut control) = enter(&broker);
    let (one, two) = (unique("t"), unique("t"));
    let (mut first, mut second, mut publisher) = (Stream::open(&connection), Stream::open(&connection), Stream::open(&connection));
    for (stream, topic) in [(&mut first, &one), (&mut second, &two)] {
        stream.send(Packet::Subscribe(Box::new(subscribe(1, &[(topic.as_str(), 1)]))));
        assert!(matches!(stream.next(), Some(Packet::Suback(suback)) if suback.packet_id.get() == 1));
    }
    for number in 0..50u16 {
        for topic in [&one, &two] {
            publisher.send(message(topic, number.to_string()).qos(1).id(number + 1));
            assert!(
                matches!(publisher.next(), Some(Packet::Acknowledge(ack)) if ack.packet_id.get() == number + 1 && ack.kind == Kind::Puback)
            );
        }
    }
    for (stream, topic) in [(&mut first, &one), (&mut second, &two)] {
        for number in 0..50 {
            stream.expect_publish(&message(topic, number.to_string()));
        }
    }
    // QoS 2 from its beginning to its end on one stream.
    publisher.send(message(&one, "twice").qos(2).id(7));
    assert!(matches!(publisher.next(), Some(Packet::Acknowledge(ack)) if ack.kind == Kind::Pubrec));
    publisher.send(pubrel(7));
    assert!(matches!(publisher.next(), Some(Packet::Acknowledge(ack)) if ack.kind == Kind::Pubcomp));
    first.expect_publish(&message(&one, "twice"));
    control.send(Packet::Pingreq);
    assert!(matches!(control.next(), Some(Packet::Pingresp)), "nothing of it came on the control stream");
    assert_eq!(broker.metrics().connections.load(std::sync::atomic::Ordering::Relaxed), 1, "it is one Client");
}

/// Data streams come and go beside a Client: `on_connect` and `on_disconnect` are told of the Client, once each.
#[test]
fn the_end_of_a_data_stream_is_not_the_end_of_its_client() {
    let folder = mqttd_tests::certificates::Folder::new("quic");
    let (certificate, key) = mqttd_tests::certificates::localhost(folder.path());
    let (told, heard) = std::sync::mpsc::channel();
    let (came, went) = (told.clone(), told);
    let builder = mqttd::Node::builder()
        .set("tls.certificates", certificate)
        .set("tls.keys", key)
        .on_connect(move || {
            let came = came.clone();
            async move { came.send("came").unwrap() }
        })
        .on_disconnect(move || {
            let went = went.clone();
            async move { went.send("went").unwrap() }
        });
    let (broker, _) = Broker::embed_at("quic://127.0.0.1:0", builder);
    let (_endpoint, connection, mut control) = enter(&broker);
    for _ in 0..2 {
        let mut stream = Stream::open(&connection);
        stream.send(message(&unique("t"), "x").qos(1).id(1));
        assert!(matches!(stream.next(), Some(Packet::Acknowledge(_))));
        stream.send(broker.client(V5).packet());
        assert!(matches!(stream.next(), Some(Packet::Disconnect(_))), "a second CONNECT ends the stream");
        assert!(stream.next().is_none());
    }
    control.send(Packet::Pingreq);
    assert!(matches!(control.next(), Some(Packet::Pingresp)), "the Client is still in");
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["came"]);
    runtime().block_on(control.send.write_all(&[0xe0, 0])).expect("it is taken");
    assert_eq!(heard.recv_timeout(client::DEADLINE), Ok("went"));
    drop(broker);
    assert_eq!(heard.try_iter().count(), 0);
}

/// A stream that is opened before the Client is in waits until then; a fault on one is the end of that one alone.
#[test]
fn data_streams_begin_behind_the_control_stream_and_fail_alone() {
    let broker = start();
    let (_endpoint, connection) = connect(&broker);
    let (mut control, mut early) = (Stream::open(&connection), Stream::open(&connection));
    let packet = broker.client(V5).packet();
    let mut bytes = BytesMut::new();
    packet.encode(V5, &mut bytes);
    let (half, rest) = bytes.split_at(5);
    runtime().block_on(control.send.write_all(half)).expect("it is taken");
    early.send(message(&unique("t"), "early").qos(1).id(1));
    runtime().block_on(control.send.write_all(rest)).expect("it is taken");
    assert!(matches!(control.next(), Some(Packet::Connack(_))));
    assert!(matches!(early.next(), Some(Packet::Acknowledge(_))));
    early.send(broker.client(V5).packet());
    assert!(matches!(early.next(), Some(Packet::Disconnect(_))), "a second CONNECT");
    assert!(early.next().is_none());
    let mut other = Stream::open(&connection);
    other.send(message(&unique("t"), "on").qos(1).id(1));
    assert!(matches!(other.next(), Some(Packet::Acknowledge(_))));
}

/// When the control stream ends, so does everything; what was said before has arrived.
#[test]
fn disconnect_comes_before_the_close() {
    let broker = start();
    let id = unique("c");
    let (_endpoint, connection) = connect(&broker);
    let mut control = Stream::open(&connection);
    control.send(broker.client(V5).id(&id).packet());
    control.next().expect("CONNACK");
    let mut data = Stream::open(&connection);
    data.send(Packet::Subscribe(Box::new(subscribe(1, &[("a", 0)]))));
    data.next().expect("SUBACK");
    let _other = broker.client(V5).id(&id).connect();
    assert!(matches!(control.next(), Some(Packet::Disconnect(end)) if end.reason == Reason::SESSION_TAKEN_OVER));
    assert!(control.next().is_none());
    assert!(data.next().is_none());
}

/// The client moves to another address; its stream, and so its session, goes on.
#[test]
fn migration_keeps_the_session() {
    let broker = start();
    let (endpoint, _connection, mut control) = enter(&broker);
    let topic = unique("t");
    control.send(Packet::Subscribe(Box::new(subscribe(1, &[(topic.as_str(), 0)]))));
    control.next().expect("SUBACK");
    let before = endpoint.local_addr().expect("an address");
    {
        let _inside = runtime().enter();
        endpoint.rebind(UdpSocket::bind("127.0.0.1:0").expect("a port")).expect("another socket");
    }
    assert_ne!(endpoint.local_addr().expect("an address"), before);
    for number in 0..10 {
        let told = message(&topic, number.to_string());
        control.send(told.clone());
        control.expect_publish(&told);
    }
}

#[test]
fn another_protocol_is_refused() {
    let broker = start();
    let address = broker.address();
    let refused = runtime().block_on(async move {
        let mut tls = certificates::client_config(&certificates::Authority::shared().pem, None);
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("a client");
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        endpoint.connect_with(quinn::ClientConfig::new(std::sync::Arc::new(tls)), address, "localhost").expect("a try").await.is_err()
    });
    assert!(refused);
    eventually("it is counted", || count(&broker.metrics().quic_failed) == 1);
}

/// Who comes again has a ticket, and may still not say anything with it before the handshake is over: it could be said again by others.
#[test]
fn early_data_is_not_taken() {
    let broker = start();
    let mut tls = certificates::client_config(&certificates::Authority::shared().pem, None);
    (tls.alpn_protocols, tls.enable_early_data) = (vec![b"mqtt".to_vec()], true);
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("a client");
    let config = quinn::ClientConfig::new(std::sync::Arc::new(tls));
    let _inside = runtime().enter();
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    for round in 0..3 {
        let connecting = endpoint.connect_with(config.clone(), broker.address(), "localhost").expect("a try");
        let connecting = connecting.into_0rtt().err().unwrap_or_else(|| panic!("round {round}: early data is offered"));
        let connection = runtime().block_on(connecting).expect("a handshake");
        let mut control = Stream::open(&connection);
        control.send(broker.client(V5).packet());
        assert!(matches!(control.next(), Some(Packet::Connack(_))));
    }
}
