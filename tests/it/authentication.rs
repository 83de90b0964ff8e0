//! Who may come in: user names and passwords, and enhanced authentication (5.0 section 4.12). What they may do: refusals.

use std::sync::LazyLock;

use mqttd::config::user::{Secret, User};
use mqttd::packet::auth::Auth;
use mqttd_tests::client::Came;
use mqttd_tests::connecting::Connecting;
use mqttd_tests::scram::{METHOD, Scram};
use mqttd_tests::*;

static GUARDED: LazyLock<Broker> = LazyLock::new(|| {
    Broker::with(|config| {
        config.auth.anonymous = Some(false);
        config.auth.failures_per_address_max = 0; // all tests guess from one
        config.auth.users.0 = vec![User { name: "ann".into(), password: Secret::new("pencil") }];
    })
});

static FENCED: LazyLock<Broker> = LazyLock::new(|| {
    Broker::with(|config| {
        config.access.deny_publish = vec!["forbidden/#".into()];
        config.access.deny_subscribe = vec!["secret/#".into()];
    })
});

/// `[MQTT-3.1.4-2]` `[MQTT-3.2.2-7]` `[v3:MQTT-3.2.2-5]`
#[test]
fn a_password_is_checked() {
    for version in VERSIONS {
        GUARDED.client(version).user("ann", "pencil").connect().expect_nothing();
        for (name, password) in [("ann", "wrong"), ("ann", ""), ("bob", "pencil"), ("", "pencil")] {
            GUARDED.client(version).user(name, password).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        }
        GUARDED.client(version).refused(Reason::NOT_AUTHORIZED);
    }
}

/// `[MQTT-3.1.4-2]` Who is refused disturbs nobody: the Session of the Client Identifier goes on, and no Will is published.
#[test]
fn a_refused_connection_changes_nothing() {
    for version in VERSIONS {
        let (topic, id) = (unique("t"), unique("c"));
        let mut first = GUARDED.client(version).id(&id).user("ann", "pencil").connect();
        first.subscribe(&topic, 0);
        let intruder = GUARDED.client(version).id(&id).user("ann", "guess").will(message(&topic, "no"));
        intruder.refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        first.expect_nothing();
    }
}

/// A Will is a publish, if a late one: `[MQTT-3.1.4-2]`.
#[test]
fn a_will_goes_nowhere_that_its_client_may_not_publish_to() {
    for version in VERSIONS {
        FENCED.client(version).will(message("forbidden/x", "no")).refused(Reason::NOT_AUTHORIZED);
        FENCED.client(version).will(message("allowed/x", "yes")).connect().expect_nothing();
    }
}

fn auth(reason: Reason, data: Vec<u8>) -> Packet {
    auth_with(METHOD, reason, data)
}

fn auth_with(method: &str, reason: Reason, data: Vec<u8>) -> Packet {
    let (method, data) = (Some(method.to_owned().into()), Some(data.into()));
    Packet::Auth(Box::new(Auth { reason, method, data, reason_string: None, user_properties: Vec::new() }))
}

/// The Authentication Data of an AUTH that goes on, with the method of the CONNECT.
#[track_caller]
fn expect_challenge(client: &mut Client) -> Vec<u8> {
    match client.next_event() {
        Came::Packet(Packet::Auth(auth)) if auth.reason == Reason::CONTINUE_AUTHENTICATION && auth.method.as_deref() == Some(METHOD) => {
            auth.data.expect("a challenge").to_vec()
        }
        other => client.fail("AUTH 0x18", &other),
    }
}

fn as_ann(connecting: Connecting) -> (Connecting, Scram) {
    let scram = Scram::new("ann", "pencil", &unique("nonce"));
    (connecting.authenticate(METHOD, &scram.client_first()), scram)
}

/// Connects with SCRAM from beginning to end.
#[track_caller]
fn connected() -> Client {
    let (connecting, mut scram) = as_ann(GUARDED.client(V5));
    let mut client = connecting.send();
    let challenge = expect_challenge(&mut client);
    client.send(auth(Reason::CONTINUE_AUTHENTICATION, scram.client_final(&challenge)));
    let connack = client.expect_connack();
    assert_eq!((connack.reason, connack.properties.authentication_method.as_deref()), (Reason::SUCCESS, Some(METHOD)));
    scram.check(&connack.properties.authentication_data.expect("the server's signature"));
    client
}

/// `[MQTT-4.12.0-2]` `[MQTT-4.12.0-3]` `[MQTT-4.12.0-5]` `[MQTT-3.2.0-1]` `[MQTT-3.15.2-1]`
#[test]
fn scram_lets_in() {
    let topic = unique("t");
    let mut client = connected();
    client.subscribe(&topic, 1);
    client.publish(message(&topic, "in").qos(1));
    client.receive(message(&topic, "in").qos(1));
    client.expect_nothing();
}

