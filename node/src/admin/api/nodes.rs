//! `nodes`, `stats`, `metrics`, `limits`: how the cluster is; drain and rebalance.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::admin::questions::{Question, Said};
use crate::admin::reply::{Named, Reply};
use crate::admin::{Desk, Shared};

/// A node that has one in so many more than its share keeps them: moving costs each client a connection.
const TOLERATED: usize = 20;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/nodes", get(nodes))
        .route("/nodes/{id}", get(node))
        .route("/nodes/{id}/drain", post(drain).delete(call_off))
        .route("/rebalance", post(rebalance))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .route("/limits", get(limits))
}

/// Every node, and those that did not answer as not reachable.
pub(in crate::admin) async fn all_nodes(desk: &Arc<Desk>) -> Vec<Value> {
    let Said { mut answers, missing } = desk.ask_all(&Question::Node).await;
    answers.extend(missing.iter().map(|node| json!({ "node": node, "node_status": "unreachable", "ready": false })));
    answers.sort_by(|a, b| a["node"].as_str().cmp(&b["node"].as_str()));
    answers
}

async fn nodes(State(desk): Shared) -> Reply {
    let mut nodes = all_nodes(&desk).await;
    for node in nodes.iter_mut().filter_map(Value::as_object_mut) {
        node.remove("counters");
    }
    Ok(Json(json!({ "data": nodes })))
}

async fn node(State(desk): Shared, Named(id): Named<String>) -> Reply {
    ask(&desk, &id, &Question::Node).await
}

/// The node lets go of its clients and takes no more, until it ends or `DELETE` calls it off. It answers when it has begun.
async fn drain(State(desk): Shared, Named(id): Named<String>) -> Reply {
    ask(&desk, &id, &Question::Drain { off: false }).await
}

async fn call_off(State(desk): Shared, Named(id): Named<String>) -> Reply {
    ask(&desk, &id, &Question::Drain { off: true }).await
}

/// Nodes that have more than their share of the clients send the rest away, for a balancer to put where there is room. They are told so over the
/// time of a drain; it answers when that has begun.
async fn rebalance(State(desk): Shared) -> Reply {
    let nodes = all_nodes(&desk).await;
    let ready = nodes.iter().filter(|node| node["ready"] == true);
    let ready: Vec<_> = ready.filter_map(|node| Some((node["node"].as_str()?, node["connections"].as_u64()? as usize))).collect();
    let share = ready.iter().map(|(_, connections)| connections).sum::<usize>().div_ceil(ready.len().max(1));
    let unreachable = nodes.iter().filter(|node| node["node_status"] == "unreachable");
    let mut missing: Vec<_> = unreachable.filter_map(|node| node["node"].as_str()).collect();
    let mut data = Vec::new();
    for (node, connections) in ready {
        let mut sent_away = json!(0);
        if connections > share + share / TOLERATED {
            let Ok(begun) = desk.ask_node(node, &Question::MakeRoom { clients: connections - share }).await else {
                missing.push(node);
                continue;
            };
            sent_away = begun;
        }
        data.push(json!({ "node": node, "connections": connections, "sent_away": sent_away }));
    }
    Ok(Json(json!({ "data": data, "missing": missing })))
}

async fn ask(desk: &Arc<Desk>, id: &str, question: &Question) -> Reply {
    // Whoever talks to a node knows it without its name.
    let id = if id == "self" { &desk.settings.node } else { id };
    desk.ask_node(id, question).await.map(Json)
}

/// What each node says of the same thing, or of different moments: the highest holds.
const NOT_SUMMED: [&str; 2] = ["mcp_workers", "connections_highest"];

/// What all nodes have counted, together.
fn together(nodes: &[Value]) -> BTreeMap<&str, Value> {
    let mut counters: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, value) in nodes.iter().filter_map(|node| node["counters"].as_object()).flatten() {
        let so_far = counters.entry(name).or_insert_with(|| json!(0));
        *so_far = match (so_far.as_u64(), value.as_u64()) {
            (Some(so_far), Some(value)) if NOT_SUMMED.contains(&name.as_str()) => so_far.max(value).into(),
            (Some(so_far), Some(value)) => (so_far + value).into(),
            _ => (so_far.as_f64().unwrap_or_default() + value.as_f64().unwrap_or_default()).into(),
        };
    }
    counters
}

/// Of all Sessions, each counted once: those that end with their connection are known to the node that has it, all others to every node.
fn subscriptions(desk: &Desk, nodes: &[Value]) -> u64 {
    let live: u64 = nodes.iter().filter_map(|node| node["subscriptions_live"].as_u64()).sum();
    live + desk.broker.kinds_of_subscriptions().durable.iter().sum::<u64>()
}

/// Sums over all nodes, and what the Store says.
async fn stats(State(desk): Shared) -> Reply {
    let nodes = all_nodes(&desk).await;
    let sum = |field: &str| nodes.iter().filter_map(|node| node[field].as_u64()).sum::<u64>();
    let store = desk.broker.store().stats().await?;
    Ok(Json(json!({
        "connections.count": sum("connections"),
        "subscriptions.count": subscriptions(&desk, &nodes),
        "retained.count": store.retained,
        "mailbox.messages": sum("mailbox_messages"),
        "mailbox.bytes": sum("mailbox_bytes"),
        "clients.slow": sum("slow_clients"),
        "nodes.count": nodes.len(),
        "nodes.ready": nodes.iter().filter(|node| node["ready"] == true).count(),
        "missing": nodes.iter().filter(|node| node["node_status"] == "unreachable").map(|node| &node["node"]).collect::<Vec<_>>(),
    })))
}

/// The seed's names, for the whole cluster; and all counters of all nodes together under `counters`.
async fn metrics(State(desk): Shared) -> Reply {
    let (nodes, addresses) = tokio::join!(desk.ask_all(&Question::Node), desk.ask_all(&Question::Addresses));
    let counters = together(&nodes.answers);
    let mut per_ip: BTreeMap<&str, u64> = BTreeMap::new();
    for (address, connections) in addresses.answers.iter().filter_map(Value::as_object).flatten() {
        *per_ip.entry(address).or_default() += connections.as_u64().unwrap_or_default();
    }
    let count = |name: &str| counters.get(name).and_then(Value::as_u64).unwrap_or_default();
    let store = desk.broker.store().stats().await?;
    Ok(Json(json!({
        "total_connections": count("connections_total"),
        "current_connections": count("connections"),
        "total_messages_published": count("publishes_sent"),
        "total_messages_received": count("publishes_received"),
        "total_subscriptions": count("subscribes"),
        "total_unsubscriptions": count("unsubscribes"),
        "retained_messages_count": store.retained,
        "active_subscriptions_count": subscriptions(&desk, &nodes.answers),
        "connections_per_ip": per_ip,
        "counters": counters,
        "missing": nodes.missing,
    })))
}

/// What is announced to clients or held against them; 0 connections are no limit.
async fn limits(State(desk): Shared) -> Reply {
    let (settings, limits) = (&desk.broker.settings, desk.settings.limits);
    Ok(Json(json!({
        "connections_max": desk.settings.connections_max,
        "packet_bytes_max": settings.packet_bytes_max,
        "receive_maximum": settings.receive_maximum,
        "inflight_max": settings.in_flight_max,
        "maximum_qos": settings.maximum_qos as u8,
        "topic_alias_maximum": settings.topic_alias_maximum,
        "subscriptions_per_client_max": limits.subscriptions_per_client_max,
        "mailbox_messages_max": limits.mailbox_messages_max,
        "queue_messages_max": limits.messages_max,
    })))
}
