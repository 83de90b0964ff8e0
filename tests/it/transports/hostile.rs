//! Those who mean no good: bounded memory and time, others unharmed, each counted; and no counter drifts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use mqttd::config::{ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd_tests::client::DEADLINE;
use mqttd_tests::*;

use super::{count, eventually, returns_to};

const ALL: [Transport; 5] = [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket, Transport::Quic];
const OVER_TCP: [Transport; 4] = [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket];

fn socket(broker: &Broker, transport: Transport) -> TcpStream {
    let stream = TcpStream::connect(broker.address_of(transport)).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A handshake that trickles has the time of a CONNECT, all together.
#[test]
fn slow_handshakes_are_closed() {
    let broker = Broker::over(&OVER_TCP, |config| config.limits.connect_timeout_s = 1);
    let beginnings: [(&[u8], Transport); 4] = [
        (b"\x16\x03\x01\x02\x00\x01\x00", Transport::Tls),
        (b"GET /mqtt HTTP/1.1\r\nHost: ", Transport::WebSocket),
        (b"\x16\x03\x01", Transport::SecureWebSocket),
        (b"", Transport::Tls),
    ];
    let mut slow: Vec<_> = beginnings
        .iter()
        .map(|(bytes, transport)| {
            let mut stream = socket(&broker, *transport);
            stream.write_all(bytes).expect("sent");
            stream
        })
        .collect();
    assert!(slow.iter_mut().all(is_closed));
    eventually("they are counted", || count(&broker.metrics().connects_late) == 4);
    returns_to(&broker.metrics().sockets_connecting, 0);
}

/// What is no TLS to a TLS listener, and TLS to one that is none.
#[test]
fn the_wrong_protocol_is_closed() {
    let broker = Broker::over(&OVER_TCP, |_| {});
    let hello = [&[0x16, 3, 1, 0, 200][..], &[1; 200]].concat();
    for transport in OVER_TCP {
        for bytes in [&b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\xc0\x00"[..], b"GET / HTTP/1.1\r\n\r\n", &hello, &[0; 4096]] {
            if transport == Transport::Tcp && bytes[0] == 0x10 {
                continue;
            }
            let mut stream = socket(&broker, transport);
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            assert!(is_closed(&mut stream), "{transport:?} {bytes:?}");
        }
    }
    returns_to(&broker.metrics().sockets_connecting, 0);
}

/// More sockets than may connect at a time, from one address: the rest is closed at once, who comes from elsewhere comes in at any time, and all
/// is well when they are gone.
#[test]
fn half_open_sockets_are_bounded() {
    let broker = Broker::over(&[Transport::Tls, Transport::Tcp], |config| {
        (config.limits.connecting_max, config.limits.connect_timeout_s) = (400, 3600);
    });
    let both = [Transport::Tls, Transport::Tcp].map(|transport| broker.address_of(transport));
    let silent = |number: usize| mqttd_tests::elsewhere::connect([127, 0, 0, 2], both[number % 2]).expect("it listens");
    let silent: Vec<TcpStream> = (0..600).map(silent).collect();
    // One address has no more than a sixteenth of the other half; the first half stays for an hour.
    eventually("those above its share are closed", || count(&broker.metrics().sockets_refused) == 400);
    returns_to(&broker.metrics().sockets_connecting, 200);
    for transport in [Transport::Tls, Transport::Tcp] {
        broker.client(V5).to(broker.address_of(transport)).connect().expect_nothing();
    }
    drop(silent);
    returns_to(&broker.metrics().sockets_connecting, 0);
    returns_to(&broker.metrics().connections, 0);
}

/// Connect and leave, be refused, break off in the middle, a thousand times over every transport: the gauges are at zero, and every bound lets
/// in as many as at the beginning.
#[test]
fn counters_return_to_zero() {
    const PLACES: usize = 40;
    let broker = Broker::over(&[], |config| {
        config.auth.anonymous = Some(true);
        config.limits.connections_per_address_max = 10 * PLACES;
        for scheme in [Scheme::Tcp, Scheme::Tls, Scheme::Ws, Scheme::Wss, Scheme::Quic] {
            let url = ListenUrl::new(scheme, "127.0.0.1", 0);
            config.listener.0.push(Listener { connections_max: PLACES, ..Listener::new(url) });
        }
    });
    let mut clients = Vec::new();
    for round in 0..1000usize {
        let transport = ALL[round % ALL.len()];
        let address = broker.address_of(transport);
        let Ok(mut client) = Client::try_open(address, V5) else { panic!("{transport:?} does not accept") };
        match round / ALL.len() % 4 {
            0 => client.send(broker.client(V5).packet()),
            1 => client.send_hex("10 03 00 04 'M'"),
            2 => client.send(broker.client(V5).authenticate("NONE", b"").packet()),
            _ => {
                client.send(broker.client(V5).packet());
                client.expect_connack();
                client.send_hex("00 00");
            }
        }
        clients.push(client);
        if clients.len() > 20 {
            clients.drain(..10).for_each(Client::cut);
        }
    }
    drop(clients);
    let metrics = broker.metrics();
    returns_to(&metrics.connections, 0);
    returns_to(&metrics.sockets_connecting, 0);
    assert_eq!(count(&metrics.sockets_refused), 0);
    assert!(metrics.connections_total.load(Ordering::Relaxed) >= 500);
    broker.auth().until_empty();
    // The places of a listener are given back with its sockets, a moment after the Client is gone.
    for transport in ALL {
        let client = broker.client(V5).to(broker.address_of(transport));
        let mut clients = Vec::new();
        eventually(&format!("{transport:?} has all its places"), || {
            client.clone().id(&unique("c")).try_connect(DEADLINE).map(|client| clients.push(client)).is_some() && clients.len() == PLACES
        });
        client.refused(Reason::SERVER_BUSY);
    }
}

/// A renegotiation, as far as TLS 1.2 still has them, is refused, to a Client that is in and might stay for as long as it likes; others go on.
#[test]
fn renegotiation_is_refused() {
    let broker = Broker::over(&[Transport::Tls], |_| {});
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &broker.address().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is on the PATH (Debian: apt install openssl)");
    let mut input = openssl.stdin.take().expect("its input");
    input.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00").expect("it takes CONNECT");
    let mut output = openssl.stdout.take().expect("its output");
    let mut said = Vec::new();
    while !said.ends_with(b"\x20\x02\x00\x00") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).expect("it can be read"), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    input.write_all(b"R\n").expect("an R on a line of its own asks for one");
    let ended = openssl.wait_with_output().expect("it ends");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(complaint.contains("RENEGOTIATING") && complaint.contains("no renegotiation"), "{complaint}");
    drop(input);
    returns_to(&broker.metrics().connections, 0);
    broker.client(V5).connect().expect_nothing();
}
