//! A node that is a part of another program: the functions that it asks, and what the program can ask of it (FEATURES.md section 6).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mqttd::{Client as Who, Handle, Json, Message as Said, Node, Params, Password, Payload, Properties, State, SubscriptionOptions, Topic};
use mqttd_tests::*;
use tokio::sync::Notify;

/// Runs a future that a test waits for.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts").block_on(future)
}

#[test]
fn on_connect_lets_in_or_refuses_with_a_reason_code() {
    async fn admit(who: Who, Password(password): Password) -> Result<(), Reason> {
        match (who.user(), password.as_deref()) {
            (Some("ann"), Some(b"pencil")) => Ok(()),
            (Some("banned"), _) => Err(Reason::BANNED),
            // CONNACK cannot say this: a Client must not be sent what it may not expect.
            (Some("odd"), _) => Err(Reason::PACKET_IDENTIFIER_IN_USE),
            _ => Err(Reason::NOT_AUTHORIZED),
        }
    }
    let (broker, _) = Broker::embed(Node::builder().on_connect(admit));
    for version in VERSIONS {
        broker.client(version).user("ann", "pencil").connect().expect_nothing();
        broker.client(version).user("ann", "pen").refused(Reason::NOT_AUTHORIZED);
        broker.client(version).refused(Reason::NOT_AUTHORIZED);
    }
    broker.client(V5).user("banned", "x").refused(Reason::BANNED);
    broker.client(V5).user("odd", "x").refused(Reason::IMPLEMENTATION_SPECIFIC_ERROR);
}

#[test]
fn on_subscribe_is_asked_for_each_filter_that_meets_the_pattern() {
    let (told, calls) = mpsc::channel();
    let note = move |who: Who, topic: Topic, params: Params, options: SubscriptionOptions| {
        let told = told.clone();
        async move {
            told.send((who.id().to_owned(), topic.to_string(), params["id"].to_owned(), options.qos)).unwrap();
            if params.get("id") == Some("secret") { Err(Reason::NOT_AUTHORIZED) } else { Ok(()) }
        }
    };
    let (broker, _) = Broker::embed(Node::builder().on_subscribe("sensors/{id}", note));
    let mut client = broker.client(V5).id("ann").connect();
    client
        .send(asking(1, &[("sensors/7", 1), ("sensors/+", 0), ("#", 2), ("other/7", 0), ("sensors/secret", 0), ("$share/g/sensors/8", 0)]));
    let granted = [1, 0, 2, 0].map(Reason);
    client.expect_suback(1, &[&granted[..], &[Reason::NOT_AUTHORIZED, Reason(0)]].concat());
    let calls: Vec<_> = calls.try_iter().collect();
    let expected = [("sensors/7", "7", 1), ("sensors/+", "+", 0), ("#", "#", 2), ("sensors/secret", "secret", 0), ("sensors/8", "8", 0)];
    let expected = expected.map(|(topic, id, level)| ("ann".to_owned(), topic.to_owned(), id.to_owned(), qos(level)));
    assert_eq!(calls, expected);
    // In 3.1.1 every refusal is 0x80.
    let mut older = broker.client(V3_1_1).connect();
    older.send(asking(1, &[("sensors/secret", 0)]));
    older.expect_suback(1, &[Reason::UNSPECIFIED_ERROR]);
}

fn asking(id: u16, filters: &[(&str, u8)]) -> Packet {
    Packet::Subscribe(Box::new(subscribe(id, filters)))
}

fn qos(level: u8) -> QoS {
    QoS::from_bits(level).unwrap()
}

