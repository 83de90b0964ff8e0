//! Properties that are wrong: unknown, not allowed in the packet, twice, with a value they must not have (5.0 section 2.2.2).

use mqttd_tests::*;

const MALFORMED: Reason = Reason::MALFORMED_PACKET;
const PROTOCOL: Reason = Reason::PROTOCOL_ERROR;

/// Properties with their length in front.
fn with_length(properties: &str) -> String {
    format!("{:02x} {properties}", hex::bytes(properties).len())
}

#[track_caller]
fn connect_refused(properties: &str, reason: Reason) {
    let mut client = open(V5);
    client.send_bytes(&hex::packet(0x10, &format!("0004 'MQTT' 05 02 0000 {} 0000", with_length(properties))));
    client.expect_refused(reason);
}

#[track_caller]
fn refused(first: u8, before: &str, properties: &str, after: &str, reason: Reason) {
    let mut client = client(V5).connect();
    client.send_bytes(&hex::packet(first, &format!("{before} {} {after}", with_length(properties))));
    client.expect_disconnect(reason);
}

/// Sections 3.1.2.11.2 to 3.1.2.11.10
#[test]
fn connect_properties_stand_once() {
    for property in ["11 00000001", "21 0001", "27 00000064", "22 0001", "19 01", "17 01", "15 0001 'm'", "15 0001 'm' 16 0001 00"] {
        connect_refused(&format!("{property} {property}"), PROTOCOL);
    }
}

/// Sections 3.1.2.11.3 to 3.1.2.11.7: values that a property must not have.
#[test]
fn connect_properties_have_legal_values() {
    for property in ["21 0000", "27 00000000", "19 02", "19 ff", "17 02"] {
        connect_refused(property, PROTOCOL);
    }
    connect_refused("16 0001 00", PROTOCOL);
}

/// Section 2.2.2.2
#[test]
fn connect_has_only_its_own_properties() {
    for property in [
        "01 00",
        "02 00000001",
        "03 0001 'c'",
        "08 0001 'r'",
        "09 0001 00",
        "0b 01",
        "12 0001 'a'",
        "13 0001",
        "18 00000001",
        "1a 0001 'r'",
        "1c 0001 's'",
        "1f 0001 'r'",
        "23 0001",
        "24 01",
        "25 01",
        "28 01",
        "29 01",
        "2a 01",
    ] {
        connect_refused(property, MALFORMED);
    }
}

/// Section 2.2.2.2
#[test]
fn unknown_properties_are_malformed() {
    for property in ["00", "04 00", "7f 00", "8001"] {
        connect_refused(property, MALFORMED);
        refused(0x30, "0001 'a'", property, "", MALFORMED);
        refused(0x82, "0001", property, "0001 'a' 00", MALFORMED);
        refused(0xA2, "0001", property, "0001 'a'", MALFORMED);
        refused(0x40, "0001 00", property, "", MALFORMED);
        refused(0xE0, "00", property, "", MALFORMED);
    }
}

/// Sections 3.3.2.3.2 to 3.3.2.3.9
#[test]
fn publish_properties_stand_once() {
    for property in ["01 00", "02 00000001", "03 0001 'c'", "08 0001 'r'", "09 0001 00", "23 0001"] {
        refused(0x30, "0001 'a'", &format!("{property} {property}"), "", PROTOCOL);
    }
}

/// Section 3.3.2.3
#[test]
fn publish_has_only_its_own_properties() {
    for property in [
        "11 00000001",
        "12 0001 'a'",
        "13 0001",
        "15 0001 'm'",
        "16 0001 00",
        "17 01",
        "18 00000001",
        "19 01",
        "1a 0001 'r'",
        "1c 0001 's'",
        "1f 0001 'r'",
        "21 0001",
        "22 0001",
        "24 01",
        "25 01",
        "27 00000001",
        "28 01",
        "29 01",
        "2a 01",
    ] {
        refused(0x30, "0001 'a'", property, "", MALFORMED);
    }
}

/// Section 3.3.2.3.2: a flag is 0 or 1.
#[test]
fn the_payload_format_indicator_is_zero_or_one() {
    for value in ["02", "80", "ff"] {
        refused(0x30, "0001 'a'", &format!("01 {value}"), "", PROTOCOL);
    }
}

/// Section 3.1.3.2: the properties of a Will.
#[test]
fn will_properties_are_checked() {
    let will = |properties: &str, reason| {
        let mut client = open(V5);
        client.send_bytes(&hex::packet(0x10, &format!("0004 'MQTT' 05 06 0000 00 0000 {} 0001 't' 0001 'w'", with_length(properties))));
        client.expect_refused(reason);
    };
    for property in ["18 00000001", "01 01", "02 00000001", "03 0001 'c'", "08 0001 'r'", "09 0001 00"] {
        will(&format!("{property} {property}"), PROTOCOL);
    }
    will("01 02", PROTOCOL);
    for property in ["11 00000001", "23 0001", "0b 01", "1f 0001 'r'"] {
        will(property, MALFORMED);
    }
}

