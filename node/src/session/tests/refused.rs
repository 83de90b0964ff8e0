//! Publishes that are not taken: by the hooks, by the rules of Topic Names, by a Store that is full.

use super::dialogue::{V3, V5, setting};

/// 5.0 is told why; 3.1.1 can only be told that it is done with `[v3:MQTT-3.3.5-2]`.
#[test]
fn what_the_hooks_refuse_is_acknowledged_and_not_published() {
    setting(V5, true).check(
        "
        > PUBLISH 1 1 denied x
        > PUBLISH 2 2 denied x
        > PUBLISH 0 0 denied x
        < PUBACK 1 87
        < PUBREC 2 87
        > PUBREL 2
        < PUBCOMP 2 92",
    );
    setting(V3, true).check(
        "
        > PUBLISH 1 1 denied x
        > PUBLISH 2 2 denied x
        < PUBACK 1
        < PUBREC 2
        > PUBREL 2
        ! forget 2
        < PUBCOMP 2",
    );
}

#[test]
fn the_servers_own_topic_names_are_not_for_clients() {
    setting(V5, true).check("> PUBLISH 1 1 $SYS/x x\n < PUBACK 1 87");
    setting(V5, true).check("> PUBLISH 1 1 $SYSTEM x\n ! publish $SYSTEM x\n < PUBACK 1");
    let mut flat = setting(V5, true);
    flat.settings.topic_levels_max = 2;
    flat.check("> PUBLISH 1 1 a/b/c x\n > PUBLISH 1 2 a/b x\n ! publish a/b x\n < PUBACK 1 90\n < PUBACK 2");
}

#[test]
fn a_refused_message_does_not_break_the_order_of_answers() {
    setting(V5, true).check(
        "
        > PUBLISH 1 1 a x
        > PUBLISH 1 2 denied x
        > PUBLISH 1 3 a y
        ! publish a x
        ! publish a y
        < PUBACK 1
        < PUBACK 2 87
        < PUBACK 3",
    );
}

#[test]
fn a_full_store_is_told_to_5_0() {
    setting(V5, false).check(
        "
        > PUBLISH 1 1 a x
        > PUBLISH 2 2 a y
        > PUBLISH 1 3 b z
        ! publish a x y = refused
        ! publish b z
        < PUBACK 1 97
        < PUBREC 2 97
        < PUBACK 3
        > PUBREL 2
        < PUBCOMP 2 92
        > PUBLISH 2 2 a y
        ! publish a y
        < PUBREC 2",
    );
}

/// 3.1.1 has no word for it, and hears nothing: the same message sent again is a new one.
#[test]
fn a_full_store_leaves_an_older_client_without_an_answer() {
    setting(V3, false).check(
        "
        > PUBLISH 1 1 a x
        > PUBLISH 2 2 a y
        ! publish a x y = refused
        > PUBLISH 2 2 a y dup
        ! publish a y
        < PUBREC 2",
    );
}
