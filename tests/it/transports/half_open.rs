//! Ten thousand sockets that mean nothing: a process of its own, so that its memory is its own.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mqttd::hook::client::Transport;
use mqttd_tests::bridge::{self, Wire};
use mqttd_tests::certificates::{Folder, localhost};
use mqttd_tests::cluster::{Node, until};
use mqttd_tests::connecting::Connecting;
use mqttd_tests::redis::free_port;
use mqttd_tests::way::Way;
use mqttd_tests::*;

const SOCKETS: usize = 10_000;

/// As many as may stay as long as they like: half of `limits.connecting_max`.
const STAY: usize = 4000;

/// What a half-open socket may cost, a debug build and everything counted.
const BYTES_MAX: usize = 24 * 1024;

/// What a socket says before it falls silent: to the listener with TLS, and to the one without.
const BEGINNINGS: [&[u8]; 4] = [b"\x16\x03\x01\x02\x00\x01\x00", b"\x10", b"", b""];

/// Memory and time are bounded, each of them is counted, and others come in as quickly as ever.
#[test]
fn ten_thousand_half_open_sockets() {
    let folder = Folder::new("half-open");
    let (certificate, key) = localhost(folder.path());
    let tls = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let node = Node::alone(&[
        ("MQTTD_LISTENER", &format!("[{{ url = \"tls://{tls}\" }}]")),
        ("MQTTD_TLS__CERTIFICATES", &format!("[{certificate:?}]")),
        ("MQTTD_TLS__KEYS", &format!("[{key:?}]")),
        ("MQTTD_LIMITS__CONNECTING_MAX", &(2 * STAY).to_string()),
        ("MQTTD_LIMITS__CONNECT_TIMEOUT_S", "3600"),
    ]);
    let plain = node.address();
    let come = || {
        let begun = Instant::now();
        let wire = Wire::Pair(bridge::connect(tls, Way::new(Transport::Tls)).expect("a handshake"));
        Connecting::new(tls, V5).connect_on(wire).disconnect();
        node.client(V5).connect().disconnect();
        begun.elapsed()
    };
    come();
    let before = node.resident_bytes();
    let half_open: Vec<TcpStream> = (0..SOCKETS)
        .map(|number| {
            // Those who mean it come from another address, and at any time.
            if number % 2000 == 1999 {
                until("others come in", || node.client(V5).try_connect(Duration::from_secs(5)).is_some());
            }
            let socket = mqttd_tests::elsewhere::connect([127, 0, 0, 2], [tls, plain][number % 2])
                .expect("this machine has descriptors: `ulimit -n` is above 10,200");
            let mut to = &socket;
            // It may be closed at once: then it was one too many.
            let _ = to.write_all(BEGINNINGS[number % 4]);
            socket
        })
        .collect();
    // The first half stays; of the other half one address has no more than a sixteenth.
    until("those above the bound are closed", || {
        node.metric("sockets_connecting") == STAY
            && node.metric("sockets_refused_total") + node.metric("connects_late_total") == SOCKETS - STAY
    });
    let memory = node.resident_bytes().saturating_sub(before);
    assert!(memory < SOCKETS * BYTES_MAX, "{memory} bytes for {SOCKETS} sockets");
    assert!(come() < Duration::from_secs(10), "others come in");
    drop(half_open);
    until("they are gone", || node.metric("sockets_connecting") == 0 && node.metric("connections") == 0);
    assert!(come() < Duration::from_secs(10), "others come in");
}
