//! A broker that offers less, says so in CONNACK, and holds its clients to it (5.0 section 3.2.2.3).

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mqttd_tests::client::Came;
use mqttd_tests::*;

static POOR: LazyLock<Broker> = LazyLock::new(|| {
    Broker::with(|config| {
        config.protocol.maximum_qos = 1;
        config.protocol.retain_available = false;
        config.protocol.wildcard_available = false;
        config.protocol.shared_available = false;
        config.protocol.subscription_ids_available = false;
        config.protocol.topic_alias_maximum = 0;
        config.limits.client_id_bytes_max = 30;
        config.limits.topic_levels_max = 4;
    })
});

/// `[MQTT-3.2.2-9]`
#[test]
fn what_is_missing_is_announced() {
    let properties = POOR.client(V5).connect().connack.expect("connected").properties;
    assert_eq!(properties.maximum_qos, Some(QoS::AtLeastOnce));
    assert_eq!(properties.retain_available, Some(false));
    assert_eq!(properties.wildcard_subscription_available, Some(false));
    assert_eq!(properties.shared_subscription_available, Some(false));
    assert_eq!(properties.subscription_ids_available, Some(false));
    assert_eq!(properties.topic_alias_maximum.unwrap_or(0), 0);
}

/// `[MQTT-3.2.2-10]` `[MQTT-3.2.2-11]` A SUBSCRIBE may ask for more and is granted what there is; a PUBLISH must not.
#[test]
fn the_maximum_qos() {
    for version in VERSIONS {
        let topic = unique("t");
        let (mut publisher, mut subscriber) = POOR.pair(version);
        subscriber.subscribe_as(subscribe(1, &[(&topic, 2)]), &[Reason::GRANTED_QOS_1]);
        publisher.publish(message(&topic, "x").qos(1));
        subscriber.receive(message(&topic, "x").qos(1));
        publisher.send(message(&topic, "x").qos(2).id(1));
        publisher.expect_disconnect(Reason::QOS_NOT_SUPPORTED);
    }
}

/// `[MQTT-3.2.2-12]`
#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    POOR.client(V5).will(message("t", "x").qos(2)).refused(Reason::QOS_NOT_SUPPORTED);
    POOR.client(V5).will(message("t", "x").qos(1)).connect().disconnect();
    POOR.client(V3_1_1).will(message("t", "x").qos(2)).send().expect_closed_after_any_connack();
}

/// `[MQTT-3.2.2-14]` (section 3.2.2.3.5)
#[test]
fn retained_messages_are_refused() {
    let mut publisher = POOR.client(V5).connect();
    publisher.send(message("t", "x").retain());
    publisher.expect_disconnect(Reason::RETAIN_NOT_SUPPORTED);
}

/// `[MQTT-3.2.2-13]`
#[test]
fn a_retained_will_is_refused() {
    POOR.client(V5).will(message("t", "x").retain()).refused(Reason::RETAIN_NOT_SUPPORTED);
    POOR.client(V3_1_1).will(message("t", "x").retain()).send().expect_closed_after_any_connack();
}

/// `[MQTT-3.2.2-18]` (section 3.2.2.3.8)
#[test]
fn topic_aliases_are_refused() {
    let mut publisher = POOR.client(V5).connect();
    publisher.send(message("t", "x").alias(1));
    publisher.expect_disconnect(Reason::TOPIC_ALIAS_INVALID);
}

