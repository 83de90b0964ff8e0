//! QUIC without a client behind it: datagrams that stand alone. What is answered to them is little, and so is what is kept.

use std::net::UdpSocket;

use mqttd::hook::client::Transport;
use mqttd_tests::bridge::runtime;
use mqttd_tests::client::DEADLINE;
use mqttd_tests::way::Way;
use mqttd_tests::*;

use super::{count, eventually, returns_to};

/// The least that a datagram with an Initial packet has (RFC 9000 section 14.1).
const INITIAL_BYTES: usize = 1200;

/// Above so many in the hall an address must show that it is no other's; ARCHITECTURE.md has it among the bounds.
const RETRY_ABOVE: usize = 256;

/// Kinds of long header packets of version 1, in the first byte.
const KIND: u8 = 0xf0;
const INITIAL: u8 = 0xc0;
const RETRY: u8 = 0xf0;

fn start(connect_timeout_s: u32) -> Broker {
    Broker::over(&[Transport::Quic], |config| config.limits.connect_timeout_s = connect_timeout_s)
}

/// The first datagrams of so many clients, each of a connection of its own: of a real client, whose datagrams come here and go no further.
fn initials(count: usize) -> Vec<Vec<u8>> {
    let trap = UdpSocket::bind("127.0.0.1:0").expect("a port");
    trap.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let address = trap.local_addr().expect("an address");
    let trying: Vec<_> = (0..count)
        .map(|_| {
            let way = Way::new(Transport::Quic);
            let client = runtime().spawn(async move { drop(way.quic(address).await) });
            let mut datagram = vec![0; 2048];
            let length = loop {
                let length = trap.recv(&mut datagram).expect("it sends");
                // Others send theirs again.
                if is_new(&datagram[..length]) {
                    break length;
                }
            };
            client.abort();
            datagram.truncate(length);
            datagram
        })
        .collect();
    assert!(trying.iter().all(|datagram| datagram.len() == INITIAL_BYTES && datagram[0] & KIND == INITIAL));
    trying
}

/// Whether it is the first of its connection.
fn is_new(datagram: &[u8]) -> bool {
    use std::sync::{LazyLock, Mutex};
    static SEEN: LazyLock<Mutex<std::collections::HashSet<Vec<u8>>>> = LazyLock::new(Default::default);
    let length = usize::from(datagram[5]);
    SEEN.lock().expect("nobody panics").insert(datagram[6..6 + length].to_vec())
}

fn socket_to(broker: &Broker) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.connect(broker.address()).expect("an address");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    socket
}

/// What has come so far.
fn came(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).expect("it can be asked");
    let mut datagrams = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer) {
        datagrams.push(buffer[..length].to_vec());
    }
    datagrams
}

/// A handshake that begins and does not go on, from an address that may be another's: it is answered with no more than three times what came
/// (RFC 9000 section 8.1), however long, and ends in its time. Who opens no stream has that time as well.
#[test]
fn a_handshake_without_an_end_is_not_amplified() {
    let broker = start(2);
    let silent = socket_to(&broker);
    silent.send(&initials(1)[0]).expect("sent");
    let (_endpoint, mute) = runtime().block_on(async { Way::new(Transport::Quic).quic(broker.address()).await }).expect("a handshake");
    broker.client(V5).connect().expect_nothing();
    eventually("both are counted", || count(&broker.metrics().quic_failed) == 2);
    returns_to(&broker.metrics().sockets_connecting, 0);
    runtime().block_on(async { tokio::time::timeout(DEADLINE, mute.closed()).await }).expect("it is closed");
    let bytes: usize = came(&silent).iter().map(Vec::len).sum();
    assert!(bytes > 0 && bytes <= 3 * INITIAL_BYTES, "{bytes} bytes for {INITIAL_BYTES}");
}

/// A version that nobody knows is answered with the versions that there are, in less than what came; what is too short for that, with nothing.
#[test]
fn an_unknown_version_is_answered_once() {
    let broker = start(10);
    let socket = socket_to(&broker);
    let mut datagram = vec![0; INITIAL_BYTES];
    datagram[..6].copy_from_slice(&[0xc0, 0x6b, 0x33, 0x43, 0xcf, 8]);
    datagram[14] = 8;
    for (length, answers) in [(INITIAL_BYTES, true), (600, false), (20, false)] {
        socket.send(&datagram[..length]).expect("sent");
        if answers {
            let mut buffer = [0; 2048];
            let length = socket.recv(&mut buffer).expect("an answer");
            assert!(length < INITIAL_BYTES && buffer[0] & 0x80 != 0);
            assert_eq!(buffer[1..5], [0; 4], "Version Negotiation");
        }
    }
    broker.client(V5).connect().expect_nothing();
    assert!(came(&socket).is_empty());
    returns_to(&broker.metrics().sockets_connecting, 0);
}

/// More handshakes than 256 that do not go on: those that come then are asked to show their address, which costs nothing to keep. Who means it does so.
#[test]
fn a_crowd_has_to_show_its_address() {
    const MORE: usize = 40;
    let broker = start(3600);
    let datagrams = initials(RETRY_ABOVE + MORE);
    let sockets: Vec<UdpSocket> = datagrams.iter().map(|_| socket_to(&broker)).collect();
    for (number, (socket, datagram)) in sockets.iter().zip(&datagrams).enumerate() {
        socket.send(datagram).expect("sent");
        let mut first = [0; 2048];
        let length = socket.recv(&mut first).expect("an answer");
        assert_eq!(first[0] & KIND == RETRY, number >= RETRY_ABOVE, "{number}: {:02x?}", &first[..length.min(8)]);
        assert!(length <= 3 * INITIAL_BYTES);
    }
    returns_to(&broker.metrics().sockets_connecting, RETRY_ABOVE);
    assert_eq!(count(&broker.metrics().quic_retries), MORE as u64);
    broker.client(V5).connect().expect_nothing();
    assert_eq!(count(&broker.metrics().quic_retries), MORE as u64 + 1, "it was asked too");
}

/// Noise is answered with less than what came, and nothing of it stays.
#[test]
fn noise_is_not_amplified() {
    let broker = start(10);
    let socket = socket_to(&broker);
    let (mut sent, mut random) = (0, 1u64);
    for round in 0..2000usize {
        let mut datagram: Vec<u8> = (0..[20, 100, 600, 1200][round % 4])
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 56) as u8
            })
            .collect();
        if round % 2 == 0 {
            datagram[0] |= 0xc0; // a long header
            datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
            (datagram[5], datagram[14]) = (8, 8); // connection ids of a good length
        }
        // A full buffer of the socket loses some, as the network would.
        sent += socket.send(&datagram).unwrap_or(0);
    }
    broker.client(V5).connect().expect_nothing();
    returns_to(&broker.metrics().sockets_connecting, 0);
    let bytes: usize = came(&socket).iter().map(Vec::len).sum();
    assert!(bytes <= sent, "{bytes} bytes for {sent}");
}
