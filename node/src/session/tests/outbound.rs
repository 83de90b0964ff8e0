//! Messages to the Client: the window, Packet Identifiers, acknowledgements, expiry, sizes, aliases.

use super::dialogue::{Setting, V3, V5, setting};

fn window(size: u16, lasts: bool) -> Setting {
    let mut setting = setting(V5, lasts);
    setting.connect.properties.receive_maximum = Some(size);
    setting
}

#[test]
fn each_qos_is_delivered_in_its_way() {
    let script = "
        ~ 2 a x@0 y@1 z@2
        < PUBLISH 0 0 a x
        < PUBLISH 1 1 a y
        < PUBLISH 2 2 a z
        > PUBREC 2
        > PUBACK 1
        < PUBREL 2
        > PUBCOMP 2
        .";
    setting(V3, false).check(script);
    let dialogue = setting(V5, false).check(script);
    assert_eq!((dialogue.session.in_flight(), dialogue.session.pending()), (0, 0));
}

#[test]
fn no_more_is_granted_than_was_asked_for() {
    setting(V5, false).check("~ 1 a x@0 y@1 z@2\n < PUBLISH 0 0 a x\n < PUBLISH 1 1 a y\n < PUBLISH 1 2 a z");
    setting(V5, false).check("~ 0 a x@0 y@1 z@2\n < PUBLISH 0 0 a x\n < PUBLISH 0 0 a y\n < PUBLISH 0 0 a z");
}

#[test]
fn retain_and_identifiers_are_said_where_they_are_granted() {
    setting(V5, false).check("~ 1 a x@0 y@1 retain id=7\n < PUBLISH 0 0 a x retain id=7\n < PUBLISH 1 1 a y retain id=7");
    setting(V3, false).check("~ 0 a x@0 retain id=7\n < PUBLISH 0 0 a x retain");
}

#[test]
fn a_session_that_lasts_gets_only_qos_0_by_mail() {
    setting(V5, true).check("~ 1 a x@0 y@1\n < PUBLISH 0 0 a x");
}

#[test]
fn the_window_is_never_exceeded_and_opens_with_each_acknowledgement() {
    window(2, false).check(
        "
        ~ 2 a 1@1 2@2 3@1 4@1 5@0
        < PUBLISH 1 1 a 1
        < PUBLISH 2 2 a 2
        < PUBLISH 0 0 a 5
        > PUBREC 2
        < PUBREL 2
        > PUBCOMP 2
        < PUBLISH 1 3 a 3
        > PUBACK 3
        > PUBACK 1
        < PUBLISH 1 4 a 4",
    );
}

#[test]
fn the_servers_own_bound_is_a_window_too() {
    let mut narrow = setting(V3, false);
    narrow.settings.in_flight_max = 1;
    narrow.check("~ 1 a 1@1 2@1\n < PUBLISH 1 1 a 1\n > PUBACK 1\n < PUBLISH 1 2 a 2");
}

/// The rest stays in the mailbox: only so much may wait in the Session.
#[test]
fn what_waits_for_the_window_is_bounded() {
    let mut dialogue = window(1, false).check("");
    let run = format!("~ 1 a{}\n < PUBLISH 1 1 a x", " x@1".repeat(256));
    dialogue.check(&run);
    assert!(dialogue.session.has_room() && dialogue.session.pending() == 255);
    dialogue.check("~ 1 a x@1\n .");
    assert!(!dialogue.session.has_room() && dialogue.session.keeps_up());
    dialogue.check("> PUBACK 1\n < PUBLISH 1 2 a x");
    assert!(dialogue.session.has_room());
}

#[test]
fn a_pubrec_that_refuses_settles_the_message() {
    window(1, false).check(
        "
        ~ 2 a 1@2 2@2
        < PUBLISH 2 1 a 1
        > PUBREC 1 97
        < PUBLISH 2 2 a 2
        > PUBREC 2
        < PUBREL 2
        > PUBREC 2
        < PUBREL 2",
    );
}

