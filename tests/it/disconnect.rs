//! DISCONNECT (5.0 section 3.14).

use mqttd_tests::*;

/// `[MQTT-3.14.4-2]` `[v3:MQTT-3.14.4-1]` `[v3:MQTT-3.14.4-2]` The broker closes when the client does not.
#[test]
fn disconnect_ends_the_connection() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send_hex("e0 00");
        client.expect_closed();
    }
}

/// `[MQTT-3.14.4-1]` What follows a DISCONNECT is not handled.
#[test]
fn nothing_is_handled_after_disconnect() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut watcher) = pair(version);
        watcher.subscribe(&topic, 0);
        let mut late = bytes::BytesMut::from(&hex::bytes("e0 00")[..]);
        Packet::from(message(&topic, "late")).encode(version, &mut late);
        let mut leaving = client(version).connect();
        leaving.send_bytes(&late);
        leaving.expect_closed();
        watcher.expect_nothing_from(&mut publisher);
    }
}

/// `[MQTT-3.14.4-3]` `[v3:MQTT-3.14.4-3]` `[MQTT-3.1.2-10]` `[v3:MQTT-3.1.2-10]` `[MQTT-3.1.2-8]`
#[test]
fn a_normal_disconnect_deletes_the_will() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut watcher) = pair(version);
        watcher.subscribe(&topic, 0);
        client(version).will(message(&topic, "gone")).connect().disconnect();
        watcher.expect_nothing_from(&mut publisher);
    }
}

/// Section 3.14.2.1: the Reason Code 0 may be written out, with and without properties.
#[test]
fn three_ways_to_write_a_normal_disconnect() {
    for bytes in ["e0 00", "e0 01 00", "e0 02 00 00"] {
        let topic = unique("t");
        let (mut publisher, mut watcher) = pair(V5);
        watcher.subscribe(&topic, 0);
        let mut leaving = client(V5).will(message(&topic, "gone")).connect();
        leaving.send_hex(bytes);
        leaving.expect_closed();
        watcher.expect_nothing_from(&mut publisher);
    }
}

/// `[MQTT-3.1.2-8]` Disconnect with Will Message, and any error of the client.
#[test]
fn a_disconnect_with_an_error_publishes_the_will() {
    for reason in ["04", "80", "81", "82", "83", "90", "93", "94", "95", "97", "98", "99"] {
        let topic = unique("t");
        let mut watcher = client(V5).connect();
        watcher.subscribe(&topic, 0);
        let mut leaving = client(V5).will(message(&topic, "gone")).connect();
        leaving.send_hex(&format!("e0 01 {reason}"));
        leaving.expect_closed();
        watcher.expect_publish(message(&topic, "gone"));
    }
}

/// `[MQTT-3.14.1-1]` `[v3:MQTT-3.14.1-1]`
#[test]
fn reserved_bits_must_be_zero() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send_hex("e1 00");
        client.expect_disconnect(Reason::MALFORMED_PACKET);
    }
}

/// `[MQTT-3.14.2-1]` A Reason Code that no DISCONNECT has is a Protocol Error or malformed.
#[test]
fn only_reason_codes_of_disconnect_are_accepted() {
    for reason in ["01", "02", "10", "18", "19", "84", "85", "86", "88", "8a", "91", "92", "ff"] {
        let mut client = client(V5).connect();
        client.send_hex(&format!("e0 01 {reason}"));
        client.expect_disconnect_of(&[Reason::PROTOCOL_ERROR, Reason::MALFORMED_PACKET]);
    }
}

/// Section 3.14.2.2.2: a DISCONNECT may change how long the Session is kept, to nothing too.
#[test]
fn disconnect_may_end_the_session() {
    let id = unique("c");
    let mut first = client(V5).id(&id).durable().connect();
    first.send_hex("e0 07 00 05 11 00000000");
    first.expect_closed();
    assert!(!client(V5).id(&id).durable().connect().session_present());
}

/// Section 3.14.2.2.2
#[test]
fn disconnect_may_keep_the_session_longer() {
    let id = unique("c");
    let mut first = client(V5).id(&id).expiry(1).connect();
    first.send_hex("e0 07 00 05 11 00000e10");
    first.expect_closed();
    pass(Broker::shared(), 2);
    assert!(client(V5).id(&id).durable().connect().session_present());
}

/// Section 3.14.2.2.2: a Session that ends with the connection cannot be kept after all.
#[test]
fn disconnect_must_not_keep_what_connect_did_not() {
    let mut client = client(V5).connect();
    client.send_hex("e0 07 00 05 11 0000000a");
    client.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// `[MQTT-3.12.4-1]` `[v3:MQTT-3.12.4-1]` as often as asked.
#[test]
fn every_pingreq_has_a_pingresp() {
    for version in VERSIONS {
        let mut client = client(version).connect();
        client.send_bytes(&hex::bytes("c0 00").repeat(100));
        for _ in 0..100 {
            client.expect_pingresp();
        }
        client.expect_nothing();
    }
}
