//! A Session goes on over another Network Connection.

use super::dialogue::{Setting, V3, V5, id, setting};
use crate::packet::Version;
use crate::session::state::State;

fn resumed(version: Version, state: State) -> Setting {
    let mut setting = setting(version, true);
    setting.state = Some(state);
    setting
}

/// PUBRELs first, then what may have been sent with DUP=1 and its old Packet Identifier, then the rest `[MQTT-4.4.0-1]`.
#[test]
fn what_was_in_flight_is_sent_again() {
    for version in [V3, V5] {
        let mut dialogue = resumed(version, State { released: vec![9, 7], sent: 10, ..State::default() }).start();
        assert_eq!(dialogue.sent(), ["CONNACK present", "PUBREL 9", "PUBREL 7"]);
        assert_eq!(dialogue.session.sent(), 10);
        dialogue.check(
            "
            + 8 2 a x@2
            + 10 1 a y@1
            + 11 1 a z@1
            < PUBLISH 2 8 a x dup
            < PUBLISH 1 10 a y dup
            < PUBLISH 1 11 a z
            > PUBCOMP 7
            > PUBCOMP 9
            > PUBREC 8
            > PUBACK 10
            ! complete 7
            ! complete 9
            ! release 8
            ! acknowledge 10
            < PUBREL 8",
        );
        assert_eq!(dialogue.session.sent(), 11);
    }
}

/// It may have been sent before, so it is sent again though it has expired meanwhile.
#[test]
fn what_may_have_been_sent_does_not_expire() {
    resumed(V5, State { sent: 1, ..State::default() }).check(
        "
        + 1 1 a x@1 expiry=0
        + 2 1 a y@1 expiry=0
        + 3 1 a z@1 expiry=1
        ! acknowledge 2
        < PUBLISH 1 1 a x dup expiry=0
        < PUBLISH 1 3 a z expiry=1",
    );
}

#[test]
fn a_message_that_was_received_before_is_not_published_again() {
    for version in [V3, V5] {
        resumed(version, State { received: vec![id(3)], ..State::default() }).check(
            "
            > PUBLISH 2 3 a x dup
            < PUBREC 3
            > PUBREL 3
            ! forget 3
            < PUBCOMP 3
            > PUBLISH 2 3 a y
            ! publish a y, received 3
            < PUBREC 3",
        );
    }
}

#[test]
fn the_window_counts_what_is_resumed() {
    let mut narrow = resumed(V5, State { released: vec![5], sent: 6, ..State::default() });
    narrow.connect.properties.receive_maximum = Some(2);
    narrow.check(
        "
        + 6 1 a x@1
        + 7 1 a y@1
        < PUBLISH 1 6 a x dup
        > PUBCOMP 5
        ! complete 5
        < PUBLISH 1 7 a y",
    );
}

/// A connection that ends before it has read what an earlier one sent leaves the mark where it was.
#[test]
fn the_mark_of_what_was_sent_never_goes_back() {
    let mut narrow = resumed(V5, State { sent: 9, ..State::default() });
    narrow.connect.properties.receive_maximum = Some(1);
    let dialogue = narrow.check("+ 3 1 a x@1\n + 9 1 a y@1\n < PUBLISH 1 3 a x dup");
    assert_eq!(dialogue.session.sent(), 9);
    assert_eq!(setting(V5, false).check("~ 1 a x@1\n < PUBLISH 1 1 a x").session.sent(), 0);
}

/// A Packet Identifier whose PUBREL is owed is in use.
#[test]
fn a_released_packet_identifier_is_in_use() {
    resumed(V5, State { released: vec![7], sent: 7, ..State::default() }).check(
        "
        + 65542 1 a x@1
        .
        > PUBREC 7
        < PUBREL 7
        > PUBCOMP 7
        ! complete 7
        < PUBLISH 1 7 a x",
    );
}
