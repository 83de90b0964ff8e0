//! What one node asks another, and what it answers: JSON both ways, for a cluster may have nodes of different versions for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::Desk;
use super::reply::{Problem, date};
use super::trace::Wanted;
use crate::broker::Broker;
use crate::broker::presence::Seen;
use crate::hook::request::Waiting;
use crate::metrics::Metrics;
use crate::packet::Version;
use crate::packet::connect::ClientId;
use crate::store::cluster::NodeId;
use crate::store::redis::cluster::Cluster;
use crate::subscription::Subscription;

/// How often a node looks whether it is another member by now.
const MEMBERSHIP_LOOK: Duration = Duration::from_secs(1);

/// Addresses that are listed with their connections; more are not told apart.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Question {
    /// How is it?
    Node,
    /// The first so many of its clients, in the order of their identifiers, and how many there are.
    Clients {
        filter: Filter,
        reach: usize,
    },
    Client {
        id: String,
    },
    Kick {
        id: String,
    },
    Subscriptions {
        filter: Filter,
        reach: usize,
    },
    /// The first so many of its requests that wait for their answer, and how many there are.
    Requests {
        filter: Filter,
        reach: usize,
    },
    /// How many connections come from each address.
    Addresses,
    /// Let go of your clients, or do not.
    Drain {
        off: bool,
    },
    /// What has become of messages that concern these, since this was last asked? It begins to be noted with the first time.
    Trace {
        id: String,
        wanted: Wanted,
    },
}

/// What of a list is wanted. Everything that is named has to hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Filter {
    pub clientid: Option<String>,
    /// A part of it.
    pub like_clientid: Option<String>,
    pub username: Option<String>,
    pub like_username: Option<String>,
    pub ip_address: Option<IpAddr>,
    /// 3, 4 or 5.
    pub proto_ver: Option<u8>,
    /// Only those for which messages wait.
    pub slow: Option<bool>,
    /// Only of this node, by its configured name.
    pub node: Option<String>,
    /// A Topic Filter, exactly as it was subscribed to; of a request its Topic Name.
    pub topic: Option<String>,
    /// A Topic Name that it matches.
    pub match_topic: Option<String>,
}

/// Answers what other nodes ask, for as long as it is polled.
pub(super) async fn answer_others(desk: Arc<Desk>) {
    if !desk.broker.store().is_shared() {
        return;
    }
    let mut looks = tokio::time::interval(MEMBERSHIP_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(cluster) = desk.broker.store().cluster() else { continue };
        let answering = cluster.answer({
            let desk = desk.clone();
            move |question| answered(desk.clone(), question)
        });
        let is_member = || desk.broker.store().cluster().is_some_and(|now| now.node() == cluster.node());
        let until_it_parts = async {
            while is_member() {
                looks.tick().await;
            }
        };
        tokio::select! {
            () = answering => {}
            () = until_it_parts => {}
        }
    }
}

/// A question that this version does not know has no answer.
async fn answered(desk: Arc<Desk>, question: Vec<u8>) -> Vec<u8> {
    let answer = serde_json::from_slice(&question).map(|question| desk.answer(&question));
    answer.unwrap_or(Value::Null).to_string().into_bytes()
}

/// What all nodes said.
pub(super) struct Said {
    pub answers: Vec<Value>,
    /// Names of those who said nothing.
    pub missing: Vec<String>,
}

/// What became of a Client that was to be disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kicked {
    Told,
    /// No node has it.
    Absent,
    /// No node that answers has it; these did not answer.
    Unknown(Vec<String>),
}

/// Disconnects a Client with 0x98 Administrative action, on whatever node it is. Its Session stays, and it may come back.
pub async fn kick(broker: &Broker, id: &str) -> Kicked {
    if broker.kick_here(&ClientId::new(id)) {
        return Kicked::Told;
    }
    let Some(cluster) = broker.store().cluster() else { return Kicked::Absent };
    let said = cluster.ask(None, json!(Question::Kick { id: id.to_owned() }).to_string().as_bytes()).await;
    if said.answers.iter().any(|(_, answer)| understood(answer) == Some(Value::Bool(true))) {
        return Kicked::Told;
    }
    match said.missing.as_slice() {
        [] => Kicked::Absent,
        nodes => Kicked::Unknown(nodes.iter().map(|node| name_of(node).to_owned()).collect()),
    }
}

