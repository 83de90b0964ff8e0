//! The PROXY protocol: the address of the client is the one that the balancer tells.

use std::io::{Read, Write};
use std::net::TcpStream;

use mqttd::config::{Config, ListenUrl, Listener, Scheme};
use mqttd::hook::client::Transport;
use mqttd::listener::proxy_protocol::told;
use mqttd_tests::bridge::Wire;
use mqttd_tests::client::DEADLINE;
use mqttd_tests::*;

use super::{count, eventually};

const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn behind_a_balancer(config: &mut Config) {
    for scheme in [Scheme::Tcp, Scheme::Tls] {
        config.listener.0.push(Listener { proxy_protocol: true, ..Listener::new(ListenUrl::new(scheme, "127.0.0.1", 0)) });
    }
    config.limits.connect_timeout_s = 1;
}

/// A header of version 2: command, family and transport, then addresses and TLVs.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[0x20 | command, family], &(body.len() as u16).to_be_bytes(), body].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0x07, 0x5b];

/// PP2_TYPE_SSL with the Common Name `ann`.
fn ssl(flags: u8, verified: u8) -> Vec<u8> {
    let name = [0x22, 0, 3, b'a', b'n', b'n'];
    [&[0x20, 0, 11, flags, 0, 0, 0, verified][..], &name].concat()
}

#[test]
fn what_a_header_says() {
    let v1 = told(b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 1883\r\n").expect("good");
    assert_eq!(v1.address, Some("192.0.2.7:4660".parse().expect("an address")));
    let v1 = told(b"PROXY TCP6 2001:db8::7 ::1 4660 1883\r\n").expect("good");
    assert_eq!(v1.address, Some("[2001:db8::7]:4660".parse().expect("an address")));
    assert_eq!(told(b"PROXY UNKNOWN\r\n").expect("good").address, None);
    let plain = told(&v2(1, 0x11, &IPV4)).expect("good");
    assert_eq!((plain.address, plain.certificate_name), (Some("192.0.2.7:4660".parse().expect("an address")), None));
    assert_eq!(told(&v2(0, 0, &[])).expect("good").address, None, "LOCAL: the balancer itself");
    let named = |flags, verified| told(&v2(1, 0x11, &[&IPV4[..], &ssl(flags, verified)].concat())).expect("good").certificate_name;
    assert_eq!(named(0x03, 0).as_deref(), Some("ann"));
    assert_eq!(named(0x05, 0).as_deref(), Some("ann"));
    assert_eq!((named(0x01, 0), named(0x03, 1)), (None, None), "no certificate, or one that was not verified");
    for bad in [&b"PROXY TCP4 192.0.2.7\r\n"[..], b"GET / HTTP/1.1\r\n", SIGNATURE, &v2(1, 0x11, &IPV4[..8]), b""] {
        told(bad).expect_err("bad");
    }
}

/// What comes behind the header, in the same segment or not, is the client's.
#[test]
fn the_stream_begins_behind_the_header() {
    let broker = Broker::over(&[], behind_a_balancer);
    let headers: [Vec<u8>; 5] = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 1883\r\n".to_vec(),
        v2(0, 0, &[]),
        v2(1, 0x11, &IPV4),
        v2(1, 0x11, &[&IPV4[..], &[0x04, 0x03, 0xe8], &[0; 1000]].concat()),
    ];
    for header in headers {
        for piece in [1, 7, 4096] {
            let mut stream = TcpStream::connect(broker.address()).expect("it listens");
            stream.set_nodelay(true).expect("no delay");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            let bytes = [&header[..], CONNECT].concat();
            bytes.chunks(piece).for_each(|part| stream.write_all(part).expect("sent"));
            let mut connack = [0; 4];
            stream.read_exact(&mut connack).expect("CONNACK");
            assert_eq!(connack, [0x20, 2, 0, 0]);
        }
    }
}

/// Limits and bans are about the address that the balancer tells, not about the balancer.
#[test]
fn the_address_that_is_told_is_the_clients() {
    let broker = Broker::over(&[], |config| {
        behind_a_balancer(config);
        config.limits.connections_per_address_max = 1;
    });
    let through = |last: u8| {
        let mut stream = TcpStream::connect(broker.address()).expect("it listens");
        stream.write_all(&v2(1, 0x11, &[&[192, 0, 2, last], &IPV4[4..]].concat())).expect("sent");
        broker.client(V5).send_on(Wire::Tcp(stream))
    };
    let (mut one, mut two) = (through(7), through(8));
    assert_eq!((one.expect_connack().reason, two.expect_connack().reason), (Reason::SUCCESS, Reason::SUCCESS));
    assert_eq!(through(7).expect_connack().reason, Reason::CONNECTION_RATE_EXCEEDED);
    let addresses: Vec<String> = broker.auth().addresses().iter().map(|(address, count)| format!("{address} {count}")).collect();
    assert_eq!(addresses, ["192.0.2.7 1", "192.0.2.8 1"]);
    broker.auth().ban("address:192.0.2.8", None);
    two.expect_disconnect(Reason::NOT_AUTHORIZED);
    two.expect_closed();
    eventually("its place is free", || broker.auth().addresses().len() == 1);
    assert_eq!(through(8).expect_connack().reason, Reason::BANNED);
    one.expect_nothing();
}

/// No header, a bad one, one too long, one that never ends: the end, and counted. Others are not disturbed.
#[test]
fn who_has_no_header_is_not_heard() {
    let broker = Broker::over(&[], behind_a_balancer);
    let rows: [Vec<u8>; 5] = [
        CONNECT.to_vec(),
        b"PROXY TCP9 1 2 3 4\r\n".to_vec(),
        [b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
        [SIGNATURE, &[0x31, 0x11, 0, 12], &IPV4].concat(),
    ];
    for bytes in &rows {
        let mut stream = TcpStream::connect(broker.address()).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
    eventually("they are counted", || count(&broker.metrics().proxy_headers_failed) == rows.len() as u64);
    let mut half = TcpStream::connect(broker.address()).expect("it listens");
    half.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    half.write_all(b"PROXY TCP4 192.0").expect("sent");
    assert_eq!(half.read(&mut [0]).expect("it is closed after its second"), 0);
    eventually("it is counted", || count(&broker.metrics().connects_late) == 1);
    assert_ne!(broker.address_of(Transport::Tls), broker.address());
}

/// A header is as good as a password: where it may come from can be said. Who else comes is closed, header or not, and counted.
#[test]
fn headers_are_taken_from_balancers_alone() {
    let broker = Broker::over(&[], |config| {
        let url = ListenUrl::new(Scheme::Tcp, "127.0.0.1", 0);
        let proxy_from = vec!["127.0.0.2".to_owned(), "10.0.0.0/8".to_owned()];
        config.listener.0.push(Listener { proxy_protocol: true, proxy_from, ..Listener::new(url) });
    });
    let header = v2(1, 0x11, &IPV4);
    let from = |last: u8| {
        let mut stream = mqttd_tests::elsewhere::connect([127, 0, 0, last], broker.address()).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let _ = stream.write_all(&[&header[..], CONNECT].concat());
        let mut answer = Vec::new();
        let mut connack = [0; 4];
        if stream.read_exact(&mut connack).is_ok() {
            answer.extend(connack);
        }
        answer
    };
    assert_eq!(from(2), [0x20, 2, 0, 0]);
    assert!(from(1).is_empty() && from(3).is_empty());
    eventually("they are counted", || count(&broker.metrics().proxy_headers_failed) == 2);
}
