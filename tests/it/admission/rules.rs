//! What clients may do: rules in a file, and what becomes of those who are connected when they change.

use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::command;
use mqttd_tests::*;

fn ruled(rules: &Scratch) -> Broker {
    Broker::with(|config| config.access.rules_file = Some(rules.path()))
}

#[test]
fn the_first_rule_that_fits_decides_and_none_denies() {
    let rules = Scratch::new(
        "deny client guest publish open/secret\nallow publish open/#\nallow user ann all own/%u/#\nallow all by-id/%c\n\
         deny subscribe news/private\nallow subscribe news/#\n",
    );
    let broker = ruled(&rules);
    let mut ann = broker.client(V5).id("guest").user("ann", "").connect();
    for (topic, reason) in [
        ("open/secret", Reason::NOT_AUTHORIZED),
        ("open/x", Reason::NO_MATCHING_SUBSCRIBERS),
        ("own/ann/x", Reason::NO_MATCHING_SUBSCRIBERS),
        ("own/bob/x", Reason::NOT_AUTHORIZED),
        ("by-id/guest", Reason::NO_MATCHING_SUBSCRIBERS),
        ("by-id/other", Reason::NOT_AUTHORIZED),
        ("news/x", Reason::NOT_AUTHORIZED),
    ] {
        let id = ann.unused_packet_id();
        ann.send(message(topic, "x").qos(1).id(id));
        ann.expect_ack(Kind::Puback, id, reason);
    }
    let filters = [("own/ann/#", 1), ("own/#", 1), ("#", 1), ("news/#", 1), ("news/private", 1), ("$share/g/news/x", 1), ("by-id/+", 1)];
    ann.send(Packet::Subscribe(Box::new(subscribe(9, &filters))));
    let (yes, no) = (Reason(1), Reason::NOT_AUTHORIZED);
    ann.expect_suback(9, &[yes, no, no, yes, no, yes, no]);
    // In 3.1.1 the SUBACK says 0x80, and a PUBLISH that is not taken has no word [v3:MQTT-3.3.5-2].
    let mut old = broker.client(V3_1_1).connect();
    old.send(Packet::Subscribe(Box::new(subscribe(9, &[("news/#", 0), ("#", 0)]))));
    old.expect_suback(9, &[Reason(0), Reason::UNSPECIFIED_ERROR]);
    old.expect_nothing();
}

/// A deny in the middle of what is subscribed to is left out of what is delivered, live and retained.
#[test]
fn what_is_denied_is_not_delivered() {
    let rules = Scratch::new("allow user pub all #\ndeny subscribe a/secret\nallow subscribe a/#\n");
    let broker = ruled(&rules);
    let mut publisher = broker.client(V5).user("pub", "").connect();
    publisher.publish(message("a/secret", "kept").qos(1).retain());
    publisher.publish(message("a/open", "kept").qos(1).retain());
    for version in VERSIONS {
        let mut reader = broker.client(version).user("reader", "").connect();
        reader.subscribe("a/#", 1);
        reader.receive(message("a/open", "kept").qos(1).retain());
        publisher.publish(message("a/secret", "live").qos(1));
        publisher.publish(message("a/open", "live").qos(1));
        reader.receive(message("a/open", "live").qos(1));
        reader.expect_nothing();
    }
}

#[test]
fn limits_of_a_rule() {
    let rules = Scratch::new("allow all a/# qos=1 retain=no\nallow all b/# qos=0\n");
    let broker = ruled(&rules);
    let mut client = broker.client(V5).connect();
    client.send(Packet::Subscribe(Box::new(subscribe(1, &[("a/+", 2), ("b/+", 2)]))));
    client.expect_suback(1, &[Reason(1), Reason(0)]);
    client.publish(message("a/1", "x").qos(1));
    client.receive(message("a/1", "x").qos(1));
    for refused in [message("a/1", "x").qos(1).retain(), message("b/1", "x").qos(1)] {
        let id = client.unused_packet_id();
        client.send(refused.id(id));
        client.expect_ack(Kind::Puback, id, Reason::NOT_AUTHORIZED);
    }
    let id = client.unused_packet_id();
    client.send(message("a/1", "x").qos(2).id(id));
    client.expect_ack(Kind::Pubrec, id, Reason::NOT_AUTHORIZED);
    client.publish(message("a/1", "x").retain());
    client.publish(message("b/1", "x"));
    client.receive(message("b/1", "x"));
    client.expect_nothing();
    broker.client(V5).will(message("a/1", "x").qos(1)).connect();
    broker.client(V5).will(message("a/1", "x").qos(2)).refused(Reason::NOT_AUTHORIZED);
    broker.client(V5).will(message("a/1", "x").retain()).refused(Reason::NOT_AUTHORIZED);
}

