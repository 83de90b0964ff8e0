//! Faults on purpose, for those who test clients: each does what its name says, and is off again when the file says so.

use std::io::{Read, Write};

use mqttd_tests::bridge::Wire;
use mqttd_tests::*;

/// A broker whose faults are in a file, and the file.
fn faulty(text: &str) -> (Broker, std::path::PathBuf) {
    let path = std::env::temp_dir().join(format!("{}.config", unique("faults")));
    std::fs::write(&path, text).unwrap();
    let file = path.to_str().unwrap().to_owned();
    (Broker::with(|config| config.faults.file = Some(file)), path)
}

#[test]
fn a_file_is_read_again_for_every_connection() {
    let (broker, file) = faulty("error-CONNACK 3\nTestnum 1\n");
    broker.client(V5).refused(Reason::SERVER_UNAVAILABLE);
    broker.client(V3_1_1).refused(Reason::SERVER_UNAVAILABLE);
    std::fs::write(&file, "# nothing any more\n").unwrap();
    broker.client(V5).connect().expect_nothing();
    std::fs::write(&file, "nonsense\n").unwrap();
    broker.client(V5).connect().expect_nothing();
}

/// The number as it is, also one that no version knows.
#[test]
fn error_connack() {
    let (broker, _) = faulty("error-CONNACK 99\n");
    for (version, expected) in [(V3_1_1, &[0x20, 2, 0, 99][..]), (V3_1, &[0x20, 2, 0, 99])] {
        let mut client = broker.client(version).send();
        assert_eq!(client.next_bytes(), expected);
        client.expect_closed();
    }
    broker.client(V5).refused(Reason::UNSPECIFIED_ERROR.max(Reason(99)));
}

#[test]
fn version() {
    let (broker, _) = faulty("version 4\n");
    broker.client(V3_1_1).connect().expect_nothing();
    broker.client(V5).refused(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    broker.client(V3_1).refused(Reason::UNSUPPORTED_PROTOCOL_VERSION);
}

#[test]
fn publish_before_suback() {
    let (broker, _) = faulty("PUBLISH-before-SUBACK\n");
    let mut client = broker.client(V5).connect();
    client.publish(message("a", "kept").retain());
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a", 0)]))));
    client.expect_publish(message("a", "kept").retain());
    client.expect_suback(1, &[Reason(0)]);
    // Without one it comes all the same.
    client.send(Packet::Subscribe(Box::new(subscribe(2, &[("nothing", 0)]))));
    client.expect_suback(2, &[Reason(0)]);
}

/// A socket of a client that is connected and subscribes to `a`: what comes next is for a reader that believes no length.
fn raw(text: &str) -> (Broker, Wire) {
    let (broker, _) = faulty(text);
    let socket = subscribed(&broker);
    (broker, socket)
}

fn subscribed(broker: &Broker) -> Wire {
    let mut socket = Wire::connect(broker.address()).unwrap();
    socket.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'x']).unwrap();
    socket.write_all(&[0x82, 6, 0, 1, 0, 1, b'a', 0]).unwrap();
    socket.read_exact(&mut [0; 4 + 5]).unwrap();
    socket
}

#[test]
fn short_publish() {
    let (_broker, mut socket) = raw("short-PUBLISH\n");
    socket.write_all(&[0x30, 8, 0, 1, b'a', b'1', b'2', b'3', b'4', b'5']).unwrap();
    let mut bytes = [0; 8];
    socket.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0x30, 8, 0, 1, b'a', b'1', b'2', b'3']);
    // The length counts what is not there, so the next packet is taken for it.
    socket.write_all(&[0xC0, 0]).unwrap();
    let mut bytes = [0; 2];
    socket.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0xD0, 0]);
}

#[test]
fn excessive_remaining() {
    let (_broker, mut socket) = raw("excessive-remaining\n");
    socket.write_all(&[0x30, 4, 0, 1, b'a', b'!']).unwrap();
    let mut bytes = [0; 10];
    socket.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0x30, 0x84, 0x80, 0x80, 0x80, 0, 0, 1, b'a', b'!']);
}

/// Every switch has a key of its own too; the file is one more, and both are done.
#[test]
fn the_section_has_a_key_for_each() {
    let with = |change: fn(&mut mqttd::config::keys::Faults)| Broker::with(|config| change(&mut config.faults));
    with(|faults| faults.error_connack = Some(3)).client(V5).refused(Reason::SERVER_UNAVAILABLE);
    with(|faults| faults.version = Some(4)).client(V5).refused(Reason::UNSUPPORTED_PROTOCOL_VERSION);
    with(|faults| faults.testnum = Some(9)).client(V5).connect().expect_nothing();
    let broker = with(|faults| faults.publish_before_suback = true);
    let mut client = broker.client(V5).connect();
    client.publish(message("a", "kept").retain());
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a", 0)]))));
    client.expect_publish(message("a", "kept").retain());
    client.expect_suback(1, &[Reason(0)]);
    for (change, expected) in [
        ((|faults| faults.short_publish = true) as fn(&mut mqttd::config::keys::Faults), &[0x30, 8, 0, 1, b'a', b'1', b'2', b'3'][..]),
        (|faults| faults.excessive_remaining = true, &[0x30, 0x88, 0x80, 0x80, 0x80, 0, 0, 1, b'a', b'1', b'2', b'3', b'4', b'5']),
    ] {
        let broker = with(change);
        let mut socket = subscribed(&broker);
        socket.write_all(&[0x30, 8, 0, 1, b'a', b'1', b'2', b'3', b'4', b'5']).unwrap();
        let mut bytes = vec![0; expected.len()];
        socket.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected);
    }
}

#[test]
fn a_file_that_is_wrong_is_said_at_the_start() {
    let path = std::env::temp_dir().join(unique("faults"));
    std::fs::write(&path, "version\n").unwrap();
    let builder = mqttd::Node::builder().listen("tcp://127.0.0.1:0").set("admin", "off").set("faults.file", path.to_str().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(builder.bind()).err().unwrap().to_string();
    assert!(error.contains("line 1: version takes a number"), "{error}");
}