/// The payload comes after SUBACK, on a topic without wildcards, with a Packet Identifier of its own, for this subscriber alone.
#[test]
fn what_on_subscribe_returns_is_published_to_that_subscriber() {
    let builder = Node::builder()
        .on_subscribe("sensors/{id}", |params: Params| async move { format!("welcome to {}", &params["id"]) })
        .on_subscribe("news", || async { Ok::<_, Reason>(Some(Said::new("news/first", "hello")?.qos(QoS::ExactlyOnce))) });
    let (broker, handle) = Broker::embed(builder);
    for version in VERSIONS {
        for durable in [false, true] {
            let mut other = broker.client(version).connect();
            other.subscribe("sensors/+", 0);
            other.subscribe("+/first", 0);
            let connecting = broker.client(version);
            let mut client = if durable { connecting.durable().connect() } else { connecting.connect() };
            client.send(asking(1, &[("sensors/7", 1)]));
            client.expect_suback(1, &[Reason(1)]);
            let id = client.expect_publish(message("sensors/7", "welcome to 7").qos(1));
            client.send(puback(id));
            client.send(asking(2, &[("news", 2)]));
            client.expect_suback(2, &[Reason(2)]);
            let id = client.expect_publish(message("news/first", "hello").qos(2));
            client.send(pubrec(id));
            client.expect_pubrel(id);
            client.send(pubcomp(id));
            client.expect_nothing();
            other.expect_nothing();
        }
    }
    // With wildcards there is no topic for it.
    let mut client = broker.client(V5).connect();
    client.send(asking(1, &[("sensors/+", 0)]));
    client.expect_suback(1, &[Reason(0)]);
    client.expect_nothing();
    assert!(handle.metrics().hook_payloads_without_topic.load(Relaxed) > 0);
}

#[derive(serde::Deserialize)]
struct Reading {
    celsius: f64,
}

