//! What is said of each Client as it comes and goes: JSON under `$SYS/brokers/NODE/clients/CLIENT/`, at QoS 0, to whoever listens.

use serde_json::{Value, json};

use crate::broker::Broker;
use crate::broker::presence::Presence;
use crate::message::Message;
use crate::packet::reason::Reason;
use crate::packet::{QoS, Version};
use crate::time::Time;
use crate::topic::name::TopicName;

impl Broker {
    pub async fn tell_connected(&self, presence: &Presence) {
        self.tell_of(presence, "connected", |body| {
            body["connected_at"] = presence.connected_at.0.into();
            body["ts"] = presence.connected_at.0.into();
            body["keepalive"] = presence.client.keep_alive_s.into();
            body["clean_start"] = presence.client.clean_start.into();
            body["session_present"] = presence.resumed.into();
            body["expiry_interval"] = presence.expiry.map_or(u32::MAX, |expiry| expiry.as_seconds_ceil()).into();
        })
        .await;
    }

    pub async fn tell_disconnected(&self, presence: &Presence, reason: Reason, now: Time) {
        self.tell_of(presence, "disconnected", |body| {
            body["disconnected_at"] = now.0.into();
            body["ts"] = now.0.into();
            body["reason"] = reason.to_string().into();
            body["reason_code"] = reason.0.into();
        })
        .await;
    }

    /// Nothing is written for nobody. A Client whose identifier makes no Topic Name, because it is too long, is not told of.
    async fn tell_of(&self, presence: &Presence, word: &str, complete: impl FnOnce(&mut Value)) {
        let client = &presence.client;
        if !self.tells_of_clients {
            return;
        }
        let topic = format!("$SYS/brokers/{}/clients/{}/{word}", level(&self.name), level(client.id.as_str()));
        let Some(topic) = TopicName::new(topic.into()) else { return };
        if self.table.look_up(&topic, &self.roster, self.guard.as_ref()).is_empty() {
            return;
        }
        let mut body = json!({
            "clientid": client.id.as_str(),
            "username": client.user.as_deref(),
            "ipaddress": client.peer.address.ip().to_string(),
            "port": client.peer.address.port(),
            "transport": client.peer.transport.scheme(),
            "proto_name": if client.version == Version::V3_1 { "MQIsdp" } else { "MQTT" },
            "proto_ver": client.version as u8,
        });
        complete(&mut body);
        let payload = body.to_string().into();
        let message = Message { topic, payload, qos: QoS::AtMostOnce, retain: false, properties: None, expires_at: None };
        if let Err(error) = self.publish(message, self.clock.now()).await {
            tracing::debug!(?error, "nobody was told of a Client");
        }
    }
}

/// A name as one level of a Topic Name: what would be more than one, or a wildcard, is written as in a URL.
pub(super) fn level(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned(); // nothing else is written so
    }
    let mut level = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '/' => level.push_str("%2F"),
            '+' => level.push_str("%2B"),
            '#' => level.push_str("%23"),
            '%' => level.push_str("%25"),
            c => level.push(c),
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_level() {
        for (name, expected) in [("", "%"), ("a", "a"), ("a/b", "a%2Fb"), ("+", "%2B"), ("#%", "%23%25"), ("é", "é")] {
            assert_eq!(level(name), expected);
        }
    }
}
