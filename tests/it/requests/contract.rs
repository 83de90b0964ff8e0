//! The plain contract: any Redis client is a worker, with the JSON of the seed.

use mcp_worker_sdk::wire::{decode, encode};
use mqttd_tests::*;
use serde_json::json;

use super::kit::*;

#[test]
fn a_worker_hears_the_json_of_the_seed_and_its_answer_comes_back() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    let asked = request("devices/7/get", "the payload", &replies, "data").user("a", "1").user("a", "2").user("traceparent", "00-1-2-00");
    client.ask(asked.with(|properties| properties.content_type = Some("text/x".into())));
    let heard = worker.next();
    let id = heard["correlation_id"].as_str().expect("a text").to_owned();
    assert!(id.len() == 36 && id.as_bytes()[14] == b'7', "a UUID of version 7: {id}");
    assert_eq!(heard["topic"], "devices/7/get");
    assert_eq!(decode(heard["payload_b64"].as_str().unwrap()).unwrap(), "the payload");
    assert_eq!(heard["response_topic"], replies.as_str());
    assert_eq!(heard["client_id"], client.id.as_str());
    assert_eq!(heard["content_type"], "text/x");
    assert_eq!(heard["user_properties"], json!([["a", "1"], ["a", "2"], ["traceparent", "00-1-2-00"]]));
    assert_eq!((&heard["qos"], &heard["attempt"], &heard["traceparent"]), (&json!(1), &json!(1), &json!("00-1-2-00")));
    assert!(heard["deadline_ms"].is_u64());
    let key = house.key(&format!("request:{id}"));
    let ttl: i64 = house.redis.query(&["TTL", &key]);
    assert!((300..=420).contains(&ttl), "{ttl}");

    worker.answer(&heard, "the answer");
    client.expect_publish(answer(&replies, "the answer", "data"));
    mqttd_tests::cluster::until("nothing is left of it", || {
        house.redis.query::<u64>(&["EXISTS", &key]) == 0 && house.redis.query::<u64>(&["ZCARD", &house.key("{mcp}:due")]) == 0
    });
}