#[test]
fn acknowledgements_that_are_not_awaited() {
    // Of unknown messages: harmless, and a PUBREC is answered.
    setting(V5, false).check("> PUBACK 9\n > PUBCOMP 9\n > PUBREC 9\n < PUBREL 9 92");
    setting(V3, false).check("> PUBREC 9\n < PUBREL 9");
    // Of another kind than the message's QoS or step asks for.
    for (qos, packet) in [(1, "PUBREC 1"), (1, "PUBCOMP 1"), (2, "PUBACK 1"), (2, "PUBCOMP 1"), (1, "PUBREC 1 97")] {
        setting(V5, false).check(&format!("~ 2 a x@{qos}\n < PUBLISH {qos} 1 a x\n > {packet}\n x 82"));
    }
}

#[test]
fn acknowledgements_of_stored_messages_are_done_in_the_store() {
    window(2, true).check(
        "
        + 11 2 a x@1
        + 12 2 a y@2
        + 13 2 a z@2
        < PUBLISH 1 11 a x
        < PUBLISH 2 12 a y
        > PUBACK 11
        ! acknowledge 11
        < PUBLISH 2 13 a z
        > PUBREC 12
        > PUBREC 12
        ! release 12
        < PUBREL 12
        < PUBREL 12
        > PUBCOMP 12
        > PUBREC 13 80
        ! complete 12
        ! acknowledge 13",
    );
}

/// PUBREL leaves after what came before it was done, in order `[MQTT-4.6.0-4]`.
#[test]
fn pubrel_takes_its_place_among_the_answers() {
    setting(V5, true).check(
        "
        + 1 2 a x@2
        < PUBLISH 2 1 a x
        > PUBLISH 1 9 b y
        > PUBREC 1
        > PUBLISH 1 10 b z
        ! publish b y
        ! release 1
        ! publish b z
        < PUBACK 9
        < PUBREL 1
        < PUBACK 10",
    );
}

#[test]
fn packet_identifiers_follow_from_the_sequence_and_wrap() {
    setting(V5, true).check(
        "
        + 65535 1 a x@1
        + 65536 1 a y@1
        + 131072 1 a z@1
        < PUBLISH 1 65535 a x
        < PUBLISH 1 1 a y
        < PUBLISH 1 2 a z
        > PUBACK 1
        > PUBACK 2
        > PUBACK 65535
        ! acknowledge 65536
        ! acknowledge 131072
        ! acknowledge 65535",
    );
}

/// Nothing is read either until then: to ask the Store again and again would keep a thread busy for as long as the Client likes.
#[test]
fn a_packet_identifier_in_use_makes_the_next_message_wait() {
    let mut dialogue = setting(V5, true).check(
        "
        + 7 1 a x@1
        + 8 1 a y@1
        + 65542 1 a z@1
        + 65543 1 a w@1
        < PUBLISH 1 7 a x
        < PUBLISH 1 8 a y",
    );
    assert_eq!(dialogue.session.store_read(), None);
    dialogue.check("+ 65544 1 a v@1\n .\n > PUBACK 8\n ! acknowledge 8");
    assert_eq!(dialogue.session.store_read(), None);
    dialogue.check(
        "
        > PUBACK 7
        ! acknowledge 7
        < PUBLISH 1 7 a z
        < PUBLISH 1 8 a w
        < PUBLISH 1 9 a v",
    );
}

/// The same for messages that are not stored: the oldest of 65,535 is not acknowledged, all others are.
#[test]
fn a_packet_identifier_is_not_used_twice_at_a_time() {
    let mut dialogue = window(2, false).check("~ 1 a x@1\n < PUBLISH 1 1 a x");
    for id in 2..=65_535 {
        dialogue.check(&format!("~ 1 a x@1\n < PUBLISH 1 {id} a x\n > PUBACK {id}\n ."));
    }
    dialogue.check("~ 1 a y@1\n .\n > PUBACK 1\n < PUBLISH 1 1 a y");
}

