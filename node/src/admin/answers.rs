//! What a node answers of itself.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};

use super::Desk;
use super::questions::{Filter, Question};
use super::reply::date;
use crate::broker::presence::Seen;
use crate::hook::request::Waiting;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::packet::Version;
use crate::packet::connect::ClientId;
use crate::subscription::Subscription;

/// Addresses that are listed with their connections; more are not told apart.
const ADDRESSES_MAX: usize = 10_000;

impl Desk {
    /// Answers that are a walk over everybody.
    pub(super) fn walk(&self, question: &Question) -> Value {
        match question {
            Question::Node => self.node(),
            Question::Clients { filter, reach } => self.clients(filter, *reach),
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
            _ => Value::Null, // of one client, not of all
        }
    }

    /// What waits in memory for a client that is connected here.
    pub(super) fn mailbox(&self, id: &ClientId, limit: usize) -> Value {
        let waiting = self.broker.waiting(id, limit);
        waiting.map_or(Value::Null, |(count, first)| {
            let shown = first.iter().map(|(message, grant)| queued(message, message.qos.min(grant.qos) as u8));
            json!({ "count": count, "data": shown.collect::<Vec<_>>() })
        })
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
        let mut found = First::new(reach);
        for seen in self.broker.present().into_iter().filter(|seen| filter.wants(seen)) {
            found.offer(seen.presence.client.id.clone(), seen);
        }
        let (count, first) = found.take();
        json!({ "count": count, "data": first.iter().map(|seen| self.client(seen)).collect::<Vec<_>>() })
    }

    pub(super) fn client(&self, seen: &Seen) -> Value {
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
            "inflight_cnt": traffic.in_flight.load(Relaxed),
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
        let mut found = First::new(reach);
        self.broker.each_subscription(|client_id, subscription| {
            let topic = subscription.selector.to_string();
            if filter.wants_subscription(client_id, &topic, &subscription) {
                found.offer((client_id.clone(), topic), (client_id.clone(), subscription));
            }
        });
        let (count, first) = found.take();
        let data: Vec<Value> = first.iter().map(|(client_id, subscription)| self.subscription(client_id, subscription)).collect();
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

/// A message that waits for a client, without its payload.
pub(super) fn queued(message: &Message, qos: u8) -> Value {
    json!({
        "topic": message.topic.as_str(),
        "qos": qos,
        "retain": message.retain,
        "payload_bytes": message.payload.len(),
        "expires_at": message.expires_at.map(date),
    })
}

/// The first of many in their order, without keeping all of them; and how many there were.
struct First<K, V> {
    reach: usize,
    count: usize,
    kept: Vec<(K, V)>,
}

impl<K: Ord, V> First<K, V> {
    fn new(reach: usize) -> First<K, V> {
        First { reach, count: 0, kept: Vec::new() }
    }

    fn offer(&mut self, key: K, value: V) {
        self.count += 1;
        self.kept.push((key, value));
        if self.kept.len() > self.reach.saturating_mul(2).saturating_add(1024) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.kept.len() > self.reach {
            self.kept.select_nth_unstable_by(self.reach, |a, b| a.0.cmp(&b.0));
            self.kept.truncate(self.reach);
        }
    }

    fn take(mut self) -> (usize, Vec<V>) {
        self.shrink();
        self.kept.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (self.count, self.kept.into_iter().map(|(_, value)| value).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_many_are_kept_in_order() {
        for reach in [0, 3, 5000] {
            let mut first = First::new(reach);
            (0..5000).map(|number| number * 7919 % 5000).for_each(|number| first.offer(number, number));
            let expected: Vec<_> = (0..5000).take(reach).collect();
            assert_eq!(first.take(), (5000, expected));
        }
    }
}
