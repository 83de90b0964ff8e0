//! SUBSCRIBE, UNSUBSCRIBE, and the retained messages that are read for it.

use super::dialogue::{Dialogue, V3, V5, setting, topic};

#[test]
fn every_filter_has_its_answer() {
    let script = "
        > SUBSCRIBE 1 1 a,a/#/b,+/b
        ! subscribe a 8f +/b
        < SUBACK 1 01 8f 01
        > UNSUBSCRIBE 2 a,#a
        ! unsubscribe a 8f
        < UNSUBACK 2 00 8f";
    setting(V5, true).check(script);
    setting(V3, true).check(&script.replace("01 8f 01", "01 80 01").replace("2 00 8f", "2"));
}

#[test]
fn what_is_not_offered_is_refused() {
    let mut poor = setting(V5, true);
    poor.settings.wildcard_available = false;
    poor.settings.shared_available = false;
    poor.settings.topic_levels_max = 2;
    poor.check("> SUBSCRIBE 1 0 a,+,$share/g/a,a/b/c\n ! subscribe a a2 9e 8f\n < SUBACK 1 00 a2 9e 8f");
    let mut nameless = setting(V5, true);
    nameless.settings.subscription_ids_available = false;
    nameless.check("> SUBSCRIBE 1 0 a id=3\n x a1");
    setting(V5, true).check("> SUBSCRIBE 1 0 $share/g/a nl\n x 82");
}

fn reads(dialogue: &Dialogue) -> Option<String> {
    dialogue.session.retained_read().map(|read| {
        let after = read.after.as_ref().map_or("", |topic| topic.as_str());
        format!("{} {after}", read.filter.as_str()).trim_end().to_owned()
    })
}

#[test]
fn retain_handling_decides_what_is_read() {
    for (options, existed, read) in [
        ("a", false, true),
        ("a", true, true),
        ("a rh=1", false, true),
        ("a rh=1", true, false),
        ("a rh=2", false, false),
        ("$share/g/a", false, false),
    ] {
        let existed = if existed { " = existed" } else { "" };
        let script = format!("> SUBSCRIBE 1 0 {options}\n ! subscribe a{existed}\n < SUBACK 1 00");
        assert_eq!(reads(&setting(V5, false).check(&script)).is_some(), read, "{options}{existed}");
    }
}

#[test]
fn retained_messages_are_read_page_by_page_and_filter_by_filter() {
    let mut dialogue = setting(V5, false).check("> SUBSCRIBE 1 0 a/#,b\n ! subscribe a/# b\n < SUBACK 1 00 00");
    assert_eq!(reads(&dialogue).as_deref(), Some("a/#"));
    dialogue.session.retained_page(Some(topic("a/x")));
    assert_eq!(reads(&dialogue).as_deref(), Some("a/# a/x"));
    dialogue.session.retained_page(None);
    assert_eq!(reads(&dialogue).as_deref(), Some("b"));
    dialogue.session.retained_page(None);
    assert_eq!(reads(&dialogue), None);
}

/// Asking again and again makes no longer list: the last one starts from the beginning `[MQTT-3.8.4-4]`.
#[test]
fn a_filter_is_read_for_once_however_often_it_is_subscribed() {
    let mut dialogue = setting(V5, false).check("> SUBSCRIBE 1 0 a/#,b,a/#\n ! subscribe a/# b a/#\n < SUBACK 1 00 00 00");
    assert_eq!(reads(&dialogue).as_deref(), Some("b"));
    dialogue.session.retained_page(None);
    dialogue.session.retained_page(Some(topic("a/x")));
    dialogue.check("> SUBSCRIBE 2 0 a/#\n ! subscribe a/# = existed\n < SUBACK 2 00");
    assert_eq!(reads(&dialogue).as_deref(), Some("a/#"));
    dialogue.session.retained_page(None);
    assert_eq!(reads(&dialogue), None);
}

/// After UNSUBACK nothing new is added for the filter `[MQTT-3.10.4-2]`.
#[test]
fn unsubscribe_ends_the_reading() {
    let mut dialogue = setting(V5, false).check(
        "
        > SUBSCRIBE 1 0 a/#,b
        > UNSUBSCRIBE 2 a/#
        ! subscribe a/# b
        ! unsubscribe a/#
        < SUBACK 1 00 00
        < UNSUBACK 2 00",
    );
    assert_eq!(reads(&dialogue).as_deref(), Some("b"));
    dialogue.check("> UNSUBSCRIBE 3 $share/g/b\n ! unsubscribe b\n < UNSUBACK 3 00");
    assert_eq!(reads(&dialogue).as_deref(), Some("b"));
}

#[test]
fn retained_messages_wait_for_a_socket_that_does_not_keep_up() {
    let mut dialogue = setting(V5, false).check("> SUBSCRIBE 1 0 a\n ! subscribe a\n < SUBACK 1 00");
    let Dialogue { session, now, .. } = &mut dialogue;
    session.outgoing().tail().resize(256 * 1024, 0);
    assert!(session.retained_read().is_none() && !session.keeps_up());
    session.outgoing().advance(1);
    assert!(session.retained_read().is_some() && session.keeps_up() && session.handle_timeout(*now).is_ok());
}

/// What is retained goes through the queue of a Session that lasts, so it comes no faster than that is read.
#[test]
fn retained_messages_wait_for_the_queue_to_be_read() {
    let mut lasting = setting(V5, true);
    lasting.connect.properties.receive_maximum = Some(1);
    let mut dialogue = lasting.check(
        "
        > SUBSCRIBE 1 1 a
        ! subscribe a
        < SUBACK 1 01
        + 1 1 a x@1
        + 2 1 a y@1
        < PUBLISH 1 1 a x",
    );
    assert_eq!(reads(&dialogue), None);
    dialogue.check("> PUBACK 1\n ! acknowledge 1\n < PUBLISH 1 2 a y");
    assert_eq!(reads(&dialogue), None);
    dialogue.check("> PUBACK 2\n ! acknowledge 2");
    assert_eq!(reads(&dialogue).as_deref(), Some("a"));
}