/// Sections 3.8.2.1 and 3.10.2.1
#[test]
fn subscribe_and_unsubscribe_have_only_their_own_properties() {
    refused(0x82, "0001", "0b 01 0b 02", "0001 'a' 00", PROTOCOL);
    for property in ["01 00", "02 00000001", "11 00000001", "1f 0001 'r'", "23 0001"] {
        refused(0x82, "0001", property, "0001 'a' 00", MALFORMED);
        refused(0xA2, "0001", property, "0001 'a'", MALFORMED);
    }
    refused(0xA2, "0001", "0b 01", "0001 'a'", MALFORMED);
}

/// Sections 3.4.2.2, 3.5.2.2, 3.6.2.2, 3.7.2.2
#[test]
fn acknowledgements_have_only_their_own_properties() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        refused(first, "0001 00", "1f 0001 'a' 1f 0001 'b'", "", PROTOCOL);
        refused(first, "0001 00", "11 00000001", "", MALFORMED);
    }
}

/// Section 3.14.2.2
#[test]
fn disconnect_has_only_its_own_properties() {
    refused(0xE0, "00", "11 00000000 11 00000000", "", PROTOCOL);
    refused(0xE0, "00", "1f 0001 'a' 1f 0001 'b'", "", PROTOCOL);
    refused(0xE0, "00", "01 00", "", MALFORMED);
}

/// `[MQTT-1.5.4-1]` `[MQTT-1.5.4-2]` `[MQTT-1.5.7-1]` `[MQTT-3.3.2-13]` `[MQTT-3.3.2-19]` Strings inside properties are strings.
#[test]
fn strings_in_properties_are_utf8() {
    for bad in ["0002 c328", "0001 00", "0003 eda080"] {
        for property in [format!("03 {bad}"), format!("08 {bad}"), format!("26 {bad} 0001 'v'"), format!("26 0001 'n' {bad}")] {
            refused(0x30, "0001 'a'", &property, "", MALFORMED);
        }
        connect_refused(&format!("15 {bad}"), MALFORMED);
        connect_refused(&format!("26 0001 'n' {bad}"), MALFORMED);
    }
}

/// `[MQTT-2.2.2-1]` `[MQTT-1.5.5-1]` A Property Length that does not fit, or that cuts a property.
#[test]
fn property_lengths_must_fit() {
    for content in [
        "0001 'a'",                // there must be one
        "0001 'a' 05 01 00",       // it goes beyond the packet
        "0001 'a' 01 01",          // it cuts the value off
        "0001 'a' 03 03 0005",     // a string goes beyond it
        "0001 'a' ff ff ff ff 7f", // five bytes
        "0001 'a' 04 26 0001 'n'", // a pair without its value
    ] {
        let mut client = client(V5).connect();
        client.send_bytes(&hex::packet(0x30, content));
        client.expect_disconnect(MALFORMED);
    }
}

/// Section 2.2.2: User Properties may repeat everywhere.
#[test]
fn user_properties_may_repeat_everywhere() {
    let twice = with_length("26 0001 'n' 0001 'v' 26 0001 'n' 0001 'v'");
    let topic = unique("t");
    let mut client = open(V5);
    client.send_bytes(&hex::packet(0x10, &format!("0004 'MQTT' 05 02 0000 {twice} 0000")));
    assert_eq!(client.expect_connack().reason, Reason::SUCCESS);
    client.send_bytes(&hex::packet(0x82, &format!("0001 {twice} {:04x} '{topic}' 02", topic.len())));
    client.expect_suback(1, &[Reason::GRANTED_QOS_2]);
    client.publish(message(&topic, "x").qos(2));
    let id = client.expect_publish(message(&topic, "x").qos(2));
    client.send_bytes(&hex::packet(0x50, &format!("{id:04x} 00 {twice}")));
    client.expect_pubrel(id);
    client.send_bytes(&hex::packet(0x70, &format!("{id:04x} 00 {twice}")));
    client.send_bytes(&hex::packet(0xA2, &format!("0001 {twice} {:04x} '{topic}'", topic.len())));
    client.expect_unsuback(1, &[Reason::SUCCESS]);
    client.expect_nothing();
    client.send_bytes(&hex::packet(0xE0, &format!("00 {twice}")));
    client.expect_closed();
}

/// Section 3.4.2.1: a Reason Code with and without a Property Length behind it.
#[test]
fn acknowledgements_may_be_written_short_or_long() {
    for tail in ["", "00", "00 00"] {
        let topic = unique("t");
        let mut client = client(V5).connect();
        client.subscribe(&topic, 1);
        client.publish(message(&topic, "x").qos(1));
        let id = client.expect_publish(message(&topic, "x").qos(1));
        client.send_bytes(&hex::packet(0x40, &format!("{id:04x} {tail}")));
        client.expect_nothing();
    }
}
