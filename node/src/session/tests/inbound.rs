//! Messages from the Client: acknowledgements, runs, aliases, the Receive Maximum.

use super::dialogue::{Setting, V3, V5, setting};
use crate::packet::QoS;

#[test]
fn each_qos_is_acknowledged_in_its_way_once_it_is_done() {
    let script = "
        > PUBLISH 0 0 a x
        ! publish a x
        > PUBLISH 1 7 a x
        ! publish a x
        < PUBACK 7
        > PUBLISH 2 8 a x
        ! publish a x
        < PUBREC 8
        > PUBREL 8
        < PUBCOMP 8";
    setting(V3, false).check(script);
    setting(V5, false).check(script);
}

#[test]
fn a_session_that_lasts_has_qos_2_on_record() {
    let script = "
        > PUBLISH 2 8 a x
        > PUBLISH 1 9 a y
        ! publish a x y, received 8
        < PUBREC 8
        < PUBACK 9
        > PUBREL 8
        ! forget 8
        < PUBCOMP 8";
    setting(V3, true).check(script);
    setting(V5, true).check(script);
}

#[test]
fn a_duplicate_at_qos_2_is_acknowledged_and_not_published() {
    setting(V3, true).check(
        "
        > PUBLISH 2 8 a x
        ! publish a x, received 8
        < PUBREC 8
        > PUBLISH 2 8 a x dup
        < PUBREC 8
        > PUBREL 8
        > PUBLISH 2 8 a y
        ! forget 8
        ! publish a y, received 8
        < PUBCOMP 8
        < PUBREC 8",
    );
}

/// At QoS 1 the broker does not look: a duplicate is published again.
#[test]
fn a_duplicate_at_qos_1_is_published_again() {
    setting(V5, true).check(
        "
        > PUBLISH 1 8 a x
        > PUBLISH 1 8 a x dup
        ! publish a x x
        < PUBACK 8
        < PUBACK 8",
    );
}

#[test]
fn an_unknown_pubrel_is_answered() {
    setting(V5, true).check("> PUBREL 8\n < PUBCOMP 8 92");
    setting(V3, true).check("> PUBREL 8\n < PUBCOMP 8");
}

#[test]
fn a_run_grows_while_the_topic_name_stays() {
    setting(V5, true).check(
        "
        > PUBLISH 0 0 a 1
        > PUBLISH 1 1 a 2
        > PUBLISH 2 2 a 3
        > PUBLISH 1 3 b 4
        > PUBLISH 0 0 a 5
        ! publish a 1 2 3, received 2
        ! publish b 4
        ! publish a 5
        < PUBACK 1
        < PUBREC 2
        < PUBACK 3",
    );
}

/// Whatever the Client asks for comes after what it published before, and is answered in that order `[MQTT-4.6.0-2]`.
#[test]
fn a_command_seals_the_run() {
    setting(V5, true).check(
        "
        > PUBLISH 1 1 a x
        > SUBSCRIBE 2 1 a
        > PUBLISH 1 3 a y
        > UNSUBSCRIBE 4 a
        > PUBLISH 2 5 a z
        > PUBREL 5
        > PUBLISH 1 6 a w
        ! publish a x
        ! subscribe a
        ! publish a y
        ! unsubscribe a
        ! publish a z, received 5
        ! forget 5
        ! publish a w
        < PUBACK 1
        < SUBACK 2 01
        < PUBACK 3
        < UNSUBACK 4 00
        < PUBREC 5
        < PUBCOMP 5
        < PUBACK 6",
    );
}

#[test]
fn who_has_no_subscribers_is_told_so_in_5_0() {
    let script = "
        > PUBLISH 1 1 a x
        ! publish a x = unmatched
        < PUBACK 1";
    setting(V3, false).check(script);
    setting(V5, false).check(&format!("{script} 10"));
}

#[test]
fn a_topic_alias_stands_for_a_topic_name() {
    setting(V5, false).check(
        "
        > PUBLISH 0 0 a 1 alias=2
        > PUBLISH 0 0 - 2 alias=2
        > PUBLISH 0 0 a 3
        > PUBLISH 0 0 b 4 alias=2
        > PUBLISH 0 0 - 5 alias=2
        ! publish a 1 2 3
        ! publish b 4 5
        > PUBLISH 0 0 - 6 alias=1
        x 82",
    );
    setting(V5, false).check("> PUBLISH 0 0 a x alias=65\n x 94");
    setting(V5, false).check("> PUBLISH 0 0 - x\n x 82");
}