/// Sections 3.2.2.3.11 to 3.2.2.3.13: the code stands in SUBACK, or ends the connection. `[v3:MQTT-3.8.3-2]`
#[test]
fn subscriptions_of_a_kind_that_is_missing_are_refused() {
    for (request, reason) in [
        (subscribe(1, &[("a/+", 0)]), Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
        (subscribe(1, &[("#", 0)]), Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
        (subscribe(1, &[("$share/g/a", 0)]), Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
        (subscribe_with_id(1, 1, "a", 0), Reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED),
    ] {
        let mut client = POOR.client(V5).connect();
        client.send(Packet::Subscribe(Box::new(request)));
        match client.next_event() {
            Came::Packet(Packet::Suback(suback)) if suback.reasons == [reason] => client.expect_nothing(),
            Came::Packet(Packet::Disconnect(end)) if end.reason == reason => client.expect_closed(),
            other => client.fail(&format!("SUBACK or DISCONNECT with {reason:?}"), &other),
        }
    }
    let mut older = POOR.client(V3_1_1).connect();
    older.send(Packet::Subscribe(Box::new(subscribe(1, &[("a/+", 0)]))));
    older.expect_suback(1, &[Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED]);
}

/// `[MQTT-3.1.3-8]` `[v3:MQTT-3.1.3-9]`
#[test]
fn a_client_identifier_that_is_too_long_is_refused() {
    for version in [V3_1_1, V5] {
        POOR.client(version).id(&"x".repeat(31)).refused(Reason::CLIENT_IDENTIFIER_NOT_VALID);
        POOR.client(version).id(&"x".repeat(30)).connect().disconnect();
    }
}

/// A named limit: levels of a Topic Name and of a Topic Filter.
#[test]
fn topics_of_too_many_levels_are_refused() {
    let mut client = POOR.client(V5).connect();
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("1/2/3/4/5", 0), ("1/2/3/4", 0)]))));
    let suback = client.wait_for("SUBACK", |packet| matches!(packet, Packet::Suback(_)));
    let Packet::Suback(suback) = suback else { unreachable!() };
    assert!(suback.reasons[0].is_error() && suback.reasons[1] == Reason::SUCCESS, "{suback:?}");
    client.publish(message("1/2/3/4", "x").qos(1));
    client.expect_publish(message("1/2/3/4", "x"));
    client.send(message("1/2/3/4/5", "x").qos(1).id(9));
    match client.next_event() {
        Came::Packet(Packet::Acknowledge(ack)) if ack.reason.is_error() => {}
        Came::Packet(Packet::Disconnect(end)) if end.reason.is_error() => client.expect_closed(),
        other => client.fail("a refusal", &other),
    }
}

/// `[MQTT-3.1.2-21]` `[MQTT-3.2.2-21]` (section 3.2.2.3.14) The Server's Keep Alive is announced, and it holds.
#[test]
fn the_servers_keep_alive() {
    let broker = Broker::with(|config| config.protocol.server_keep_alive_s = Some(1));
    let before = Instant::now();
    let mut client = broker.client(V5).keep_alive(100).connect();
    assert_eq!(client.connack.as_ref().and_then(|connack| connack.properties.server_keep_alive_s), Some(1));
    client.expect_disconnect(Reason::KEEP_ALIVE_TIMEOUT);
    assert!(before.elapsed() >= Duration::from_millis(1400));
}

/// Section 3.2.2.3.2: a Session Expiry Interval above the Server's is answered with the Server's.
#[test]
fn the_servers_session_expiry() {
    let broker = Broker::with(|config| config.session.expiry_max_s = 5);
    let granted = |asked: u32| broker.client(V5).expiry(asked).connect().connack.expect("connected").properties.session_expiry_s;
    assert_eq!(granted(100), Some(5));
    assert!([None, Some(3)].contains(&granted(3)), "absent means as asked");
}

/// `[MQTT-3.1.2-28]` Response Information, for who asks.
#[test]
fn response_information_as_configured() {
    let broker = Broker::with(|config| config.protocol.response_information = Some("answers/".into()));
    let told = |asked| {
        let connecting = broker.client(V5).with(|connect| connect.properties.request_response_information = asked);
        connecting.connect().connack.expect("connected").properties.response_information
    };
    assert_eq!(told(Some(true)).as_deref(), Some("answers/"));
    assert_eq!((told(Some(false)), told(None)), (None, None));
}

/// A bound with a name: connections. 5.0 is told Server busy, 3.1.1 Server unavailable.
#[test]
fn connections_have_a_bound() {
    let broker = Broker::with(|config| config.limits.connections_max = 2);
    let (first, mut second) = broker.pair(V5);
    let mut refused = broker.client(V5).send();
    refused.expect_refused(Reason::SERVER_BUSY);
    broker.client(V3_1_1).send().expect_closed_after_any_connack();
    second.expect_nothing();
    first.disconnect();
    let mut third = broker.client(V5).send();
    while third.expect_connack().reason == Reason::SERVER_BUSY {
        third = broker.client(V5).send();
    }
    third.expect_nothing();
}
