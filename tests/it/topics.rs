//! Which Topic Filter matches which Topic Name (5.0 section 4.7).

use mqttd_tests::*;

/// For every version: a client that subscribed to `filter` gets what is published to `topic`, or does not.
#[track_caller]
fn check(filter: &str, topic: &str, expected: bool) {
    for version in VERSIONS {
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(filter, 0);
        publisher.publish(message(topic, filter));
        if expected {
            subscriber.expect_publish(message(topic, filter));
        }
        subscriber.expect_nothing();
    }
}

/// `[MQTT-3.3.2-3]` `[v3:MQTT-3.3.2-3]` `[MQTT-4.7.1-1]` `[MQTT-4.7.1-2]` `[v3:MQTT-4.7.1-2]` `[v3:MQTT-4.7.1-3]` `[v3:MQTT-3.8.3-2]`
#[test]
fn wildcards_match_levels() {
    let root = unique("t");
    for (filter, topic, expected) in [
        ("/#", "", true),
        ("/#", "/", true),
        ("/#", "/a/b/c", true),
        ("/a/#", "/a", true),
        ("/a/#", "/ab", false),
        ("/+", "", false),
        ("/+", "/", true),
        ("/+", "/a", true),
        ("/+", "/a/", false),
        ("/+/b", "//b", true),
        ("/+/+", "/a", false),
        ("/+/#", "", false),
        ("/+/#", "/a", true),
        ("/a/+/c", "/a/b/c", true),
        ("/a/+/c", "/a/b/b/c", false),
        ("/a/b", "/a/b/", false),
    ] {
        check(&format!("{root}{filter}"), &format!("{root}{topic}"), expected);
    }
}

/// `[MQTT-4.7.3-4]` `[v3:MQTT-4.7.3-4]` No normalisation: case, blanks, and ways to write the same letter stay apart.
#[test]
fn names_are_compared_as_they_are() {
    let root = unique("t");
    for (filter, topic, expected) in [
        ("/Accounts", "/ACCOUNTS", false),
        ("/a b", "/a b", true),
        ("/a", "/a ", false),
        ("/\u{C5}", "/A\u{30A}", false),
        ("/\u{FEFF}a", "/a", false),
        ("/\u{FEFF}a", "/\u{FEFF}a", true),
        ("/\u{1F600}", "/\u{1F600}", true),
        ("/./..", "/./..", true),
        ("/%2F", "//", false),
        ("/*", "/a", false),
        ("/$a", "/$a", true),
    ] {
        check(&format!("{root}{filter}"), &format!("{root}{topic}"), expected);
    }
}

/// A slash before or after makes another topic; an empty level is a level.
#[test]
fn empty_levels_are_levels() {
    let root = unique("t");
    for (filter, topic, expected) in [
        (format!("/{root}"), format!("/{root}"), true),
        (format!("/{root}"), root.clone(), false),
        (format!("{root}/"), root.clone(), false),
        (format!("+/{root}"), format!("/{root}"), true),
        (format!("{root}//"), format!("{root}//"), true),
        (format!("{root}//"), format!("{root}/"), false),
        (format!("{root}/+/+"), format!("{root}//"), true),
    ] {
        check(&filter, &topic, expected);
    }
}

/// `[MQTT-4.7.2-1]` `[v3:MQTT-4.7.2-1]` A leading wildcard never matches a Topic Name that begins with `$`.
#[test]
fn leading_wildcards_do_not_match_dollar_topics() {
    let broker = Broker::with(|config| config.protocol.sys_interval_s = 1);
    for version in VERSIONS {
        let (mut publisher, mut everything) = broker.pair(version);
        for filter in ["#", "+/#", "+/broker/uptime", "+/+/+"] {
            everything.subscribe(filter, 0);
        }
        let mut system = broker.client(version).connect();
        system.subscribe("$SYS/#", 0);
        system.next_publish();
        pass(&broker, 1);
        publisher.publish(message("other", "x").qos(1));
        loop {
            let came = everything.next_publish();
            assert!(!came.topic.starts_with('$'), "{} came to a leading wildcard", came.topic);
            if &came.topic[..] == "other" {
                break;
            }
        }
    }
}

/// `[MQTT-4.7.2-1]` `$SYS` is the broker's own: what a client publishes there reaches nobody.
#[test]
fn clients_cannot_publish_as_the_broker() {
    for version in VERSIONS {
        let topic = format!("$SYS/{}", unique("t"));
        let (mut publisher, mut subscriber) = pair(version);
        subscriber.subscribe(&topic, 0);
        publisher.send(message(&topic, "false"));
        subscriber.expect_nothing();
        let mut other = client(version).connect();
        subscriber.expect_nothing_from(&mut other);
    }
}

/// Section 4.7.2: the usual tree is there, retained, with values in them.
#[test]
fn the_broker_publishes_about_itself() {
    let broker = Broker::with(|config| config.protocol.sys_interval_s = 1);
    let mut client = broker.client(V5).connect();
    for topic in ["$SYS/broker/version", "$SYS/broker/uptime", "$SYS/broker/clients/connected", "$SYS/broker/messages/received"] {
        client.subscribe(topic, 0);
        let came = client.wait_for(topic, |packet| matches!(packet, Packet::Publish(publish) if publish.topic == topic));
        assert!(matches!(came, Packet::Publish(publish) if !publish.payload.is_empty()));
    }
}

/// A level named like an internal word is just a string.
#[test]
fn levels_with_strange_names_are_levels() {
    let root = unique("t");
    for level in ["$share", "$queue", "__proto__", "null", "..", " ", "\u{7F}", "{a}", "a:b", "\"", "\\", "*", "?", "[a]"] {
        check(&format!("{root}/{level}"), &format!("{root}/{level}"), true);
    }
}
