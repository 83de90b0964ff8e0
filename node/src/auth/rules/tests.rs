//! What rules say, as tables.

use super::*;
use crate::hook::{KnownUser, Recipient};
use crate::packet::connect::ClientId;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

fn rules(text: &str) -> Rules {
    text.parse().unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

/// `user`: a name, `-` for none, `?` for one that is not known here.
fn ask(rules: &Rules, client: &str, user: &str, what: &str) -> Decision {
    let client_id = ClientId::new(client);
    let user = match user {
        "-" => KnownUser::Yes(None),
        "?" => KnownUser::No,
        user => KnownUser::Yes(Some(user)),
    };
    let subject = Recipient { client_id: &client_id, user };
    let (action, text) = what.split_once(' ').unwrap();
    let topic = || TopicName::new(text.to_owned().into()).unwrap();
    match action {
        "publish" => rules.topic(subject, Action::Publish, &topic()),
        "receive" => rules.topic(subject, Action::Subscribe, &topic()),
        "subscribe" => rules.filter(subject, &TopicFilter::new(text).unwrap()),
        other => panic!("{other}"),
    }
}

#[test]
fn the_first_that_fits_decides_and_none_denies() {
    let rules = rules(
        "# comment\n\nallow user ann publish sensors/# qos=1 retain=no\ndeny client guest* all a/b\nallow all a/# open/%c/%u-%c\n\
         allow anonymous subscribe +/+ \"with space/#\"\nallow user ops* all $SYS/#\nallow publish 100%%/%u\n",
    );
    assert_eq!(rules.len(), 6);
    for (client, user, what, line) in [
        ("c", "ann", "publish sensors/x/y", 3),
        ("c", "bob", "publish sensors/x/y", 0),
        ("c", "ann", "subscribe sensors/x", 0),
        ("guest7", "ann", "publish a/b", -4),
        ("gues", "ann", "publish a/b", 5),
        ("guest7", "ann", "subscribe a/b", -4),
        ("guest7", "ann", "subscribe a/#", 5),
        ("guest7", "ann", "receive a/b", -4),
        ("c", "ann", "subscribe #", 0),
        ("c", "ann", "subscribe a/+", 5),
        ("c", "ann", "publish open/c/ann-c", 5),
        ("c", "ann", "publish open/c/ann-d", 0),
        ("c", "ann", "subscribe open/+/ann-c", 0),
        ("c", "ann", "subscribe open/c/ann-c", 5),
        ("c", "-", "subscribe with space/#", 6),
        ("c", "ann", "subscribe with space/#", 0),
        ("c", "-", "subscribe +/x", 6),
        ("c", "-", "subscribe $SYS/x", 0),
        ("c", "-", "receive $SYS/x", 0),
        ("c", "ops1", "receive $SYS/x", 7),
        ("c", "ann", "publish 100%/ann", 8),
    ] {
        let decision = ask(&rules, client, user, what);
        let found = decision.line.map_or(0, |line| if decision.allowed { line as i32 } else { -(line as i32) });
        assert_eq!(found, line, "{client} {user} {what}");
    }
    let limited = ask(&rules, "c", "ann", "publish sensors/x");
    assert_eq!((limited.qos_max, limited.retain), (crate::packet::QoS::AtLeastOnce, false));
}

/// Or a client that calls itself `+` would read what is everybody's.
#[test]
fn a_name_that_is_no_level_widens_nothing() {
    let rules = rules("deny publish secret/%c\nallow all own/%c/# own/%u secret/+\n");
    for name in ["+", "#", "a/b", "/", ""] {
        assert!(!ask(&rules, name, "-", "subscribe own/+/#").allowed, "{name}");
        assert!(!ask(&rules, name, "-", "publish own/x/y").allowed, "{name}");
        assert!(!ask(&rules, "c", name, "subscribe own/+").allowed, "{name}");
        assert!(!ask(&rules, name, "-", "publish secret/x").allowed, "a deny holds: {name}");
    }
    assert!(ask(&rules, "c", "-", "publish secret/x").allowed);
    assert!(!ask(&rules, "c", "-", "publish own/").allowed, "no User Name is no empty one");
}

/// A message for a Session of another node: that node asks again.
#[test]
fn what_depends_on_an_unknown_name_is_let_through() {
    let rules = rules("deny user eve subscribe a\ndeny client x subscribe b\nallow user ann subscribe a b\nallow subscribe own/%u\n");
    for (client, what, expected) in
        [("c", "receive a", true), ("x", "receive b", false), ("c", "receive c", false), ("c", "receive own/z", true)]
    {
        assert_eq!(ask(&rules, client, "?", what).allowed, expected, "{what}");
    }
}

#[test]
fn faults_say_what_is_allowed() {
    for (text, line, expected) in [
        ("permit all #", 1, "\"permit\" begins no rule; a rule is: allow|deny"),
        ("\n\nallow", 3, "publish, subscribe or all is missing"),
        ("allow user", 1, "user stands without a name"),
        ("allow user a user b all #", 1, "one user"),
        ("allow user a anonymous all #", 1, "one user"),
        ("allow client a client b all #", 1, "one client"),
        ("allow write #", 1, "\"write\" is neither user"),
        ("allow publish", 1, "no Topic Filter"),
        ("allow publish a/#/b", 1, "is no Topic Filter"),
        ("allow publish a+", 1, "is no Topic Filter"),
        ("allow publish a/%x", 1, "after % comes c"),
        ("allow publish a/%", 1, "after % comes c"),
        ("allow publish # qos=3", 1, "0, 1 or 2"),
        ("allow publish # retain=maybe", 1, "yes or no"),
        ("allow subscribe # retain=no", 1, "retain is for publish"),
        ("deny publish # qos=1", 1, "limits are for allow"),
        ("allow publish qos=1 #", 1, "after the limits"),
        ("allow publish \"a", 1, "not closed"),
        ("allow publish \"a\"b", 1, "space is missing"),
        ("allow publish \"a\\n\"", 1, "backslash"),
        ("allow subscribe $share/g/a", 1, "Shared Subscriptions"),
        ("allow publish a deny publish b", 1, "a line of its own"),
    ] {
        let fault = text.parse::<Rules>().unwrap_err();
        assert!(fault.line == line && fault.text.contains(expected), "{text:?} gave {fault}");
    }
    let many = "allow all #\n".repeat(parse::RULES_MAX + 1);
    assert_eq!(many.parse::<Rules>().unwrap_err().line, parse::RULES_MAX + 1);
}
