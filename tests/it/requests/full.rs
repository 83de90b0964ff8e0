//! Redis has no room for a while: what was acknowledged is answered when it has.

use mcp_worker_sdk::{Delivery, Request};
use mqttd::node::Node;
use mqttd_tests::cluster::until;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;

use super::kit::*;

/// Its memory in use is so much of its bound that nodes put nothing new there; it still takes what others write.
fn fill(redis: &Redis) {
    let info: String = redis.query(&["INFO", "memory"]);
    let used: u64 = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it says so").trim().parse().unwrap();
    redis.query::<()>(&["CONFIG", "SET", "maxmemory", &(used * 100 / 96).to_string()]);
}

/// A requester that is away gets nothing while its queue has no room: neither the answer nor a word that there is none is lost by that. What is
/// asked meanwhile is refused, and nobody works on it.
#[test]
fn what_a_full_redis_refuses_comes_when_there_is_room() {
    for lane in [Delivery::Stream, Delivery::Channel] {
        let Some(redis) = Redis::with(&["--maxmemory-policy", "noeviction"]) else { return };
        let (go, gone) = tokio::sync::watch::channel(false);
        let builder = Node::builder().set("store.url", redis.url()).set("store.prefix", "mqttd").on_request("here", move |_: Request| {
            let mut gone = gone.clone();
            async move {
                gone.wait_for(|gone| *gone).await.unwrap();
                "from here"
            }
        });
        let (broker, _handle) = Broker::embed(builder);
        let mut worker = Plain::listen(&redis, "mqttd").by(lane);
        let connecting = broker.client(V5).id("away").durable();
        let mut client = connecting.connect();
        client.subscribe("replies", 1);
        client.ask(request("t", "1", "replies", "answered"));
        client.ask(request("here", "", "replies", "here"));
        client.ask(request("t", "2", "replies", "late").expiry(4));
        client.cut();
        let (first, _) = (worker.next(), worker.next());
        let mut other = broker.client(V5).connect();
        other.subscribe("others", 1);
        fill(&redis);
        until("the node knows", || {
            let id = other.unused_packet_id();
            other.send(request("t", "refused", "others", "d").id(id));
            match other.next_event() {
                client::Came::Packet(Packet::Acknowledge(ack)) if ack.reason.is_error() => ack.reason == Reason::QUOTA_EXCEEDED,
                client::Came::Packet(Packet::Acknowledge(_)) => {
                    let heard = worker.next();
                    worker.answer_with(&heard, serde_json::json!({ "drop": true }));
                    false
                }
                came => other.fail("PUBACK", &came),
            }
        });
        // At QoS 0 nobody would hear of a refusal.
        other.send(request("t", "refused", "others", "e").qos(0));
        other.expect_publish(trouble("others", "the request could not be answered", "unavailable", "e").qos(0));
        worker.answer(&first, "the answer");
        go.send_replace(true);
        let refused = || broker.metrics().messages_dropped_queue_full.load(std::sync::atomic::Ordering::Relaxed);
        until("three messages were refused", || refused() >= 3);
        redis.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]);

        let mut client = connecting.connect();
        let came: std::collections::BTreeMap<_, _> = (0..3)
            .map(|_| {
                let came = client.hear();
                let properties = came.properties.unwrap();
                let error = properties.user_properties.first().map(|(_, value)| value.to_string());
                (properties.correlation_data.unwrap(), error.unwrap_or_else(|| String::from_utf8(came.payload.to_vec()).unwrap()))
            })
            .collect();
        assert_eq!((&*came[&b"here"[..]], &*came[&b"late"[..]]), ("from here", "timeout"), "{lane:?}");
        // On the channel the node that heard it has it in hand for as long as nobody else may answer.
        let may_be: &[&str] = if lane == Delivery::Stream { &["the answer"] } else { &["the answer", "unavailable"] };
        assert!(may_be.contains(&&*came[&b"answered"[..]]), "{lane:?}: {came:?}");
        client.expect_nothing();
        until("nothing is left of it", || redis.query::<u64>(&["ZCARD", "mqttd:{mcp}:due"]) == 0);
        // Nobody was told of what was refused.
        until("there is room", || {
            let id = other.unused_packet_id();
            other.send(request("t", "taken", "others", "d").id(id));
            match other.next_event() {
                client::Came::Packet(Packet::Acknowledge(ack)) => !ack.reason.is_error(),
                came => other.fail("PUBACK", &came),
            }
        });
        assert_eq!(worker.next()["payload_b64"], mcp_worker_sdk::wire::encode(b"taken"), "{lane:?}");
    }
}