#[test]
fn on_publish_accepts_refuses_or_rewrites() {
    async fn judge(params: Params, Json(reading): Json<Reading>, message: Said) -> Result<Said, Reason> {
        match reading.celsius {
            celsius if celsius < -273.15 => Err(Reason::QUOTA_EXCEEDED),
            celsius if celsius > 50.0 => Said::new(&format!("alarm/{}", &params["id"]), message.payload).map_err(Reason::from),
            _ => Ok(message),
        }
    }
    let (broker, _) = Broker::embed(Node::builder().on_publish("sensors/{id}", judge));
    for version in VERSIONS {
        for level in [0, 1, 2] {
            let (mut publisher, mut subscriber) = broker.pair(version);
            subscriber.subscribe("sensors/#", 2);
            subscriber.subscribe("alarm/#", 2);
            let cold = r#"{"celsius":-300}"#;
            if level == 0 {
                publisher.publish(message("sensors/1", cold));
                publisher.publish(message("sensors/1", "no JSON"));
            } else {
                let kind = if level == 1 { Kind::Puback } else { Kind::Pubrec };
                let v5 = version == V5;
                for (id, payload, reason) in [(1, cold, Reason::QUOTA_EXCEEDED), (2, "no JSON", Reason::PAYLOAD_FORMAT_INVALID)] {
                    publisher.send(message("sensors/1", payload).qos(level).id(id));
                    publisher.expect_ack(kind, id, if v5 { reason } else { Reason::SUCCESS });
                    if !v5 && level == 2 {
                        publisher.send(pubrel(id));
                        publisher.expect_pubcomp(id);
                    }
                }
            }
            publisher.publish(message("sensors/2", r#"{"celsius":20}"#).qos(level));
            subscriber.receive(message("sensors/2", r#"{"celsius":20}"#).qos(level));
            publisher.publish(message("sensors/3", r#"{"celsius":70}"#).qos(level));
            subscriber.receive(message("alarm/3", r#"{"celsius":70}"#));
            publisher.publish(message("other", "x").qos(level));
            subscriber.expect_nothing();
        }
    }
}

/// A rewritten message must not open a door for the next one: the rules of the house are asked for the topic that the Client names.
#[test]
fn a_rewritten_topic_lends_nobody_its_rights() {
    let rewrite = |message: Said| async move { Said::new("secret/a", message.payload) };
    let builder = Node::builder().set("access.deny_publish", "secret/#").on_publish("open", rewrite);
    let (broker, _) = Broker::embed(builder);
    let (mut publisher, mut subscriber) = broker.pair(V5);
    subscriber.subscribe("secret/#", 0);
    let mut bytes = bytes::BytesMut::new();
    for (topic, id) in [("open", 1), ("secret/a", 2)] {
        Packet::from(message(topic, topic).qos(1).id(id)).encode(V5, &mut bytes);
    }
    publisher.send_bytes(&bytes);
    publisher.expect_puback(1);
    publisher.expect_ack(Kind::Puback, 2, Reason::NOT_AUTHORIZED);
    subscriber.expect_publish(message("secret/a", "open"));
    subscriber.expect_nothing();
}

/// Handlers that have to wait: order holds, what comes meanwhile is delivered, and an acknowledgement waits for the decision.
#[test]
fn a_handler_that_waits_keeps_the_order_of_its_client() {
    let (gate, told) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let opens = gate.clone();
    async fn hold(State(gate): State<Arc<Notify>>, State(told): State<Arc<AtomicUsize>>) {
        told.fetch_add(1, Relaxed);
        gate.notified().await;
    }
    let (broker, _) = Broker::embed(Node::builder().state(gate).state(told.clone()).on_publish("slow", hold));
    let (mut publisher, mut other) = broker.pair(V5);
    publisher.subscribe("to/publisher", 0);
    other.subscribe("#", 0);
    let mut bytes = bytes::BytesMut::new();
    for (topic, id) in [("first", 1), ("slow", 2), ("last", 3)] {
        Packet::from(message(topic, topic).qos(1).id(id)).encode(V5, &mut bytes);
    }
    publisher.send_bytes(&bytes);
    // What came before is not held up.
    publisher.expect_puback(1);
    other.expect_publish(message("first", "first"));
    // Its own deliveries go on.
    other.publish(message("to/publisher", "x"));
    publisher.expect_publish(message("to/publisher", "x"));
    other.expect_publish(message("to/publisher", "x"));
    other.expect_nothing();
    opens.notify_one();
    publisher.expect_puback(2);
    publisher.expect_puback(3);
    other.expect_publish(message("slow", "slow"));
    other.expect_publish(message("last", "last"));
    assert_eq!(told.load(Relaxed), 1);
}

/// It hangs, and its Client asks for nothing meanwhile: no Keep Alive ends it, the deadline does.
#[test]
fn a_handler_that_hangs_is_given_up() {
    let builder = Node::builder().deadline(Duration::from_millis(200)).on_publish("hang", std::future::pending::<()>);
    let builder = builder.on_subscribe("hang", std::future::pending::<()>).on_deliver("hung", std::future::pending::<()>);
    let (broker, handle) = Broker::embed(builder);
    let (mut publisher, mut other) = broker.pair(V5);
    other.subscribe("hung", 1);
    publisher.send(message("hang", "x").qos(1).id(1));
    publisher.send(message("fine", "x").qos(1).id(2));
    publisher.expect_ack(Kind::Puback, 1, Reason::IMPLEMENTATION_SPECIFIC_ERROR);
    publisher.expect_ack(Kind::Puback, 2, Reason::NO_MATCHING_SUBSCRIBERS);
    publisher.send(asking(3, &[("a", 0), ("hang", 0), ("b", 0)]));
    let refused = Reason::IMPLEMENTATION_SPECIFIC_ERROR;
    publisher.expect_suback(3, &[Reason(0), refused, refused]);
    publisher.publish(message("hung", "x").qos(1));
    other.expect_nothing();
    assert_eq!(handle.metrics().hook_timeouts.load(Relaxed), 3);
}

#[test]
fn a_panic_ends_that_packet_only() {
    async fn fail(payload: Payload) {
        assert_ne!(&payload[..], b"boom", "a test of what a panic does");
    }
    async fn fall() {
        panic!("the same");
    }
    let builder = Node::builder().on_publish("p", fail).on_deliver("d", fail).on_subscribe("s", fall).on_disconnect(fall);
    let (broker, handle) = Broker::embed(builder);
    let (mut publisher, mut other) = broker.pair(V5);
    other.subscribe("p", 0);
    other.subscribe("d", 0);
    publisher.send(message("p", "boom").qos(1).id(1));
    publisher.expect_ack(Kind::Puback, 1, Reason::IMPLEMENTATION_SPECIFIC_ERROR);
    publisher.publish(message("p", "fine").qos(1));
    other.expect_publish(message("p", "fine"));
    publisher.publish(message("d", "boom").qos(1));
    publisher.publish(message("d", "fine").qos(1));
    other.expect_publish(message("d", "fine"));
    publisher.send(asking(2, &[("s", 0), ("t", 0)]));
    publisher.expect_suback(2, &[Reason::IMPLEMENTATION_SPECIFIC_ERROR, Reason(0)]);
    // 3.1.1 has no word for it, and PUBACK would be a promise.
    let mut older = broker.client(V3_1_1).connect();
    older.send(message("p", "boom").qos(1).id(1));
    older.expect_closed();
    publisher.disconnect();
    let mut last = broker.client(V5).connect();
    last.publish(message("p", "fine").qos(1));
    other.expect_publish(message("p", "fine"));
    assert!(handle.metrics().hook_panics.load(Relaxed) >= 4);
}

#[test]
fn on_deliver_withholds_and_rewrites_for_one_subscriber() {
    async fn screen(who: Who, message: Said) -> Result<Said, Reason> {
        tokio::task::yield_now().await; // It has to be waited for.
        match who.id() {
            "blind" => Err(Reason::NOT_AUTHORIZED),
            id => Ok(Said { payload: [&message.payload[..], b" for ", id.as_bytes()].concat().into(), ..message }),
        }
    }
    let (broker, _) = Broker::embed(Node::builder().on_deliver("d/#", screen));
    for durable in [false, true] {
        let connect = |id: &str| {
            let connecting = broker.client(V5).id(id);
            if durable { connecting.durable().connect() } else { connecting.connect() }
        };
        let (mut ann, mut blind, mut publisher) = (connect("ann"), connect("blind"), connect("publisher"));
        publisher.publish(message("d/retained", "kept").retain().qos(1));
        for client in [&mut ann, &mut blind] {
            client.subscribe("#", 1);
        }
        ann.receive(message("d/retained", "kept for ann").retain().qos(1));
        for level in [0, 1] {
            publisher.publish(message("d/x", "one").qos(level));
            publisher.publish(message("d/x", "two").qos(level));
            publisher.publish(message("e", "same").qos(level));
            ann.receive(message("d/x", "one for ann").qos(level));
            ann.receive(message("d/x", "two for ann").qos(level));
            ann.receive(message("e", "same").qos(level));
            blind.receive(message("e", "same").qos(level));
            blind.expect_nothing();
        }
        publisher.publish(message("d/retained", "").retain());
    }
}

#[test]
fn on_disconnect_is_told_why() {
    let (told, reasons) = mpsc::channel();
    let note = move |who: Who, reason: Reason| {
        let told = told.clone();
        async move { told.send((who.id().to_owned(), reason)).unwrap() }
    };
    let (broker, handle) = Broker::embed(Node::builder().on_disconnect(note));
    let next = || reasons.recv_timeout(client::DEADLINE).unwrap();
    broker.client(V5).id("a").connect().disconnect();
    assert_eq!(next(), ("a".into(), Reason::SUCCESS));
    broker.client(V5).id("b").connect().cut();
    assert_eq!(next(), ("b".into(), Reason::UNSPECIFIED_ERROR));
    let mut kicked = broker.client(V5).id("c").connect();
    assert_eq!(wait(handle.kick("c")), Ok(true));
    kicked.expect_disconnect(Reason::ADMINISTRATIVE_ACTION);
    assert_eq!(next(), ("c".into(), Reason::ADMINISTRATIVE_ACTION));
    assert_eq!(wait(handle.kick("nobody")), Ok(false));
}

#[test]
fn a_handle_publishes_to_all_and_to_one() {
    let (broker, handle) = Broker::embed(Node::builder());
    let mut client = broker.client(V5).id("ann").connect();
    client.subscribe("t", 2);
    for level in [0, 1, 2] {
        wait(handle.publish(Said::new("t", "for all").unwrap().qos(qos(level)))).unwrap();
        client.receive(message("t", "for all").qos(level));
        wait(handle.publish_to_client("ann", Said::new("not/subscribed", "for one").unwrap().qos(qos(level)))).unwrap();
        client.receive(message("not/subscribed", "for one").qos(level));
    }
    assert!(wait(handle.publish_to_client("nobody", Said::new("t", "x").unwrap().qos(QoS::AtLeastOnce))).unwrap_err().is_absent());
    // A Session that is away: what is above QoS 0 waits for it.
    broker.client(V5).id("bob").durable().connect().disconnect();
    assert!(wait(handle.publish_to_client("bob", Said::new("t", "now").unwrap())).unwrap_err().is_absent());
    wait(handle.publish_to_client("bob", Said::new("t", "later").unwrap().qos(QoS::AtLeastOnce))).unwrap();
    broker.client(V5).id("bob").resume().connect().receive(message("t", "later").qos(1));
}

/// From within a handler, and with properties that handlers see.
#[test]
fn a_handler_may_publish_itself() {
    static HANDLE: std::sync::OnceLock<Handle> = std::sync::OnceLock::new();
    async fn echo(who: Who, payload: Payload, properties: Properties) -> Result<(), Reason> {
        let topic = properties.response_topic.as_deref().ok_or(Reason::TOPIC_NAME_INVALID)?;
        let reply = Said::new(topic, payload.0.clone())?;
        let handle = HANDLE.get().unwrap();
        handle.publish_to_client(who.id(), reply).await.map_err(|error| error.reason())
    }
    let (broker, handle) = Broker::embed(Node::builder().on_publish("echo", echo));
    HANDLE.set(handle).unwrap();
    let mut client = broker.client(V5).connect();
    client.send(message("echo", "hi").qos(1).id(1).with(|properties| properties.response_topic = Some("back".into())));
    let mut came = [client.next_event(), client.next_event()].map(|came| match came {
        client::Came::Packet(Packet::Publish(publish)) => publish.topic.to_string(),
        client::Came::Packet(Packet::Acknowledge(_)) => "acknowledged".into(),
        other => panic!("{other:?}"),
    });
    came.sort();
    assert_eq!(came, ["acknowledged", "back"]);
}

/// A program that publishes as fast as it can to somebody who does not read: it is held back, and memory stays bounded.
#[test]
fn a_flood_from_the_program_is_bounded() {
    let (broker, handle) = Broker::embed(Node::builder().set("limits.mailbox_messages_max", "1000"));
    let mut slow = broker.client(V5).connect();
    slow.subscribe("flood", 0);
    let payload = vec![0u8; 16 * 1024];
    wait(async {
        for _ in 0..3000 {
            handle.publish(Said::new("flood", payload.clone()).unwrap()).await.unwrap();
        }
    });
    assert!(handle.metrics().messages_dropped_slow.load(Relaxed) > 0, "what has no room is dropped and counted");
    let mut got = 0;
    while let client::Came::Packet(Packet::Publish(_)) = slow.came_within(Duration::from_millis(300)) {
        got += 1;
    }
    assert!((1..=2500).contains(&got), "{got} of 3000");
}

#[test]
fn what_is_wrong_with_a_builder_is_said_at_once() {
    async fn needs(_: State<u64>) {}
    let builder =
        Node::builder().on_publish("a/{b", || async {}).on_subscribe("x", needs).set("limits.conections_max", "1").set("listen", "udp://x");
    let error = wait(builder.bind()).err().unwrap().to_string();
    for expected in ["a/{b", "on_subscribe(\"x\"): it takes State<u64>", "did you mean limits.connections_max?", "udp://x"] {
        assert!(error.contains(expected), "{expected} in\n{error}");
    }
}

#[test]
fn health_and_shutdown() {
    let (broker, handle) = Broker::embed(Node::builder().set("limits.connections_max", "7"));
    let mut client = broker.client(V5).connect();
    let health = handle.health();
    assert_eq!((health.status, health.running, health.connections, health.max_connections), ("healthy", true, 1, Some(7)));
    assert!(!health.redis_connected && health.errors.is_empty());
    assert!(wait(handle.shutdown(Duration::from_secs(5))));
    client.expect_disconnect(Reason::SERVER_SHUTTING_DOWN);
    assert!(!handle.health().running);
}