impl Desk {
    /// Asks every node, this one first.
    pub(super) async fn ask_all(&self, question: &Question) -> Said {
        let mut answers = vec![self.answer(question)];
        let mut missing = Vec::new();
        if let Some(cluster) = self.broker.store().cluster() {
            let said = cluster.ask(None, json!(question).to_string().as_bytes()).await;
            answers.extend(said.answers.iter().filter_map(|(_, answer)| understood(answer)));
            missing.extend(said.missing.iter().map(|node| name_of(node).to_owned()));
        }
        Said { answers, missing }
    }

    /// Asks the node of this name.
    pub(super) async fn ask_node(&self, name: &str, question: &Question) -> Result<Value, Problem> {
        if name == self.settings.node {
            return Ok(self.answer(question));
        }
        let cluster = self.broker.store().cluster();
        let is_it = |cluster: &Cluster| cluster.live().into_iter().find(|node| name_of(node) == name && node != cluster.node());
        let Some((cluster, node)) = cluster.and_then(|cluster| is_it(&cluster).map(|node| (cluster, node))) else {
            return Err(Problem::not_found(format!("there is no node {name:?}; GET nodes lists them")));
        };
        let said = cluster.ask(Some(&node), json!(question).to_string().as_bytes()).await;
        let said = said.answers.first().and_then(|(_, answer)| understood(answer));
        said.ok_or_else(|| Problem::unavailable(format!("node {name:?} does not answer")))
    }

    pub(super) fn answer(&self, question: &Question) -> Value {
        match question {
            Question::Node => self.node(),
            Question::Clients { filter, reach } => self.clients(filter, *reach),
            Question::Client { id } => {
                let seen = self.broker.present_as(&ClientId::new(id));
                seen.map_or(Value::Null, |seen| self.client(&seen))
            }
            Question::Kick { id } => json!(self.broker.kick_here(&ClientId::new(id))),
            Question::Subscriptions { filter, reach } => self.subscriptions(filter, *reach),
            Question::Requests { filter, reach } => self.requests(filter, *reach),
            Question::Addresses => {
                let mut addresses: BTreeMap<String, u64> = BTreeMap::new();
                for seen in self.broker.present() {
                    let address = seen.presence.client.peer.address.ip().to_canonical().to_string();
                    if addresses.len() < ADDRESSES_MAX || addresses.contains_key(&address) {
                        *addresses.entry(address).or_default() += 1;
                    }
                }
                json!(addresses)
            }
            Question::Drain { off: true } => {
                self.broker.call_off_drain();
                self.node()
            }
            Question::Drain { off: false } => {
                // Begun when it is answered: whoever calls it off next comes after it.
                if self.broker.begin_drain() {
                    let broker = self.broker.clone();
                    tokio::spawn(async move { broker.drain().await });
                }
                self.node()
            }
            Question::Trace { id, wanted } => self.noted(id, wanted),
        }
    }

    fn node(&self) -> Value {
        let broker = &self.broker;
        let (metrics, now) = (&broker.metrics, broker.clock.now());
        let (cluster, health) = (broker.store().cluster(), broker.health());
        let (mut messages, mut bytes, mut slow, mut subscriptions, mut live) = (0, 0, 0, 0, 0);
        for seen in broker.present() {
            messages += seen.mailbox_messages;
            bytes += seen.mailbox_bytes;
            slow += usize::from(is_slow(&seen));
            subscriptions += seen.subscriptions;
            live += if seen.durable { 0 } else { seen.subscriptions };
        }
        let faults: Vec<String> =
            self.checks().iter().filter_map(|check| Some(format!("{}: {}", check.name, check.fault.as_ref()?))).collect();
        json!({
            "node": self.settings.node,
            "incarnation": cluster.as_ref().map(|cluster| cluster.node().as_str()),
            "node_status": broker.life.stage().name(),
            "ready": faults.is_empty(),
            "errors": faults,
            "version": env!("CARGO_PKG_VERSION"),
            "store": broker.store().kind(),
            "store_reachable": health.store.is_reachable(),
            "uptime": now.since(self.started).0,
            "started_at": date(self.started),
            "connections": metrics.connections.load(Relaxed),
            "max_connections": (self.settings.connections_max > 0).then_some(self.settings.connections_max),
            "subscriptions": subscriptions,
            "subscriptions_live": live,
            "mailbox_messages": messages,
            "mailbox_bytes": bytes,
            "slow_clients": slow,
            "counters": counters(metrics),
        })
    }