/// The fields of the seed come first and in its order, without the blanks that Python's `json.dumps` makes: a worker that reads JSON finds what it
/// looks for. What Python makes of its answer, with blanks, is understood.
#[test]
fn the_fields_of_the_seed_come_first_and_its_answer_is_understood() {
    let Some(house) = house() else { return };
    let heard = listen_as(house.redis, &house.key("mcp:requests"), |bytes| String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8"));
    let (mut client, replies) = house.requester();
    client.ask(request("devices/7/get", "the payload", &replies, "data"));
    let text = heard.recv_timeout(PATIENCE).expect("a request on the channel");
    let id = text.split('"').nth(3).expect("the correlation id comes first");
    let seed =
        format!(r#"{{"correlation_id":"{id}","topic":"devices/7/get","payload_b64":"dGhlIHBheWxvYWQ=","response_topic":"{replies}","#);
    assert!(text.starts_with(&seed), "{text}");
    let said = format!(r#"{{"correlation_id": "{id}", "payload_b64": "dGhlIGFuc3dlcg=="}}"#);
    assert_eq!(house.redis.query::<u64>(&["PUBLISH", &house.key("mcp:responses"), &said]), 1, "a node listens");
    client.expect_publish(answer(&replies, "the answer", "data"));
}

#[test]
fn two_clients_with_the_same_correlation_data_never_meet() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let ((mut ann, ann_hears), (mut bob, bob_hears)) = (house.requester(), house.requester());
    ann.ask(request("t", "of ann", &ann_hears, "same"));
    bob.ask(request("t", "of bob", &bob_hears, "same"));
    let (first, second) = (worker.next(), worker.next());
    assert_ne!(first["correlation_id"], second["correlation_id"]);
    worker.answer(&second, "for bob");
    worker.answer(&first, "for ann");
    ann.expect_publish(answer(&ann_hears, "for ann", "same"));
    bob.expect_publish(answer(&bob_hears, "for bob", "same"));
    ann.expect_nothing();
    bob.expect_nothing();
}

#[test]
fn second_unknown_and_malformed_answers_change_nothing() {
    let Some(house) = house() else { return };
    let (mut worker, mut second) = (house.plain(), house.plain());
    let (mut client, replies) = house.requester();
    client.ask(request("t", "1", &replies, "d"));
    let heard = worker.next();
    assert_eq!(second.next(), heard, "every plain worker hears every request");
    for text in ["", "{", "[]", "null", "{\"correlation_id\":7}", "{\"payload_b64\":\"aGk=\"}", "{\"correlation_id\":\"nobody\"}"] {
        worker.say(text);
    }
    // [MQTT-1.5.4-2] A requester would have to end its connection for U+0000, and a text has at most 65,535 bytes.
    let rows = [
        json!({ "payload_b64": "no base64!" }),
        json!({ "payload": "x", "content_type": "a\u{0}b" }),
        json!({ "payload": "x", "user_properties": [["a", "b"], ["a\u{0}", "b"]] }),
        json!({ "payload": "x", "user_properties": [["a", "x".repeat(65_536)]] }),
    ];
    for row in rows {
        worker.answer_with(&heard, row);
    }
    worker.answer(&heard, "first");
    second.answer(&heard, "second");
    client.expect_publish(answer(&replies, "first", "d"));
    // What is behind them has been read, so they have.
    client.ask(request("t", "2", &replies, "e"));
    let heard = second.next();
    second.answer(&heard, "third");
    client.expect_publish(answer(&replies, "third", "e"));
    client.expect_nothing();
    assert_eq!(house.count(|metrics| &metrics.mcp_responses_malformed), 6 + 4);
    assert_eq!(house.count(|metrics| &metrics.mcp_responses_unknown), 1, "the second one");
    assert_eq!([house.count(|metrics| &metrics.mcp_requests), house.count(|metrics| &metrics.mcp_responses)], [2, 2]);
    assert_eq!(house.count(|metrics| &metrics.mcp_responses_repeated), 0);
}

/// However it ends, its payload is not kept: nobody has to read the stream for that.
#[test]
fn nothing_is_left_of_a_request_however_it_ends() {
    let Some(house) = house() else { return };
    let of = |what: &str, key: &str| house.redis.query::<u64>(&[what, &house.key(key)]);
    let is_left = || of("XLEN", "{mcp}:requests") + of("ZCARD", "{mcp}:due") > 0;
    let (mut client, replies) = house.requester();
    client.ask(request("t", "nobody is there", &replies, "d"));
    client.expect_publish(trouble(&replies, "no worker answers this topic", "no-worker", "d"));
    mqttd_tests::cluster::until("nothing is left without a worker", || !is_left());
    let mut responder = house.broker.client(V5).connect();
    responder.subscribe("theirs", 1);
    client.ask(request("theirs", "between clients", &replies, "d"));
    mqttd_tests::cluster::until("nothing is left between clients", || !is_left());
    let mut worker = house.plain();
    client.ask(request("t", "answered", &replies, "d"));
    worker.next(); // what was asked before it came is not heard
    client.ask(request("t", "late", &replies, "l").expiry(1));
    worker.next();
    client.ask(request("t", "taken back", &replies, "b"));
    let heard = worker.next();
    assert_eq!(house.redis.query::<u64>(&["XLEN", &house.key("{mcp}:requests")]), 3);
    client.ask(message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("b".into())));
    client.ask(message("t", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    client.expect_within(PATIENCE, trouble(&replies, "no answer in time", "timeout", "l"));
    worker.answer(&heard, "nobody wants it");
    mqttd_tests::cluster::until("nothing is left", || !is_left());
    client.ask(request("t", "answered", &replies, "d"));
    let heard = worker.next();
    worker.answer(&heard, "the answer");
    client.expect_publish(answer(&replies, "the answer", "d"));
    mqttd_tests::cluster::until("nothing is left of what was answered", || !is_left());
    assert_eq!(house.count(|metrics| &metrics.mcp_cancelled), 2);
}

/// Another node has ended a request, and this one did not hear of it: it looks, and the place is free long before the deadline.
#[test]
fn a_place_is_free_though_nobody_said_that_the_request_has_ended() {
    let Some(house) = house_with(|config| config.mcp.in_flight_per_client_max = 1) else { return };
    let worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "1", &replies, "d"));
    let id = worker.next()["correlation_id"].as_str().unwrap().to_owned();
    house.redis.query::<()>(&["DEL", &house.key(&format!("request:{id}"))]);
    mqttd_tests::cluster::until("the place is free", || {
        let id = client.unused_packet_id();
        client.send(request("t", "2", &replies, "d").id(id));
        match client.next_event() {
            mqttd_tests::client::Came::Packet(Packet::Acknowledge(ack)) => !ack.reason.is_error(),
            other => client.fail("PUBACK", &other),
        }
    });
    assert!(house.count(|metrics| &metrics.mcp_requests_refused) >= 1);
}

#[test]
fn an_answer_has_the_qos_of_the_request_and_properties_of_its_own() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    client.send(message("t", "x").with(|properties| properties.response_topic = Some(replies.clone().into())));
    let heard = worker.next();
    assert_eq!(heard["qos"], 0);
    worker.answer_with(&heard, json!({ "payload": "a text", "content_type": "text/y", "user_properties": [["k", "1"], ["k", "2"]] }));
    let expected = message(&replies, "a text").user("k", "1").user("k", "2");
    client.expect_publish(expected.with(|properties| properties.content_type = Some("text/y".into())));
}

