//! What the broker says of itself under `$SYS` (5.0 section 4.7.2), every second in these dialogues.

use mqttd_tests::*;

fn every_second() -> Broker {
    Broker::with(|config| config.protocol.sys_interval_s = 1)
}

/// Waits until the broker says this.
#[track_caller]
fn expect_said(client: &mut Client, name: &str, text: &str) {
    let topic = format!("$SYS/broker/{name}");
    let is_it = |packet: &Packet| matches!(packet, Packet::Publish(publish) if publish.topic == topic && publish.payload == text);
    client.wait_for(&format!("{topic} {text}"), is_it);
}

fn number(payload: &[u8]) -> f64 {
    std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok()).expect("a number")
}

#[test]
fn the_numbers_are_right() {
    let broker = every_second();
    broker.client(V5).id("away").durable().connect().disconnect();
    let (mut publisher, mut subscriber) = broker.pair(V5);
    subscriber.subscribe("a/+", 1);
    subscriber.subscribe("$share/g/b", 1);
    subscriber.subscribe("c", 0);
    for payload in ["one", "two", "three"] {
        publisher.publish(message("a/b", payload).qos(1));
        subscriber.receive(message("a/b", payload).qos(1));
    }
    publisher.publish(message("c", "four"));
    subscriber.receive(message("c", "four"));
    let mut watcher = broker.client(V5).connect();
    watcher.subscribe("$SYS/broker/#", 0);
    for (name, text) in [
        ("version", concat!("mqttd version ", env!("CARGO_PKG_VERSION"))),
        ("clients/connected", "3"),
        ("clients/disconnected", "1"),
        ("clients/total", "4"),
        ("publish/messages/received", "4"),
        ("publish/bytes/received", "15"),
        ("subscriptions/count", "3"),
        ("shared_subscriptions/count", "1"),
        ("publish/messages/dropped", "0"),
        ("clients/active", "3"),
        ("clients/inactive", "1"),
        ("clients/expired", "0"),
        ("messages/inflight", "0"),
        ("messages/stored", "0"),
        ("retained messages/count", "0"),
        ("store/messages/count", "0"),
        ("store/messages/bytes", "0"),
    ] {
        expect_said(&mut watcher, name, text);
    }
    // What is told here is itself sent, and counted.
    let growing = ["heap/current", "heap/maximum", "bytes/received", "bytes/sent", "publish/bytes/sent", "publish/messages/sent"];
    for name in growing.into_iter().chain(["load/connections/1min", "load/publish/received/15min"]) {
        let topic = format!("$SYS/broker/{name}");
        watcher.subscribe(&topic, 0);
        let is_it =
            |packet: &Packet| matches!(packet, Packet::Publish(publish) if publish.topic == topic && number(&publish.payload) > 0.0);
        watcher.wait_for(&format!("{topic}, above zero"), is_it);
    }
    drop(publisher);
    subscriber.unsubscribe("$share/g/b");
    expect_said(&mut watcher, "clients/connected", "2");
    expect_said(&mut watcher, "shared_subscriptions/count", "0");
    expect_said(&mut watcher, "clients/maximum", "3");
}

/// A refused CONNECT and the last packets of a connection are counted like all others.
#[test]
fn every_packet_is_counted() {
    let broker = every_second();
    broker.client(V3_1_1).id("").with(|connect| connect.clean_start = false).refused(Reason::CLIENT_IDENTIFIER_NOT_VALID);
    let mut gone = broker.client(V3_1_1).connect();
    gone.fence();
    gone.disconnect();
    let mut watcher = broker.client(V3_1_1).connect();
    watcher.subscribe("$SYS/broker/messages/received", 0);
    // CONNECT; CONNECT, PINGREQ, PINGREQ, DISCONNECT; CONNECT, SUBSCRIBE.
    expect_said(&mut watcher, "messages/received", "7");
}

/// A subscription gets all there is to say, then only what has changed.
#[test]
fn what_has_not_changed_is_not_said_again() {
    let broker = every_second();
    let mut watcher = broker.client(V5).connect();
    watcher.subscribe("$SYS/broker/uptime", 0);
    watcher.next_publish(); // the version stands before it in the tree
    watcher.subscribe("$SYS/broker/version", 0);
    let version = message("$SYS/broker/version", concat!("mqttd version ", env!("CARGO_PKG_VERSION"))).retain();
    watcher.wait_for("the version, retained", |packet| *packet == version.clone().into());
    for _ in 0..3 {
        assert_eq!(&watcher.next_publish().topic[..], "$SYS/broker/uptime");
    }
}

/// `$SYS/#` matches `$SYS`, so that is the broker's own too; `$SYSTEM` and other names with `$` are not.
#[test]
fn only_sys_is_the_brokers_own() {
    for version in VERSIONS {
        let broker = Broker::with(|config| config.protocol.sys_interval_s = 0);
        let (mut publisher, mut subscriber) = broker.pair(version);
        for filter in ["$SYS/#", "$SYSTEM/#", "$other"] {
            subscriber.subscribe(filter, 0);
        }
        for (topic, taken) in [("$SYS", false), ("$SYS/", false), ("$SYS/broker/version", false), ("$SYSTEM/x", true), ("$other", true)] {
            publisher.send(message(topic, "mine").retain());
            if taken {
                subscriber.expect_publish(message(topic, "mine"));
            } else {
                publisher.fence();
                subscriber.expect_nothing();
            }
        }
    }
}

/// A Will is no way in.
#[test]
fn no_will_speaks_as_the_broker() {
    for topic in ["$SYS", "$SYS/broker/version"] {
        client(V5).will(message(topic, "mine")).refused(Reason::TOPIC_NAME_INVALID);
    }
}