    fn clients(&self, filter: &Filter, reach: usize) -> Value {
        if !filter.wants_node(&self.settings.node) {
            return json!({ "count": 0, "data": [] });
        }
        let mut found: Vec<Seen> = self.broker.present().into_iter().filter(|seen| filter.wants(seen)).collect();
        found.sort_by(|a, b| a.presence.client.id.cmp(&b.presence.client.id));
        let data: Vec<Value> = found.iter().take(reach).map(|seen| self.client(seen)).collect();
        json!({ "count": found.len(), "data": data })
    }

    fn client(&self, seen: &Seen) -> Value {
        let presence = &seen.presence;
        let (client, traffic) = (&presence.client, &presence.traffic);
        let (proto_name, proto_ver) = match client.version {
            Version::V3_1 => ("MQIsdp", 3),
            Version::V3_1_1 => ("MQTT", 4),
            Version::V5 => ("MQTT", 5),
        };
        json!({
            "clientid": client.id.as_str(),
            "username": client.user.as_deref(),
            "connected": true,
            "node": self.settings.node,
            "ip_address": client.peer.address.ip().to_canonical().to_string(),
            "port": client.peer.address.port(),
            "transport": client.peer.transport.scheme(),
            "certificate_name": client.peer.certificate_name.as_deref(),
            "proto_name": proto_name,
            "proto_ver": proto_ver,
            "keepalive": client.keep_alive_s,
            "clean_start": client.clean_start,
            "resumed": presence.resumed,
            "expiry_interval": presence.expiry.map(|expiry| expiry.0 / 1000),
            "has_will": presence.has_will,
            "connected_at": date(presence.connected_at),
            "subscriptions_cnt": seen.subscriptions,
            "mailbox_messages": seen.mailbox_messages,
            "mailbox_bytes": seen.mailbox_bytes,
            "outgoing_bytes": traffic.outgoing_bytes.load(Relaxed),
            "recv_msg": traffic.publishes_received.load(Relaxed),
            "recv_bytes": traffic.publish_bytes_received.load(Relaxed),
            "send_msg": traffic.publishes_sent.load(Relaxed),
            "send_bytes": traffic.publish_bytes_sent.load(Relaxed),
        })
    }

    fn subscriptions(&self, filter: &Filter, reach: usize) -> Value {
        if !filter.wants_node(&self.settings.node) {
            return json!({ "count": 0, "data": [] });
        }
        let mut found: Vec<(ClientId, String, Subscription)> = Vec::new();
        for (client_id, subscription) in self.broker.all_subscriptions() {
            let topic = subscription.selector.to_string();
            if filter.wants_subscription(&client_id, &topic, &subscription) {
                found.push((client_id, topic, subscription));
            }
        }
        found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let count = found.len();
        let data: Vec<Value> =
            found.into_iter().take(reach).map(|(client_id, _, subscription)| self.subscription(&client_id, &subscription)).collect();
        json!({ "count": count, "data": data })
    }

    fn requests(&self, filter: &Filter, reach: usize) -> Value {
        let Some(requests) = self.broker.requests.get().filter(|_| filter.wants_node(&self.settings.node)) else {
            return json!({ "count": 0, "data": [] });
        };
        let (count, first) = requests.waiting(&|one| filter.wants_request(&one.client_id, &one.topic), reach);
        let shown = |one: &Waiting| {
            json!({
                "id": *one.id,
                "clientid": one.client_id.as_str(),
                "topic": one.topic,
                "deadline": date(one.deadline),
                "answered_by": if one.is_here { "handler" } else { "worker" },
                "node": self.settings.node,
            })
        };
        json!({ "count": count, "data": first.iter().map(shown).collect::<Vec<_>>() })
    }