#[test]
fn parts_come_before_the_end_and_a_request_may_end_without_a_word() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("t", "x", &replies, "d"));
    let heard = worker.next();
    for part in ["1", "2", "3"] {
        worker.answer_with(&heard, json!({ "payload_b64": encode(part.as_bytes()), "final": false }));
    }
    worker.answer(&heard, "end");
    worker.answer_with(&heard, json!({ "payload_b64": "", "final": false }));
    for payload in ["1", "2", "3", "end"] {
        client.expect_publish(answer(&replies, payload, "d"));
    }
    client.ask(request("t", "y", &replies, "d"));
    let heard = worker.next();
    worker.answer_with(&heard, json!({ "drop": true }));
    let key = house.key(&format!("request:{}", heard["correlation_id"].as_str().unwrap()));
    mqttd_tests::cluster::until("it has ended", || house.redis.query::<u64>(&["EXISTS", &key]) == 0);
    client.expect_nothing();
}

#[test]
fn requests_go_to_subscribers_too_unless_that_is_turned_off() {
    for route in [true, false] {
        let Some(house) = house_with(|config| config.mcp.route_to_subscribers = route) else { return };
        let worker = house.plain();
        let (mut client, replies) = house.requester();
        let mut subscriber = house.broker.client(V5).connect();
        subscriber.subscribe("t", 1);
        client.ask(request("t", "x", &replies, "d").user("k", "v"));
        worker.next();
        match route {
            true => drop(subscriber.expect_publish(request("t", "x", &replies, "d").user("k", "v"))),
            false => subscriber.expect_nothing(),
        }
    }
}

#[test]
fn other_topics_and_other_messages_are_no_requests() {
    let Some(house) = house_with(|config| config.mcp.request_filters = vec!["ask/#".to_owned()]) else { return };
    let worker = house.plain();
    let (mut client, replies) = house.requester();
    client.ask(request("other", "x", &replies, "d"));
    client.ask(message("ask/1", "without a Response Topic").qos(1));
    client.ask(request("ask/1", "x", &replies, "d"));
    assert_eq!(worker.next()["topic"], "ask/1");
    assert!(worker.hears_nothing());
    client.expect_nothing();
}