/// `[MQTT-4.12.0-4]`
#[test]
fn scram_keeps_out() {
    for (user, password) in [("ann", "wrong"), ("bob", "pencil")] {
        let mut scram = Scram::new(user, password, &unique("nonce"));
        let mut client = GUARDED.client(V5).authenticate(METHOD, &scram.client_first()).send();
        let challenge = expect_challenge(&mut client);
        client.send(auth(Reason::CONTINUE_AUTHENTICATION, scram.client_final(&challenge)));
        let connack = client.expect_connack();
        assert!([Reason::NOT_AUTHORIZED, Reason::BAD_USER_NAME_OR_PASSWORD].contains(&connack.reason), "{connack:?}");
        client.expect_closed();
    }
}

/// `[MQTT-4.12.0-4]` What is no SCRAM message at all is refused, too, at either step.
#[test]
fn scram_refuses_nonsense() {
    for nonsense in [&b""[..], b"\xFF", b"n,,", b"n,,n=ann", b"y,,n=ann,r=", b"p=tls-unique,,n=ann,r=x"] {
        let connack = GUARDED.client(V5).authenticate(METHOD, nonsense).send().expect_connack();
        assert!(connack.reason.is_error(), "{connack:?}");
        let mut client = as_ann(GUARDED.client(V5)).0.send();
        expect_challenge(&mut client);
        client.send(auth(Reason::CONTINUE_AUTHENTICATION, nonsense.to_vec()));
        assert!(client.expect_connack().reason.is_error());
        client.expect_closed();
    }
}

/// `[MQTT-4.12.0-1]`
#[test]
fn an_unknown_method_is_refused() {
    for method in ["", "PLAIN", "scram-sha-256", "SCRAM-SHA-1"] {
        GUARDED.client(V5).authenticate(method, b"data").refused(Reason::BAD_AUTHENTICATION_METHOD);
        client(V5).authenticate(method, b"data").refused(Reason::BAD_AUTHENTICATION_METHOD);
    }
}

/// `[MQTT-3.1.2-30]` Until CONNACK a client sends AUTH or DISCONNECT, and nothing else.
#[test]
fn nothing_else_during_authentication() {
    for bytes in ["c0 00", "30 04 0001 't' 00", "10 0e 0004 'MQTT' 05 02 0000 00 0001 'a'"] {
        let mut client = as_ann(GUARDED.client(V5)).0.send();
        expect_challenge(&mut client);
        client.send_hex(bytes);
        client.expect_closed_after_any_connack();
    }
    let mut client = as_ann(GUARDED.client(V5)).0.send();
    expect_challenge(&mut client);
    client.send_hex("e0 00");
    client.expect_closed();
}

/// `[MQTT-4.12.0-5]` One method from beginning to end.
#[test]
fn the_method_stays_the_same() {
    let (connecting, mut scram) = as_ann(GUARDED.client(V5));
    let mut client = connecting.send();
    let challenge = expect_challenge(&mut client);
    client.send(auth_with("PLAIN", Reason::CONTINUE_AUTHENTICATION, scram.client_final(&challenge)));
    assert!(client.expect_connack().reason.is_error());
    client.expect_closed();
}

/// `[MQTT-4.12.1-1]` Once more on the open connection; what goes on beside it is not disturbed.
#[test]
fn re_authentication() {
    let topic = unique("t");
    let mut client = connected();
    client.subscribe(&topic, 0);
    for _ in 0..2 {
        let mut scram = Scram::new("ann", "pencil", &unique("nonce"));
        client.send(auth(Reason::RE_AUTHENTICATE, scram.client_first()));
        let challenge = expect_challenge(&mut client);
        client.publish(message(&topic, "meanwhile"));
        client.expect_publish(message(&topic, "meanwhile"));
        client.send(auth(Reason::CONTINUE_AUTHENTICATION, scram.client_final(&challenge)));
        match client.next_event() {
            Came::Packet(Packet::Auth(end)) if end.reason == Reason::SUCCESS && end.method.as_deref() == Some(METHOD) => {
                scram.check(&end.data.expect("the server's signature"));
            }
            other => client.fail("AUTH 0x00", &other),
        }
        client.expect_nothing();
    }
}

/// `[MQTT-4.12.1-2]`
#[test]
fn re_authentication_that_fails_is_the_end() {
    let mut client = connected();
    let mut scram = Scram::new("ann", "wrong", &unique("nonce"));
    client.send(auth(Reason::RE_AUTHENTICATE, scram.client_first()));
    let challenge = expect_challenge(&mut client);
    client.send(auth(Reason::CONTINUE_AUTHENTICATION, scram.client_final(&challenge)));
    client.expect_disconnect(Reason::NOT_AUTHORIZED);
}