    pub(super) fn subscription(&self, client_id: &ClientId, subscription: &Subscription) -> Value {
        let options = &subscription.options;
        json!({
            "clientid": client_id.as_str(),
            "topic": subscription.selector.to_string(),
            "qos": options.qos as u8,
            "nl": u8::from(options.no_local),
            "rap": u8::from(options.retain_as_published),
            "subscription_id": subscription.id,
            "node": self.settings.node,
        })
    }
}

/// Something waits for it here, and the socket takes no more for the moment.
pub(super) fn is_slow(seen: &Seen) -> bool {
    seen.mailbox_messages > 0 && seen.presence.traffic.outgoing_bytes.load(Relaxed) > 0
}

/// Every counter by its name in the code; of what takes time how often it was, and how many seconds in all.
fn counters(metrics: &Metrics) -> Value {
    use crate::metrics::Value as Reading;
    let mut counters = serde_json::Map::new();
    for metric in metrics.all() {
        let field = metric.field;
        match metric.value {
            Reading::Counter(count) | Reading::Gauge(count) => drop(counters.insert(field.to_owned(), count.into())),
            Reading::Histogram(histogram) => {
                let seen = histogram.seen();
                counters.insert(format!("{field}_count"), seen.count.into());
                counters.insert(format!("{field}_sum"), seen.sum_s.into());
            }
        }
    }
    counters.into()
}

/// The configured name of an incarnation.
pub(super) fn name_of(node: &NodeId) -> &str {
    node.as_str().rsplit_once('.').map_or(node.as_str(), |(name, _)| name)
}

fn understood(answer: &[u8]) -> Option<Value> {
    serde_json::from_slice(answer).ok().filter(|answer: &Value| !answer.is_null())
}

impl Filter {
    fn wants_node(&self, node: &str) -> bool {
        self.node.as_deref().is_none_or(|wanted| wanted == node)
    }

    fn wants(&self, seen: &Seen) -> bool {
        let client = &seen.presence.client;
        let user = client.user.as_deref().unwrap_or_default();
        let version = match client.version {
            Version::V3_1 => 3,
            Version::V3_1_1 => 4,
            Version::V5 => 5,
        };
        self.clientid.as_deref().is_none_or(|wanted| wanted == client.id.as_str())
            && self.like_clientid.as_deref().is_none_or(|part| client.id.as_str().contains(part))
            && self.username.as_deref().is_none_or(|wanted| wanted == user)
            && self.like_username.as_deref().is_none_or(|part| user.contains(part))
            && self.ip_address.is_none_or(|wanted| wanted == client.peer.address.ip().to_canonical())
            && self.proto_ver.is_none_or(|wanted| wanted == version)
            && self.slow.is_none_or(|wanted| wanted == is_slow(seen))
    }

    fn wants_request(&self, client_id: &ClientId, topic: &str) -> bool {
        self.clientid.as_deref().is_none_or(|wanted| wanted == client_id.as_str())
            && self.like_clientid.as_deref().is_none_or(|part| client_id.as_str().contains(part))
            && self.topic.as_deref().is_none_or(|wanted| wanted == topic)
    }

    fn wants_subscription(&self, client_id: &ClientId, topic: &str, subscription: &Subscription) -> bool {
        let matches =
            |name: &str| crate::topic::name::TopicName::new(name.into()).is_some_and(|name| subscription.selector.filter.matches(&name));
        self.clientid.as_deref().is_none_or(|wanted| wanted == client_id.as_str())
            && self.like_clientid.as_deref().is_none_or(|part| client_id.as_str().contains(part))
            && self.topic.as_deref().is_none_or(|wanted| wanted == topic)
            && self.match_topic.as_deref().is_none_or(matches)
    }
}
