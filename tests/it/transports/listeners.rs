//! Several listeners of one node, each with its own settings.

use mqttd::config::{ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd_tests::*;

const ALL: [Transport; 5] = [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket, Transport::Quic];

/// A message that is published over each transport comes over each of them.
#[test]
fn every_transport_reaches_every_other() {
    let broker = Broker::over(&ALL, |_| {});
    let topic = unique("t");
    let mut clients: Vec<Client> = ALL.map(|transport| broker.client(V5).to(broker.address_of(transport)).connect()).into();
    for client in &mut clients {
        client.subscribe(&topic, 2);
    }
    for from in 0..ALL.len() {
        let text = format!("over {:?}", ALL[from]);
        let published = message(&topic, &text).qos(2);
        clients[from].send(published.clone().id(9000));
        for client in &mut clients {
            let came =
                client.wait_for("the message", |packet| matches!(packet, Packet::Publish(publish) if publish.payload == text.as_bytes()));
            let Packet::Publish(publish) = came else { unreachable!() };
            client.acknowledge(QoS::ExactlyOnce, publish.packet_id.expect("QoS 2").get());
        }
        clients[from].wait_for("PUBREC", |packet| matches!(packet, Packet::Acknowledge(ack) if ack.kind == Kind::Pubrec));
        clients[from].send(pubrel(9000));
        clients[from].wait_for("PUBCOMP", |packet| matches!(packet, Packet::Acknowledge(ack) if ack.packet_id.get() == 9000));
    }
}

#[test]
fn a_node_may_have_no_tcp_at_all() {
    let broker = Broker::over(&[Transport::Quic], |_| {});
    broker.client(V3_1_1).connect().expect_nothing();
}

#[test]
fn both_families() {
    let broker = Broker::over(&[Transport::Tls], |config| config.listen.push(ListenUrl::new(Scheme::Quic, "::1", 0)));
    broker.client(V5).connect().expect_nothing();
    let quic = broker.address_of(Transport::Quic);
    assert!(quic.is_ipv6());
}

/// A Client that is one too many for its listener is told so; over another listener it comes in.
#[test]
fn a_listener_has_its_own_limits() {
    let broker = Broker::over(&[], |config| {
        let narrow = ListenUrl::tcp("127.0.0.1", 0);
        config.listener.0.push(Listener { connections_max: 2, anonymous: None, ..Listener::new(narrow) });
        config.listener.0.push(Listener { anonymous: Some(false), ..Listener::new(ListenUrl::new(Scheme::Ws, "127.0.0.1", 0)) });
        config.listener.0.push(Listener { connect_timeout_s: Some(1), ..Listener::new(ListenUrl::new(Scheme::Tls, "127.0.0.1", 0)) });
    });
    for _ in 0..3 {
        let (one, two) = broker.pair(V5);
        broker.client(V5).refused(Reason::SERVER_BUSY);
        one.disconnect();
        two.disconnect();
    }
    let websocket = broker.address_of(Transport::WebSocket);
    broker.client(V5).to(websocket).refused(Reason::NOT_AUTHORIZED);
    let tls = broker.address_of(Transport::Tls);
    broker.client(V5).to(tls).connect().expect_nothing();
    Client::open(tls, V5).expect_closed();
}