/// What keeps clients apart is what rules say: each hears its own answers only, and may answer for nobody else.
#[test]
fn rules_keep_others_from_requests_and_answers() {
    let rules = mqttd_tests::auth::Scratch::new("allow all replies/%c/#\ndeny all replies/#\ndeny subscribe ask/#\nallow publish ask/#\n");
    let Some(house) = house_with(|config| config.access.rules_file = Some(rules.path())) else { return };
    let mut worker = house.plain();
    let mut clients = ["ann", "bob"].map(|name| house.broker.client(V5).id(&unique(name)).connect());
    let replies: Vec<_> = clients.iter().map(|client| format!("replies/{}/1", client.id)).collect();
    for (client, own) in clients.iter_mut().zip(&replies) {
        client.subscribe(own, 1);
    }
    let [ann, bob] = &mut clients;
    let denied = Reason::NOT_AUTHORIZED;
    let filters = ["#", "ask/#", "$share/g/ask/#", "replies/#", "replies/+/1", &replies[0]].map(|filter| (filter, 1));
    bob.send(Packet::Subscribe(Box::new(subscribe(9, &filters))));
    bob.expect_suback(9, &[denied; 6]);
    // Bob asks for an answer to Ann, and answers in place of the worker, at any QoS.
    for (qos, id) in [(1, 10), (2, 11)] {
        bob.send(request("ask/x", "x", &replies[0], "d").qos(qos).id(id));
        bob.expect_ack(if qos == 1 { Kind::Puback } else { Kind::Pubrec }, id, denied);
    }
    bob.send(request("ask/x", "x", &replies[0], "d").qos(0));
    ann.ask(request("ask/x", "of ann", &replies[0], "d"));
    let heard = worker.next();
    assert_eq!(decode(heard["payload_b64"].as_str().unwrap()).unwrap(), "of ann", "nothing of Bob's went to workers");
    bob.send(answer(&replies[0], "forged", "d").id(12));
    bob.expect_ack(Kind::Puback, 12, denied);
    bob.send(answer(&replies[0], "forged", "d").qos(0));
    // Nor is it his to take back.
    bob.ask(message("ask/x", "").qos(1).user("mqttd-cancel", "1").with(|properties| properties.correlation_data = Some("d".into())));
    bob.expect_nothing();
    worker.answer(&heard, "true");
    ann.expect_publish(answer(&replies[0], "true", "d"));
    ann.expect_nothing();
    bob.expect_nothing();
}

/// The seed used Topic Names as channels: whoever published to `mqttd:mcp:responses` answered in the name of a worker.
#[test]
fn a_client_can_neither_read_a_request_nor_forge_an_answer() {
    let Some(house) = house() else { return };
    let mut worker = house.plain();
    let (mut client, replies) = house.requester();
    let mut thief = house.broker.client(V5).connect();
    for stem in ["mqttd", &house.prefix] {
        for name in ["mcp:requests", "mcp:responses", "{mcp}:requests", "mcp:node:x", "mcp:nodes"] {
            thief.subscribe(&format!("{stem}:{name}"), 1);
        }
    }
    thief.subscribe("$mqttd/#", 1);
    client.ask(request("a/secret", "x", &replies, "d"));
    let heard = worker.next();
    let forged = json!({ "correlation_id": heard["correlation_id"], "payload_b64": encode(b"forged") }).to_string();
    for name in ["mcp:responses", "{mcp}:responses"] {
        let topic = house.key(name);
        thief.send(message(&topic, &forged));
        thief.publish(message(&topic, &forged).qos(1));
    }
    client.expect_nothing();
    worker.answer(&heard, "true");
    client.expect_publish(answer(&replies, "true", "d"));
    client.expect_nothing();
    // It has its own messages only: what it published to a topic that it subscribes to.
    assert_eq!([thief.hear().payload, thief.hear().payload], [forged.as_str(); 2]);
    thief.expect_nothing();
}