/// Whoever has subscribed to what it may not any more is told, and has lost it when it comes back. Nobody else notices.
#[test]
fn a_revoke_takes_effect_on_live_connections() {
    let rules = Scratch::new("allow all #");
    let broker = ruled(&rules);
    for version in [V5, V3_1_1] {
        rules.set("allow all #");
        broker.auth().reload().unwrap();
        let id = unique("c");
        let mut reader = broker.client(version).id(&id).durable().connect();
        reader.subscribe("secret/x", 1);
        reader.subscribe("open/x", 1);
        let mut other = broker.client(version).connect();
        other.subscribe("open/x", 0);
        rules.set("allow all open/#\nallow publish #");
        broker.auth().reload().unwrap();
        if version == V5 {
            reader.expect_disconnect(Reason::NOT_AUTHORIZED);
        }
        reader.expect_closed();
        other.expect_nothing();
        let mut publisher = broker.client(version).connect();
        publisher.publish(message("secret/x", "no").qos(1));
        publisher.publish(message("open/x", "yes").qos(1));
        other.receive(message("open/x", "yes"));
        let mut reader = broker.client(version).id(&id).durable().connect();
        assert!(reader.session_present());
        reader.receive(message("open/x", "yes").qos(1));
        reader.expect_nothing();
    }
}

/// A Session that was away while the rules changed keeps nothing of what it may not have, also what had been queued before.
#[test]
fn a_revoke_reaches_those_who_are_away() {
    let rules = Scratch::new("allow all #");
    let broker = ruled(&rules);
    let id = unique("c");
    let mut reader = broker.client(V5).id(&id).durable().connect();
    reader.subscribe("a/#", 1);
    // What it was sent already would be sent again, whatever the rules say by then.
    reader.disconnect();
    let mut publisher = broker.client(V5).connect();
    publisher.publish(message("a/secret", "queued").qos(1));
    publisher.publish(message("a/open", "queued").qos(1));
    rules.set("deny subscribe a/secret\nallow all #");
    broker.auth().reload().unwrap();
    publisher.publish(message("a/secret", "later").qos(1));
    let mut reader = broker.client(V5).id(&id).durable().connect();
    reader.receive(message("a/open", "queued").qos(1));
    reader.expect_nothing();
}

#[test]
fn publishing_is_revoked_too_and_a_wrong_file_changes_nothing() {
    let rules = Scratch::new("allow all #");
    let broker = ruled(&rules);
    let mut client = broker.client(V5).connect();
    rules.set("allow all nothing/here\nalow all #");
    let said = broker.auth().reload().unwrap_err();
    assert!(said.contains("line 2: \"alow\" begins no rule"), "{said}");
    let mut publish = |reason| {
        let id = client.unused_packet_id();
        client.send(message("a", "x").qos(1).id(id));
        client.expect_ack(Kind::Puback, id, reason);
    };
    publish(Reason::NO_MATCHING_SUBSCRIBERS);
    rules.set("allow subscribe #");
    broker.auth().reload().unwrap();
    publish(Reason::NOT_AUTHORIZED);
}

#[test]
fn acl_test_says_which_line_decides() {
    let rules = Scratch::new("allow user ann publish a/# qos=1 retain=no\ndeny client c1 all b\nallow all b\n");
    let ask = |arguments: &[&str]| {
        let output = command().args(["acl", "test", &rules.path()]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr }).trim().to_owned();
        (output.status.code().unwrap_or(-1), said)
    };
    for (arguments, code, expected) in [
        (&["-u", "ann", "publish", "a/b"][..], 0, "allowed up to QoS 1, not retained by line 1: allow user ann"),
        (&["publish", "a/b"], 1, "mqttd: denied: no rule fits"),
        (&["-c", "c1", "subscribe", "b"], 1, "mqttd: denied by line 2: deny client c1"),
        (&["receive", "b"], 0, "allowed up to QoS 2 by line 3"),
        (&["publish", "a/#"], 2, "is no Topic Name"),
    ] {
        let (found, said) = ask(arguments);
        assert!(found == code && said.contains(expected), "{arguments:?} gave {found} {said}");
    }
}