/// `[MQTT-4.12.1-1]` with the method of the CONNECT only.
#[test]
fn re_authentication_keeps_the_method() {
    let mut client = connected();
    client.send(auth_with("PLAIN", Reason::RE_AUTHENTICATE, b"x".to_vec()));
    client.expect_disconnect_of(&[Reason::PROTOCOL_ERROR, Reason::BAD_AUTHENTICATION_METHOD]);
}

/// `[MQTT-4.12.0-6]` `[MQTT-4.12.0-7]` Without a method in CONNECT there is no AUTH.
#[test]
fn no_auth_without_a_method() {
    let mut client = GUARDED.client(V5).user("ann", "pencil").connect();
    assert_eq!(client.connack.as_ref().and_then(|connack| connack.properties.authentication_method.as_ref()), None);
    client.send(auth(Reason::RE_AUTHENTICATE, Scram::new("ann", "pencil", "n").client_first()));
    client.expect_disconnect(Reason::PROTOCOL_ERROR);
}

/// `[MQTT-3.15.1-1]` `[MQTT-3.15.2-1]`
#[test]
fn a_malformed_auth_is_the_end() {
    for (bytes, reasons) in [
        ("f1 00", &[Reason::MALFORMED_PACKET][..]),
        ("f0 01 01", &[Reason::PROTOCOL_ERROR, Reason::MALFORMED_PACKET]),
        ("f0 02 18 05", &[Reason::MALFORMED_PACKET]),
        ("f0 02 18 00", &[Reason::PROTOCOL_ERROR]),
    ] {
        let mut client = connected();
        client.send_hex(bytes);
        client.expect_disconnect_of(reasons);
    }
}

/// `[v3:MQTT-3.3.5-2]` (section 3.4.2.1) A message that may not be published: 5.0 says so, 3.1.1 takes it and drops it, or closes.
#[test]
fn a_forbidden_publish_is_refused() {
    for version in VERSIONS {
        let mut watcher = FENCED.client(version).connect();
        watcher.subscribe("forbidden/#", 0);
        for level in 0..=2u8 {
            let mut publisher = FENCED.client(version).connect();
            let forbidden = message("forbidden/x", "no").qos(level).retain();
            publisher.send(if level > 0 { forbidden.id(1) } else { forbidden });
            match (version, level) {
                (V5, 1) => drop(publisher.expect_ack(Kind::Puback, 1, Reason::NOT_AUTHORIZED)),
                (V5, 2) => drop(publisher.expect_ack(Kind::Pubrec, 1, Reason::NOT_AUTHORIZED)),
                _ => {
                    let came = publisher.next_after_ping();
                    assert!(!matches!(came, Came::Nothing), "an acknowledgement, PINGRESP, or the end");
                }
            }
            watcher.expect_nothing();
        }
        let mut late = FENCED.client(version).connect();
        late.subscribe("forbidden/#", 0);
        late.expect_nothing();
    }
}

/// `[MQTT-4.3.3-9]` After a PUBREC that refuses, the Packet Identifier is free: the next message is a new one.
#[test]
fn a_refused_packet_identifier_is_free() {
    let topic = unique("t");
    let mut publisher = FENCED.client(V5).connect();
    publisher.subscribe(&topic, 0);
    publisher.send(message("forbidden/x", "no").qos(2).id(1));
    publisher.expect_ack(Kind::Pubrec, 1, Reason::NOT_AUTHORIZED);
    publisher.publish(message(&topic, "yes").qos(2).id(1));
    publisher.expect_publish(message(&topic, "yes"));
}

/// `[MQTT-3.9.3-2]` `[MQTT-3.8.4-7]` A subscription that is not allowed, beside one that is.
#[test]
fn a_forbidden_subscription_is_refused() {
    for version in VERSIONS {
        let mut client = FENCED.client(version).connect();
        client.send(Packet::Subscribe(Box::new(subscribe(1, &[("secret/x", 1), ("open/x", 1), ("secret/#", 0)]))));
        client.expect_suback(1, &[Reason::NOT_AUTHORIZED, Reason::GRANTED_QOS_1, Reason::NOT_AUTHORIZED]);
        client.publish(message("secret/x", "hidden").qos(1));
        client.expect_nothing();
    }
}

/// A wildcard that reaches into what is forbidden must not bring it.
#[test]
fn a_wildcard_does_not_reach_what_is_forbidden() {
    let (mut publisher, mut client) = FENCED.pair(V5);
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("+/x", 0)]))));
    client.wait_for("SUBACK", |packet| matches!(packet, Packet::Suback(_)));
    publisher.publish(message("secret/x", "hidden"));
    client.expect_nothing();
}
