//! CONNECT, CONNACK, Keep Alive and DISCONNECT.

use super::dialogue::{Setting, V3, V5, setting};
use crate::packet::connect::Will;
use crate::packet::reason::Reason;
use crate::packet::{Packet, QoS, Version};
use crate::session::Fault;
use crate::session::state::State;
use crate::time::Span;

fn with(version: Version, change: impl FnOnce(&mut Setting)) -> Setting {
    let mut setting = setting(version, true);
    change(&mut setting);
    setting
}

fn refused(setting: &Setting) -> Option<Reason> {
    setting.request().err().map(|fault| fault.reason)
}

#[test]
fn a_client_identifier_is_given_where_that_is_allowed() {
    let nameless = |version, clean_start| {
        with(version, |setting| {
            setting.connect.client_id = "".into();
            setting.connect.clean_start = clean_start;
        })
    };
    let assigned = nameless(V5, false).request().unwrap();
    assert!(assigned.assigned && assigned.client_id.as_str() == "assigned");
    assert_eq!(refused(&nameless(V3, true)), None);
    assert_eq!(refused(&nameless(V3, false)), Some(Reason::CLIENT_IDENTIFIER_NOT_VALID));
    assert_eq!(refused(&nameless(Version::V3_1, true)), Some(Reason::CLIENT_IDENTIFIER_NOT_VALID));
    let long = with(V5, |setting| {
        setting.settings.client_id_bytes_max = 3;
        setting.connect.client_id = "four".into();
    });
    assert_eq!(refused(&long), Some(Reason::CLIENT_IDENTIFIER_NOT_VALID));
}

#[test]
fn a_will_keeps_to_what_the_server_offers() {
    let will = |topic: &str, change: fn(&mut Setting)| {
        let topic = topic.to_owned().into();
        refused(&with(V5, |setting| {
            setting.connect.will =
                Some(Will { qos: QoS::ExactlyOnce, retain: true, topic, payload: "".into(), delay_s: 0, properties: None });
            change(setting);
        }))
    };
    assert_eq!(will("a", |_| {}), None);
    assert_eq!(will("a", |setting| setting.settings.maximum_qos = QoS::AtLeastOnce), Some(Reason::QOS_NOT_SUPPORTED));
    assert_eq!(will("a", |setting| setting.settings.retain_available = false), Some(Reason::RETAIN_NOT_SUPPORTED));
    assert_eq!(will("a/#", |_| {}), Some(Reason::TOPIC_NAME_INVALID));
    assert_eq!(will("$SYS/a", |_| {}), Some(Reason::TOPIC_NAME_INVALID));
}

#[test]
fn connack_says_what_was_decided() {
    let mut dialogue = with(V5, |setting| {
        setting.connect.keep_alive_s = 100;
        setting.settings.keep_alive_max_s = 50;
        setting.connect.properties.session_expiry_s = Some(u32::MAX);
        setting.settings.expiry_max_s = 77;
        setting.settings.maximum_qos = QoS::AtLeastOnce;
        setting.settings.shared_available = false;
    })
    .start();
    let [Packet::Connack(connack)] = &dialogue.sent_packets()[..] else { panic!("a CONNACK") };
    let properties = &connack.properties;
    assert_eq!((properties.server_keep_alive_s, properties.session_expiry_s), (Some(50), Some(77)));
    assert_eq!((properties.maximum_qos, properties.shared_subscription_available), (Some(QoS::AtLeastOnce), Some(false)));
    assert_eq!((properties.retain_available, properties.assigned_client_id.as_ref()), (None, None));
    assert_eq!(dialogue.session.expiry(), Some(Span::seconds(77)));
}

#[test]
fn session_present_says_that_something_is_resumed() {
    assert_eq!(setting(V5, true).start().sent(), ["CONNACK"]);
    for version in [V3, V5] {
        let resumed = with(version, |setting| setting.state = Some(State::default()));
        assert_eq!(resumed.start().sent(), ["CONNACK present"]);
    }
}

/// What is resumed is in the Store to its end, though it will not outlive this connection.
#[test]
fn only_a_session_that_lasts_or_is_resumed_is_durable() {
    assert!(!setting(V5, false).start().session.is_durable());
    assert!(!setting(V3, false).start().session.is_durable());
    assert!(setting(V3, true).start().session.is_durable());
    let mut brief = setting(V5, false);
    brief.state = Some(State::default());
    assert!(brief.start().session.is_durable());
}

#[test]
fn the_connection_ends_after_one_and_a_half_times_the_keep_alive() {
    with(V5, |setting| setting.connect.keep_alive_s = 2).check(
        "
        t 2999
        .
        > PINGREQ
        < PINGRESP
        t 2999
        .
        ~ 0 a x@0
        t 1
        < PUBLISH 0 0 a x
        x 8d",
    );
    with(V5, |_| {}).check("t 99999999\n .");
}

/// An older Client cannot be told another Keep Alive, so it is held to its own.
#[test]
fn an_older_client_is_held_to_its_own_keep_alive() {
    with(V3, |setting| {
        setting.connect.keep_alive_s = 4;
        setting.settings.server_keep_alive_s = Some(1);
    })
    .check("t 5999\n .\n t 1\n x 8d");
}

#[test]
fn the_will_is_kept_unless_the_client_says_that_all_is_well() {
    for (packet, keeps) in [("DISCONNECT", false), ("DISCONNECT 04", true), ("DISCONNECT 80", true)] {
        let dialogue = setting(V5, true).check(&format!("> {packet}\n = disconnected"));
        assert_eq!(dialogue.session.keep_will(), keeps, "{packet}");
    }
    assert!(setting(V5, true).start().session.keep_will());
}

#[test]
fn disconnect_may_change_the_expiry_but_not_raise_it_from_zero() {
    let expiry = |lasts, packet: &str| setting(V5, lasts).check(&format!("> {packet}\n = disconnected")).session.expiry();
    assert_eq!(expiry(true, "DISCONNECT 00 expiry=5"), Some(Span::seconds(5)));
    assert_eq!(expiry(true, "DISCONNECT 00 expiry=0"), Some(Span(0)));
    assert_eq!(expiry(true, "DISCONNECT 00 expiry=4294967295"), None);
    assert_eq!(expiry(true, "DISCONNECT"), Some(Span::seconds(60)));
    assert_eq!(expiry(false, "DISCONNECT 00 expiry=0"), Some(Span(0)));
    let raised = setting(V5, false).check("> DISCONNECT 00 expiry=5\n x 82");
    assert!(raised.session.keep_will() && raised.session.expiry() == Some(Span(0)));
}

#[test]
fn only_5_0_is_told_why_the_connection_ends() {
    let fault = Fault::new(Reason::SERVER_SHUTTING_DOWN, "the end");
    let told = |setting: Setting| {
        let mut dialogue = setting.check("");
        dialogue.session.send_disconnect(fault);
        dialogue.sent_packets()
    };
    assert!(told(setting(V3, false)).is_empty());
    let [Packet::Disconnect(disconnect)] = &told(setting(V5, false))[..] else { panic!("a DISCONNECT") };
    assert_eq!((disconnect.reason, disconnect.reason_string.as_deref()), (fault.reason, Some("the end")));
    let quiet = told(with(V5, |setting| setting.connect.properties.request_problem_information = Some(false)));
    assert!(matches!(&quiet[..], [Packet::Disconnect(disconnect)] if disconnect.reason_string.is_none()));
}