#[test]
fn what_has_expired_is_not_sent_and_what_has_not_says_what_is_left() {
    let mut dialogue = window(1, false).check(
        "
        ~ 1 a 1@1 2@1 3@0 expiry=2
        < PUBLISH 1 1 a 1 expiry=2
        < PUBLISH 0 0 a 3 expiry=2
        ~ 1 a 4@1 expiry=10
        .
        t 2000
        > PUBACK 1
        < PUBLISH 1 2 a 4 expiry=8",
    );
    assert_eq!(dialogue.session.take_counts().expired, 1);
    dialogue.check("~ 0 a 5@0 expiry=0\n .");
}

/// What the Client cannot take is done with as if it had been sent `[MQTT-3.1.2-25]`.
#[test]
fn what_is_too_large_is_settled_unsent() {
    let narrow = |lasts| {
        let mut setting = setting(V5, lasts);
        setting.connect.properties.maximum_packet_size = Some(30);
        setting
    };
    let mut dialogue = narrow(true).check(
        "
        + 1 1 a *99@1
        + 2 1 a x@1
        ! acknowledge 1
        < PUBLISH 1 2 a x",
    );
    assert_eq!(dialogue.session.take_counts().too_large, 1);
    // The frame that everybody shares is too large here, but not all that is in it.
    narrow(false).check("~ 1 a *99@0 x@0 *99@1 y@1\n < PUBLISH 0 0 a x\n < PUBLISH 1 1 a y");
}

#[test]
fn the_first_topic_names_get_the_aliases() {
    let mut short = setting(V5, false);
    short.connect.properties.topic_alias_maximum = Some(2);
    short.check(
        "
        ~ 0 aaa x@0
        ~ 1 bbb y@1
        ~ 0 ccc z@0
        ~ 1 aaa x@1 y@0
        < PUBLISH 0 0 aaa x alias=1
        < PUBLISH 1 1 bbb y alias=2
        < PUBLISH 0 0 ccc z
        < PUBLISH 1 2 - x alias=1
        < PUBLISH 0 0 - y alias=1",
    );
}

/// An alias costs three bytes: no reason to withhold a message that fits without.
#[test]
fn an_alias_does_not_make_a_message_too_large() {
    let mut tight = setting(V5, false);
    tight.connect.properties.topic_alias_maximum = Some(2);
    tight.connect.properties.maximum_packet_size = Some(30);
    // 2 bytes of header, 3 of Topic Name, 1 of Property Length, 24 of payload.
    tight.check(
        "~ 0 a *24@0\n ~ 0 a *25@0\n ~ 0 a x@0\n ~ 0 a *24@0\n < PUBLISH 0 0 a *24\n < PUBLISH 0 0 a x alias=1\n < PUBLISH 0 0 a *24",
    );
}

#[test]
fn a_message_of_a_share_group_is_given_back_unless_it_was_acknowledged() {
    let mut dialogue = window(4, false).check(
        "
        ~ 2 a 1@1 2@2 3@2 4@1 5@1 group
        < PUBLISH 1 1 a 1
        < PUBLISH 2 2 a 2
        < PUBLISH 2 3 a 3
        < PUBLISH 1 4 a 4
        > PUBACK 1
        > PUBREC 3
        < PUBLISH 1 5 a 5
        < PUBREL 3
        ~ 1 a 6@1 7@1 group
        .",
    );
    let left = dialogue.session.take_shared();
    let left: Vec<_> = left.iter().map(|(message, _)| String::from_utf8_lossy(&message.message().payload).into_owned()).collect();
    assert_eq!(left, ["2", "4", "5", "6", "7"]);
}

/// A page of the Store is not written out of proportion: the rest of it is read again when there is room.
#[test]
fn large_stored_messages_do_not_pile_up() {
    let mut dialogue = setting(V5, true).start();
    dialogue.sent();
    let all: String = (1..=20).map(|sequence| format!("+ {sequence} 1 a *200000@1\n")).collect();
    let first: String = (1..=6).map(|id| format!("< PUBLISH 1 {id} a *200000\n")).collect();
    dialogue.check(&(all + &first));
    let next: String = (7..=12).map(|id| format!("< PUBLISH 1 {id} a *200000\n")).collect();
    dialogue.check(&format!("> PUBACK 1\n ! acknowledge 1\n {next}"));
}
