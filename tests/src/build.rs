//! Packets that are short to write. What a test does not name has the standard's default.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use mqttd::packet::acknowledge::{Acknowledge, Kind};
use mqttd::packet::publish::{Publish, PublishProperties};
use mqttd::packet::reason::Reason;
use mqttd::packet::subscribe::{RetainHandling, Subscribe, SubscriptionOptions};
use mqttd::packet::unsubscribe::Unsubscribe;
use mqttd::packet::{Packet, PacketId, QoS};

/// A Packet Identifier; 0 is none, and a mistake of the test.
#[track_caller]
pub fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("a Packet Identifier is not zero")
}

pub fn qos(level: u8) -> QoS {
    QoS::from_bits(level).expect("QoS is 0, 1 or 2")
}

/// A PUBLISH to send, or to expect.
#[derive(Clone)]
pub struct Message(Publish);

/// QoS 0, no flags, no properties.
pub fn message(topic: &str, payload: impl AsRef<[u8]>) -> Message {
    Message(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic.to_owned().into(),
        packet_id: None,
        properties: None,
        payload: Bytes::copy_from_slice(payload.as_ref()),
    })
}

impl Message {
    pub fn qos(mut self, level: u8) -> Message {
        self.0.qos = qos(level);
        self
    }

    /// To send: the Packet Identifier. To expect: the very one that must come.
    pub fn id(mut self, id: u16) -> Message {
        self.0.packet_id = Some(packet_id(id));
        self
    }

    pub fn retain(mut self) -> Message {
        self.0.retain = true;
        self
    }

    pub fn dup(mut self) -> Message {
        self.0.dup = true;
        self
    }

    /// The same message for another topic.
    pub fn to(mut self, topic: &str) -> Message {
        self.0.topic = text(topic);
        self
    }

    /// To send: the Message Expiry Interval. To expect: what may be left of it a moment later.
    pub fn expiry(self, seconds: u32) -> Message {
        self.with(|properties| properties.message_expiry_s = Some(seconds))
    }

    pub fn alias(self, alias: u16) -> Message {
        self.with(|properties| properties.topic_alias = Some(alias))
    }

    pub fn user(self, name: &str, value: &str) -> Message {
        self.with(|properties| properties.user_properties.push((text(name), text(value))))
    }

    /// Subscription Identifiers to expect; their order means nothing.
    pub fn ids(self, ids: &[u32]) -> Message {
        self.with(|properties| properties.subscription_ids = ids.to_vec())
    }

    pub fn with(mut self, change: impl FnOnce(&mut PublishProperties)) -> Message {
        change(self.0.properties.get_or_insert_default());
        self
    }

    pub fn publish(&self) -> &Publish {
        &self.0
    }

    /// Whether what came is this message. A Packet Identifier counts only where one was named.
    pub(crate) fn is(&self, came: &Publish) -> bool {
        let mut came = came.clone();
        if (came.qos == QoS::AtMostOnce) != came.packet_id.is_none() {
            return false;
        }
        if self.0.packet_id.is_none() {
            came.packet_id = None;
        }
        let mut expected = self.0.clone();
        let (mut want, mut have) = (properties(&mut expected), properties(&mut came));
        let waited = want.message_expiry_s.take().zip(have.message_expiry_s.take()).map(|(all, left)| all.checked_sub(left));
        let in_time = match waited {
            Some(waited) => waited.is_some_and(|seconds| seconds <= 2),
            None => self.0.properties.as_ref().is_none_or(|properties| properties.message_expiry_s.is_none()),
        };
        want.subscription_ids.sort_unstable();
        have.subscription_ids.sort_unstable();
        in_time && expected == came && want == have
    }
}

fn properties(publish: &mut Publish) -> PublishProperties {
    publish.properties.take().map(|properties| *properties).unwrap_or_default()
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Message> for Packet {
    fn from(message: Message) -> Packet {
        Packet::Publish(message.0)
    }
}

impl From<&Message> for Message {
    fn from(message: &Message) -> Message {
        message.clone()
    }
}

pub fn text(text: &str) -> ByteString {
    text.to_owned().into()
}

pub fn ack(kind: Kind, id: u16, reason: Reason) -> Packet {
    Packet::Acknowledge(Acknowledge { kind, packet_id: packet_id(id), reason, properties: None })
}

pub fn puback(id: u16) -> Packet {
    ack(Kind::Puback, id, Reason::SUCCESS)
}

pub fn pubrec(id: u16) -> Packet {
    ack(Kind::Pubrec, id, Reason::SUCCESS)
}

pub fn pubrel(id: u16) -> Packet {
    ack(Kind::Pubrel, id, Reason::SUCCESS)
}

pub fn pubcomp(id: u16) -> Packet {
    ack(Kind::Pubcomp, id, Reason::SUCCESS)
}

/// SUBSCRIBE: filters with their options, no properties.
pub fn subscribe(id: u16, filters: &[(&str, impl Copy + Asked)]) -> Subscribe {
    Subscribe {
        packet_id: packet_id(id),
        subscription_id: None,
        user_properties: Vec::new(),
        filters: filters.iter().map(|&(filter, options)| (text(filter), options.asked())).collect(),
    }
}

/// Subscription Options, for all that is more than a QoS.
pub fn options(level: u8) -> Options {
    Options(SubscriptionOptions { qos: qos(level), ..SubscriptionOptions::default() })
}

#[derive(Clone, Copy)]
pub struct Options(SubscriptionOptions);

impl Options {
    pub fn no_local(mut self) -> Options {
        self.0.no_local = true;
        self
    }

    pub fn retain_as_published(mut self) -> Options {
        self.0.retain_as_published = true;
        self
    }

    pub fn retain_handling(mut self, handling: RetainHandling) -> Options {
        self.0.retain_handling = handling;
        self
    }
}

/// What a subscription asks for: a QoS, or [`options`].
pub trait Asked {
    fn asked(self) -> SubscriptionOptions;
}

impl Asked for u8 {
    fn asked(self) -> SubscriptionOptions {
        options(self).0
    }
}

impl Asked for Options {
    fn asked(self) -> SubscriptionOptions {
        self.0
    }
}

/// SUBSCRIBE with a Subscription Identifier.
pub fn subscribe_with_id(id: u16, subscription_id: u32, filter: &str, options: impl Copy + Asked) -> Subscribe {
    Subscribe { subscription_id: Some(subscription_id), ..subscribe(id, &[(filter, options)]) }
}

pub fn unsubscribe(id: u16, filters: &[&str]) -> Packet {
    let filters = filters.iter().map(|filter| text(filter)).collect();
    Packet::Unsubscribe(Box::new(Unsubscribe { packet_id: packet_id(id), user_properties: Vec::new(), filters }))
}