/// What came before a fault is still done and acknowledged.
#[test]
fn a_fault_ends_the_turn_after_what_came_before() {
    setting(V5, false).check(
        "
        > PUBLISH 1 1 a x
        > PUBLISH 1 2 a/# y
        ! publish a x
        < PUBACK 1
        x 90",
    );
}

fn receives(maximum: u16) -> Setting {
    let mut setting = setting(V5, false);
    setting.settings.receive_maximum = maximum;
    setting
}

#[test]
fn more_than_the_receive_maximum_ends_the_connection() {
    receives(2).check(
        "
        > PUBLISH 1 1 a x
        > PUBLISH 2 2 a x
        ! publish a x x
        < PUBACK 1
        < PUBREC 2
        > PUBLISH 1 3 a x
        ! publish a x
        < PUBACK 3
        > PUBLISH 2 2 a x dup
        > PUBLISH 1 4 a x
        > PUBLISH 1 5 a x
        ! publish a x
        < PUBREC 2
        < PUBACK 4
        x 93",
    );
    // Released is given back at once; QoS 0 does not count.
    receives(1).check(
        "
        > PUBLISH 2 1 a x
        > PUBREL 1
        > PUBLISH 0 0 a x
        > PUBLISH 2 2 a x
        ! publish a x x x
        < PUBREC 1
        < PUBCOMP 1
        < PUBREC 2",
    );
}

/// 3.1.1 has no Receive Maximum: the Packet Identifiers are the bound.
#[test]
fn an_older_client_is_not_held_to_it() {
    let mut setting = setting(V3, false);
    setting.settings.receive_maximum = 1;
    setting.check("> PUBLISH 2 1 a x\n > PUBLISH 2 2 a x\n ! publish a x x\n < PUBREC 1\n < PUBREC 2");
}

#[test]
fn what_this_server_does_not_offer_ends_the_connection() {
    let mut low = setting(V5, false);
    low.settings.maximum_qos = QoS::AtLeastOnce;
    low.check("> PUBLISH 2 1 a x\n x 9b");
    let mut forgetful = setting(V5, false);
    forgetful.settings.retain_available = false;
    forgetful.check("> PUBLISH 0 0 a x retain\n x 9a");
}

#[test]
fn what_a_client_must_not_send_ends_the_connection() {
    for (packet, code) in [
        ("PUBLISH 0 0 a x id=3", "82"),
        ("PUBLISH 0 0 a x bad-response", "82"),
        ("PUBLISH 0 0 +/a x", "90"),
        ("CONNECT", "82"),
        ("PINGRESP", "82"),
    ] {
        setting(V5, false).check(&format!("> {packet}\n x {code}"));
    }
}

/// What is let pass stays in its run; another message is a run of its own, and what is refused leaves no trace in one.
#[test]
fn somebody_else_decides_on_each_message() {
    setting(V5, true).check(
        "
        ? accept PUBLISH 1 1 a x
        ? 87 PUBLISH 1 2 a y
        ? b=w PUBLISH 1 3 a y
        ? 99 PUBLISH 2 4 a y
        ? accept PUBLISH 2 5 a z
        ? accept PUBLISH 0 0 a z
        ! publish a x
        ! publish b w
        ! publish a z z, received 5
        < PUBACK 1
        < PUBACK 2 87
        < PUBACK 3
        < PUBREC 4 99
        < PUBREC 5
        ? accept PUBLISH 2 5 a z dup
        ? accept PUBLISH 1 6 denied z
        ? accept PUBLISH 2 4 a y
        ! publish a y, received 4
        < PUBREC 5
        < PUBACK 6 87
        < PUBREC 4",
    );
}

/// What came before is committed and acknowledged meanwhile.
#[test]
fn somebody_else_decides_later() {
    setting(V5, true).check(
        "
        ? accept PUBLISH 1 1 a x
        ? later PUBLISH 1 2 a y
        ! publish a x
        < PUBACK 1
        t 10
        .
        : accept
        ? accept PUBLISH 1 3 a z
        ! publish a y z
        < PUBACK 2
        < PUBACK 3
        ? later PUBLISH 2 4 a y
        .
        : b=w
        ! publish b w, received 4
        < PUBREC 4
        ? later PUBLISH 1 5 a y
        .
        : 97
        < PUBACK 5 97",
    );
    receives(1).check(
        "
        ? accept PUBLISH 1 1 a x
        ? accept PUBLISH 1 2 a y
        ! publish a x
        < PUBACK 1
        x 93",
    );
}
