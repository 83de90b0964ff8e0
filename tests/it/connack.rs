//! CONNACK (5.0 section 3.2): Session Present, capabilities, and what a refusal looks like.

use mqttd_tests::*;

/// `[MQTT-3.2.2-2]` `[MQTT-3.2.2-3]` `[v3:MQTT-3.2.2-1]` `[v3:MQTT-3.2.2-2]` `[v3:MQTT-3.2.2-3]` `[MQTT-3.1.2-4]` `[v3:MQTT-3.1.2-6]`
/// `[MQTT-3.1.2-5]` `[MQTT-3.1.2-6]` `[v3:MQTT-3.1.2-4]`
#[test]
fn session_present_says_whether_there_is_state() {
    for version in VERSIONS {
        let id = unique("c");
        let connect = |durable: bool| {
            let connecting = client(version).id(&id);
            let client = if durable { connecting.durable() } else { connecting }.connect();
            let present = client.session_present();
            client.disconnect();
            present
        };
        assert!(!connect(true), "nothing is kept yet");
        assert_eq!(connect(true), version != V3_1, "the first connection has left its Session; 3.1 cannot say so");
        assert!(!connect(false), "Clean Start says there is none");
        assert!(!connect(true), "and has deleted it");
    }
}

/// `[MQTT-3.2.2-1]` `[MQTT-2.2.2-1]` as bytes: flags are 0 or 1, and a Property Length is there in 5.0 only.
#[test]
fn the_layout_is_that_of_the_version() {
    let mut old = client(V3_1_1).send();
    assert_eq!(old.next_bytes(), hex::bytes("20 02 00 00"));
    let mut new = client(V5).send();
    let bytes = new.next_bytes();
    assert_eq!(bytes[..1], [0x20]);
    assert_eq!(bytes[2..4], [0, 0]);
    assert_eq!(usize::from(bytes[4]), bytes.len() - 5, "the Property Length covers the rest");
}

/// `[MQTT-3.2.2-9]` `[MQTT-3.2.2-10]` Of the capabilities only what differs from the default is announced, and only with legal values.
#[test]
fn capabilities_have_legal_values() {
    let connack = client(V5).connect().connack.expect("connected");
    let properties = connack.properties;
    assert_eq!(properties.maximum_qos, None, "absent means 2, and 2 must not be sent");
    assert_ne!(properties.receive_maximum, Some(0));
    assert_ne!(properties.maximum_packet_size, Some(0));
    assert_ne!(properties.retain_available, Some(false));
    assert_ne!(properties.wildcard_subscription_available, Some(false));
    assert_ne!(properties.subscription_ids_available, Some(false));
    assert_ne!(properties.shared_subscription_available, Some(false));
    assert_eq!(properties.assigned_client_id, None, "the client named itself");
    assert_eq!(properties.server_keep_alive_s, None);
}

/// `[MQTT-3.1.2-28]` Response Information is sent only when asked for.
#[test]
fn response_information_waits_for_the_question() {
    for asked in [None, Some(false)] {
        let client = client(V5).with(|connect| connect.properties.request_response_information = asked).connect();
        assert_eq!(client.connack.expect("connected").properties.response_information, None);
    }
    let client = client(V5).with(|connect| connect.properties.request_response_information = Some(true)).connect();
    assert_eq!(client.connack.expect("connected").reason, Reason::SUCCESS);
}

/// `[MQTT-3.2.2-6]` `[MQTT-3.2.2-7]` `[MQTT-3.2.2-8]` `[MQTT-4.13.2-1]` An error has a code of the table, no Session Present, and the end.
#[test]
fn an_error_ends_the_connection() {
    let id = unique("c");
    client(V5).id(&id).durable().connect().disconnect();
    let connack = client(V5)
        .id(&id)
        .resume()
        .with(|connect| connect.properties.authentication_data = Some(b"x".to_vec().into()))
        .send()
        .expect_connack();
    assert_eq!(connack.reason, Reason::PROTOCOL_ERROR, "Authentication Data without Authentication Method");
    assert!(!connack.session_present);
}

/// `[MQTT-3.2.0-2]`
#[test]
fn there_is_one_connack() {
    for version in VERSIONS {
        client(version).connect().expect_nothing();
    }
}

/// `[MQTT-3.2.2-19]` `[MQTT-3.2.2-20]` `[MQTT-3.1.2-24]` A refusal keeps to the Maximum Packet Size of the CONNECT it refuses.
#[test]
fn a_refusal_keeps_to_the_clients_maximum_packet_size() {
    let connecting = client(V5).maximum_packet_size(8).authenticate("unknown-method", b"");
    let mut client = connecting.send();
    let bytes = client.next_bytes();
    assert!(bytes.len() <= 8 && bytes[3] >= 0x80, "{}", hex::show(&bytes));
    client.expect_closed();
}

/// Reason String and User Property of a refusal, if there are any, are well-formed; a client that wants no problem information
/// may still get them in a CONNACK. `[MQTT-3.1.2-29]`
#[test]
fn no_problem_information_beyond_connack_and_disconnect() {
    let quiet = |connecting: mqttd_tests::connecting::Connecting| {
        connecting.with(|connect| connect.properties.request_problem_information = Some(false))
    };
    let mut client = quiet(client(V5)).connect();
    client.send(subscribe_bad(7));
    let suback = client.expect_suback(7, &[Reason::TOPIC_FILTER_INVALID]);
    assert!(suback.properties.is_none_or(|properties| properties.reason_string.is_none() && properties.user_properties.is_empty()));
    client.send(unsubscribe(8, &["never/subscribed"]));
    let unsuback = client.expect_unsuback(8, &[Reason::NO_SUBSCRIPTION_EXISTED]);
    assert!(unsuback.properties.is_none_or(|properties| properties.reason_string.is_none() && properties.user_properties.is_empty()));
    client.send(pubrel(9));
    let pubcomp = client.expect_ack(Kind::Pubcomp, 9, Reason::PACKET_IDENTIFIER_NOT_FOUND);
    assert!(pubcomp.properties.is_none_or(|properties| properties.reason_string.is_none() && properties.user_properties.is_empty()));
}

fn subscribe_bad(id: u16) -> Packet {
    Packet::Subscribe(Box::new(subscribe(id, &[("a/#/b", 0)])))
}
