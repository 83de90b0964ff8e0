//! WebSocket: the handshake and the frames (MQTT 5.0 section 6; RFC 6455).

use std::io::{Read, Write};
use std::net::TcpStream;

use mqttd::hook::client::Transport;
use mqttd::listener::websocket::frame::masked;
use mqttd_tests::client::DEADLINE;
use mqttd_tests::cluster::{Node, until};
use mqttd_tests::*;

use super::{count, eventually};

const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const MASK: [u8; 4] = [1, 2, 3, 4];

const FINAL_BINARY: u8 = 0x82;
const BINARY: u8 = 0x02;
const CONTINUATION: u8 = 0x00;
const FINAL_CONTINUATION: u8 = 0x80;
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const CLOSE: u8 = 0x88;
/// RSV1, which permessage-deflate sets (RFC 7692).
const COMPRESSED: u8 = 0x40;

/// What a bomb may cost that was refused or waits, a debug build and everything counted.
const BOMB_BYTES_MAX: usize = 32 * 1024;

fn start() -> Broker {
    Broker::over(&[Transport::WebSocket], |config| config.websocket.origins = vec!["https://app.example".to_owned()])
}

/// Sends a request and comes back with its status and what else was said.
fn request(broker: &Broker, path: &str, headers: &str) -> (TcpStream, u16, String) {
    let mut stream = TcpStream::connect(broker.address()).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(text.as_bytes()).expect("it takes the request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            _ => break,
        }
    }
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (stream, status, answer.to_lowercase())
}

fn open(broker: &Broker) -> TcpStream {
    let (stream, status, _) = request(broker, "/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n");
    assert_eq!(status, 101);
    stream
}

#[track_caller]
fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut came = vec![0; bytes.len()];
    stream.read_exact(&mut came).expect("something comes");
    assert_eq!(came, bytes);
}

fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest);
    rest
}

/// `[MQTT-6.0.0-3]`, `[MQTT-6.0.0-4]`, `[v3:MQTT-6.0.0-4]` The subprotocol is asked for and chosen.
#[test]
fn the_handshake() {
    let broker = start();
    let protocol = "Sec-WebSocket-Protocol: ";
    let rows = [
        ("/mqtt", format!("{protocol}mqtt\r\n"), 101, "sec-websocket-protocol: mqtt\r\n"),
        ("/mqtt?token=x", format!("{protocol}mqtt\r\n"), 101, ""),
        ("/mqtt", format!("{protocol}mqttv3.1, mqtt\r\n"), 101, "sec-websocket-protocol: mqttv3.1\r\n"),
        ("/mqtt", format!("{protocol}chat\r\n{protocol}mqtt\r\n"), 101, "sec-websocket-protocol: mqtt\r\n"),
        ("/mqtt", format!("{protocol}mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"), 101, ""),
        ("/mqtt", format!("{protocol}mqtt\r\nOrigin: https://app.example\r\n"), 101, ""),
        ("/mqtt", format!("{protocol}mqtt\r\nOrigin: https://evil.example\r\n"), 403, ""),
        ("/mqtt", format!("{protocol}chat\r\n"), 400, ""),
        ("/mqtt", String::new(), 400, ""),
        ("/", format!("{protocol}mqtt\r\n"), 404, ""),
    ];
    let refused = rows.iter().filter(|row| row.2 != 101).count() as u64;
    for (path, headers, expected, contains) in rows {
        let (_, status, answer) = request(&broker, path, &headers);
        assert_eq!(status, expected, "{path} {headers}");
        assert!(answer.contains(contains) && !answer.contains("permessage-deflate"), "{answer}");
    }
    eventually("refusals are counted", || count(&broker.metrics().websockets_failed) == refused);
}

/// `[MQTT-6.0.0-2]`, `[v3:MQTT-6.0.0-2]` Packets may span frames, and frames may hold several packets.
#[test]
fn packets_and_frames_have_nothing_to_do_with_each_other() {
    let broker = start();
    let mut stream = open(&broker);
    stream.write_all(&masked(BINARY, MASK, &CONNECT[..1])).expect("sent");
    stream.write_all(&masked(PING, MASK, b"in between")).expect("sent");
    expect(&mut stream, b"\x8a\x0ain between");
    stream.write_all(&masked(CONTINUATION, MASK, &[])).expect("sent");
    for byte in &CONNECT[1..7] {
        stream.write_all(&masked(CONTINUATION, MASK, &[*byte])).expect("sent");
    }
    stream.write_all(&masked(FINAL_CONTINUATION, MASK, &CONNECT[7..])).expect("sent");
    expect(&mut stream, &[&[0x82, 4], CONNACK].concat());
    stream.write_all(&masked(FINAL_BINARY, [9, 8, 7, 6], &[0xc0, 0, 0xc0, 0, 0xc0, 0, 0xe0])).expect("sent");
    let answers = [&[0x82, 6][..], &[0xd0, 0].repeat(3)].concat();
    expect(&mut stream, &answers);
    stream.write_all(&masked(FINAL_BINARY, MASK, &[0])).expect("sent");
    assert_eq!(rest(stream), [0x88, 2, 3, 0xe8], "DISCONNECT is answered with Close 1000");
}

