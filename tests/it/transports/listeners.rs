//! Several listeners of one node, each with its own settings.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;

use mqttd::config::{ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd_tests::cluster::until;
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

/// A port that the system picks, and what accepted sockets have: they do not wait for more to send (TCP_NODELAY), and ask a silent peer.
#[test]
fn sockets_of_a_listener() {
    let runtime = mqttd_tests::bridge::runtime();
    let _inside = runtime.enter();
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let listener = mqttd::listener::tcp::bind(any.parse().expect("an address")).expect("it binds");
        let address = listener.local_addr().expect("it has an address");
        assert_ne!(address.port(), 0);
        let client = TcpStream::connect(address).expect("it listens");
        let (accepted, peer) = runtime.block_on(listener.accept()).expect("a connection");
        assert_eq!(peer, client.local_addr().expect("it has an address"));
        assert!(accepted.nodelay().expect("it is open"));
        assert!(is_kept_alive(address, peer), "{any}");
    }
}

/// Whether the kernel has a timer for this silent socket of ours: /proc/net/tcp, `tr` is 2.
fn is_kept_alive(local: SocketAddr, peer: SocketAddr) -> bool {
    let file = if local.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = std::fs::read_to_string(file).expect("Linux has one");
    let ports = [local, peer].map(|address| format!(":{:04X}", address.port()));
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| {
        let has = |at: usize, port: &str| row.get(at).is_some_and(|end| end.ends_with(port));
        has(1, &ports[0]) && has(2, &ports[1])
    });
    row.expect("the socket is there")[5].starts_with("02:")
}

/// A storm of reconnects waits in the kernel until we come to it: more than a thousand at a time.
#[test]
fn a_listener_has_a_long_queue() {
    let _inside = mqttd_tests::bridge::runtime().enter();
    let listener = mqttd::listener::tcp::bind("127.0.0.1:0".parse().expect("an address")).expect("it binds");
    let address = listener.local_addr().expect("it has an address");
    let connect = |_| TcpStream::connect_timeout(&address, mqttd_tests::client::DEADLINE).expect("there is room for it");
    let waiting: Vec<TcpStream> = (0..1500).map(connect).collect();
    drop((waiting, listener));
}

/// IPv6 over every transport, and a message from there to a client of IPv4.
#[test]
fn both_families() {
    let broker = Broker::over(&[Transport::Tcp], |config| {
        for scheme in [Scheme::Tls, Scheme::Ws, Scheme::Wss, Scheme::Quic] {
            config.listen.push(ListenUrl::new(scheme, "::1", 0));
        }
    });
    let topic = unique("t");
    let mut subscriber = broker.client(V5).connect();
    subscriber.subscribe(&topic, 0);
    for transport in &ALL[1..] {
        let address = broker.address_of(*transport);
        assert!(address.is_ipv6());
        let told = message(&topic, format!("over {transport:?}"));
        broker.client(V5).to(address).connect().publish(told.clone());
        subscriber.receive(told);
    }
}

/// A URL without a host is both families, at one port.
#[test]
fn all_addresses() {
    // Below those that the system gives to clients, of which one on any address would be in the way.
    let mut ports = (10_000..32_768).skip(std::process::id() as usize % 20_000);
    let port = ports.find(|port| std::net::TcpListener::bind(("::", *port)).is_ok()).expect("a free port");
    let listen = format!(r#"[{{ url = "tcp://:{port}" }}]"#);
    let node = mqttd_tests::cluster::Node::alone(&[("MQTTD_LISTENER", &listen)]);
    for any in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(any.parse().expect("an address"), port);
        node.client(V5).to(address).connect().expect_nothing();
    }
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
        // A place is free when the connection has ended at both sides.
        until("their places are free", || broker.metrics().places_taken.load(Relaxed) == 0);
    }
    let websocket = broker.address_of(Transport::WebSocket);
    broker.client(V5).to(websocket).refused(Reason::NOT_AUTHORIZED);
    let tls = broker.address_of(Transport::Tls);
    broker.client(V5).to(tls).connect().expect_nothing();
    Client::open(tls, V5).expect_closed();
}
