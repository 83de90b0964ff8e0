//! Traces for OpenTelemetry, as a collector gets them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use mqttd_tests::cluster::{Node, PATIENCE, until};
use mqttd_tests::*;
use serde_json::Value;

/// A collector: its address, and every span that comes.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1/traces", listener.local_addr().expect("an address"));
    let (told, spans) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || answer(stream, &told));
        }
    });
    (url, spans)
}

/// Reads one request after the other, as long as they are what OTLP says.
fn answer(stream: TcpStream, told: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            match line.trim() {
                "" => break,
                line => head.push(line.to_lowercase()),
            }
        }
        assert!(head[0].starts_with("post /v1/traces ") && head.contains(&"content-type: application/json".to_owned()), "{head:?}");
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let resource = &body["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "mqttd");
        resource["scopeSpans"][0]["spans"].as_array()?.iter().for_each(|span| drop(told.send(span.clone())));
        let mut stream = &stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}").ok()?;
    }
}

/// One trace of so many: of thirty turns about every tenth, whole or not at all.
#[test]
fn a_part_of_the_traces_is_enough() {
    let (url, spans) = collector();
    let mut node = Node::alone(&[("MQTTD_LOG__OTLP_URL", &url), ("MQTTD_LOG__OTLP_ONE_IN", "10")]);
    let mut publisher = node.client(V5).id("p").connect();
    publisher.subscribe("t", 1);
    for number in 0..30 {
        publisher.publish(message("t", number.to_string()).qos(1));
        publisher.receive(message("t", number.to_string()).qos(1));
    }
    publisher.disconnect();
    node.terminate();
    node.ended();
    let roots = spans.try_iter().filter(|span| span["parentSpanId"] == "").count();
    // A subscription, thirty messages and as many acknowledgements, each in a turn of its own at most, and the connection.
    assert!((3..=8).contains(&roots), "{roots} traces");
}

/// A collector that is away holds nothing up, and what is lost is counted; so is it told once, and again when it is there.
#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let away = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut node = Node::alone(&[("MQTTD_LOG__OTLP_URL", &format!("http://{away}/v1/traces")), ("MQTTD_LOG__OTLP_ONE_IN", "1")]);
    let mut client = node.client(V5).connect();
    client.subscribe("t", 1);
    until("spans are lost", || {
        client.publish(message("t", "x").qos(1));
        client.receive(message("t", "x").qos(1));
        node.metric("otlp_spans_lost_total") > 0
    });
    let told = node.said().iter().filter(|line| line.contains("traces cannot be sent")).count();
    assert_eq!(told, 1);
    client.disconnect();
    node.terminate();
    node.ended();
}

#[test]
fn spans_of_a_connection_and_of_a_turn_come_to_the_collector() {
    let (url, spans) = collector();
    let node = Node::alone(&[("MQTTD_LOG__OTLP_URL", &url), ("MQTTD_LOG__OTLP_ONE_IN", "1")]);
    let mut subscriber = node.client(V5).id("s").durable().connect();
    subscriber.subscribe("t", 1);
    let mut publisher = node.client(V5).id("p").connect();
    publisher.publish(message("t", "secret").qos(1));
    subscriber.receive(message("t", "secret").qos(1));
    publisher.disconnect();
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    // By their own identifiers, until all that belongs together is there.
    let named = |seen: &BTreeMap<String, Value>, name: &str| seen.values().find(|span| span["name"] == name).cloned();
    let write_of_p = loop {
        let span = spans.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing more comes after {seen:#?}"));
        seen.insert(span["spanId"].as_str().expect("an identifier").to_owned(), span);
        let is_of_p = |span: &Value| span["attributes"].to_string().contains("\"p\"");
        let parent = |span: &Value| seen.get(span["parentSpanId"].as_str().unwrap_or_default()).cloned();
        let write = seen.values().find(|span| span["name"] == "store.write" && parent(span).is_some_and(|turn| is_of_p(&turn))).cloned();
        if let (Some(write), Some(_)) = (write, named(&seen, "connection")) {
            break write;
        }
    };
    let turn = &seen[write_of_p["parentSpanId"].as_str().expect("a parent")];
    assert_eq!((&turn["name"], &turn["traceId"], &turn["parentSpanId"]), (&"turn".into(), &write_of_p["traceId"], &"".into()));
    let connection = named(&seen, "connection").expect("it ended");
    let connect = seen.values().find(|span| span["parentSpanId"] == connection["spanId"]).expect("its CONNECT came before it");
    assert_eq!((&connect["name"], &connect["traceId"]), (&"connect".into(), &connection["traceId"]));
    let nanos = |span: &Value, field: &str| span[field].as_str().and_then(|text| text.parse::<u128>().ok()).expect("nanoseconds");
    assert!(seen.values().all(|span| nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano")));
    assert!(!format!("{seen:?}").contains("secret"), "no payload leaves the broker");
}