/// `[MQTT-6.0.0-1]`, `[v3:MQTT-6.0.0-1]` Text, and all else that breaks the rules, is the end of the connection, not of the node.
#[test]
fn what_breaks_the_rules_is_the_end() {
    let broker = start();
    let rows: [(&str, Vec<u8>, u16); 7] = [
        ("text", masked(TEXT, MASK, b"hello"), 1003),
        ("no mask", vec![0x82, 2, 0xc0, 0], 1002),
        ("reserved bits", masked(0xc2, MASK, &[0xc0, 0]), 1002),
        ("a continuation of nothing", masked(FINAL_CONTINUATION, MASK, &[0xc0, 0]), 1002),
        ("an unknown opcode", masked(0x83, MASK, &[]), 1002),
        ("a long ping", masked(PING, MASK, &[0; 126]), 1002),
        ("a frame without an end", [&[0x82, 0xff, 0xff][..], &[0xff; 7], &MASK].concat(), 1002),
    ];
    for (name, frame, status) in rows {
        let mut stream = open(&broker);
        stream.write_all(&masked(FINAL_BINARY, MASK, CONNECT)).expect("sent");
        expect(&mut stream, &[&[0x82, 4], CONNACK].concat());
        stream.write_all(&frame).expect("sent");
        assert_eq!(rest(stream), [&[0x88, 2][..], &status.to_be_bytes()].concat(), "{name}");
    }
    let mut stream = open(&broker);
    stream.write_all(&masked(CLOSE, MASK, &[3, 0xe8])).expect("sent");
    drop(rest(stream));
}

/// A frame may announce what no memory holds: nothing is taken for it, and the packet in it keeps to the limit of packets.
#[test]
fn a_huge_frame_costs_nothing() {
    let broker = start();
    let mut stream = open(&broker);
    stream.write_all(&[&[0x82, 0xff, 0x7f][..], &[0xff; 7], &[0; 4], CONNECT].concat()).expect("sent");
    expect(&mut stream, &[&[0x82, 4], CONNACK].concat());
    stream.write_all(&[0xc0, 0]).expect("sent");
    expect(&mut stream, &[0x82, 2, 0xd0, 0]);
    stream.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f]).expect("sent");
    assert_eq!(rest(stream), [0x88, 2, 3, 0xe8]);
}

/// A message compressed a thousandfold: nobody has agreed to that, so it is not even looked at.
#[test]
fn a_compressed_bomb_is_not_opened() {
    let broker = start();
    let (mut stream, status, answer) =
        request(&broker, "/mqtt", "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n");
    assert_eq!((status, answer.contains("permessage-deflate")), (101, false));
    stream.write_all(&masked(FINAL_BINARY, MASK, CONNECT)).expect("sent");
    expect(&mut stream, &[&[0x82, 4], CONNACK].concat());
    // DEFLATE (RFC 1951): a mebibyte of zeros.
    let head = [0xec, 0xc1, 0x31, 0x01, 0, 0, 0, 0xc2, 0xa0, 0xf5, 0x4f, 0x6d, 0x08, 0x5f, 0xa0];
    let bomb = [&head[..], &[0; 1016], &[0x3e, 0x03, 0, 0, 0xff, 0xff]].concat();
    stream.write_all(&masked(FINAL_BINARY | COMPRESSED, MASK, &bomb)).expect("sent");
    assert_eq!(rest(stream), [0x88, 2, 3, 0xea], "1002");
    broker.client(V5).connect().expect_nothing();
}

/// Requests without an end, frames and packets that announce more than any memory holds, two hundred of each at once: the first are refused and
/// counted, the others wait for what they announced, and neither costs more than a socket does. Who stands beside them is served all the time.
#[test]
fn bombs_cost_no_memory() {
    const EACH: usize = 200;
    let port = mqttd_tests::redis::free_port();
    let node = Node::alone(&[("MQTTD_LISTENER", &format!(r#"[{{ url = "ws://127.0.0.1:{port}" }}]"#))]);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut bystander = node.client(V5).connect();
    let before = node.resident_bytes();
    let upgrade = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    let headers =
        [format!("GET /mqtt HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)), format!("GET /mqtt HTTP/1.1\r\n{}", "X: y\r\n".repeat(5000))];
    let mut held = Vec::new();
    for number in 0..EACH {
        for header in &headers {
            let mut stream = TcpStream::connect(address).expect("it listens");
            // It may be closed before all of it was sent.
            let _ = stream.write_all(header.as_bytes());
            held.push(stream);
        }
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.write_all(upgrade.as_bytes()).expect("it takes the request");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        // A frame of 2^63 - 1 bytes; in it CONNECT, then the beginning of a PUBLISH of as much as this Server takes.
        stream
            .write_all(&[&[0x82, 0xff, 0x7f][..], &[0xff; 7], &[0; 4], CONNECT, &[0x30, 0xf0, 0xff, 0x3f, 0, 1, b't']].concat())
            .expect("sent");
        expect(&mut stream, &[&[0x82, 4], CONNACK].concat());
        held.push(stream);
        if number % 20 == 0 {
            bystander.expect_nothing();
        }
    }
    until("the requests are counted", || node.metric("websockets_failed_total") == 2 * EACH);
    bystander.expect_nothing();
    let each = node.resident_bytes().saturating_sub(before) / held.len();
    assert!(each < BOMB_BYTES_MAX, "{each} bytes for each");
}

/// PINGs without end, and nobody who reads the answers.
#[test]
fn a_flood_of_pings_is_answered_as_far_as_it_is_read() {
    let broker = start();
    let mut stream = open(&broker);
    stream.write_all(&masked(FINAL_BINARY, MASK, CONNECT)).expect("sent");
    expect(&mut stream, &[&[0x82, 4], CONNACK].concat());
    let pings = masked(PING, MASK, &[7; 125]).repeat(1000);
    for _ in 0..100 {
        stream.write_all(&pings).expect("the broker reads on");
    }
    open(&broker);
}
