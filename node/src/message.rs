//! Application Messages, and runs of them. No I/O, reads no clock.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::packet::connect::ClientId;
use crate::packet::publish::PublishProperties;
use crate::packet::reason::Reason;
use crate::packet::{QoS, Version};
use crate::time::Time;
use crate::topic::name::TopicName;

/// What a Client may publish to a Topic Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub qos_max: QoS,
    /// Whether RETAIN may be set.
    pub retain: bool,
    /// Whether somebody else decides on each message.
    pub asks: bool,
}

impl Permit {
    pub const ALL: Permit = Permit { qos_max: QoS::ExactlyOnce, retain: true, asks: false };

    pub fn allows(self, qos: QoS, retain: bool) -> bool {
        qos <= self.qos_max && (self.retain || !retain)
    }
}

/// An Application Message on its way through the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: TopicName,
    pub payload: Bytes,
    /// The QoS it was published with; a subscriber gets at most what it was granted.
    pub qos: QoS,
    /// The RETAIN flag as published.
    pub retain: bool,
    /// Without Topic Alias, Subscription Identifiers and Message Expiry Interval: they belong to one Network Connection or to a moment.
    pub properties: Option<Box<PublishProperties>>,
    /// From the Message Expiry Interval: not sent at or after this moment `[MQTT-3.3.2-5]`.
    pub expires_at: Option<Time>,
}

/// Consecutive messages of one publisher to one Topic Name: the unit in which messages are routed, shared and stored.
///
/// A run is made once and shared by reference by everyone who gets it, so that the cost of a subscriber is one push for a run,
/// not one for each message. It is never empty.
#[derive(Debug)]
pub struct Run {
    messages: Vec<Message>,
    highest_qos: QoS,
    any_retain: bool,
    bytes: usize,
    numbers: Option<Box<Numbers>>,
    frames: [OnceLock<Option<Frames>>; 2],
}

/// What tells the messages of a publisher apart when they may be handed over twice: a later one has a higher number, whatever connection
/// or node it comes by. Zero: it has none.
pub type Number = u64;

/// The numbers of a run, one for each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub publisher: ClientId,
    pub of: Vec<Number>,
}

/// A run as it goes to a subscriber at QoS 0 with no flags and nothing of its own: the same bytes for everyone of a protocol layout.
#[derive(Clone, Debug)]
pub struct Frames {
    pub bytes: Bytes,
    /// The size of the largest packet, to hold against a Maximum Packet Size.
    pub largest: usize,
}

/// One message of a run, by reference.
#[derive(Clone, Debug)]
pub struct InRun {
    pub run: Arc<Run>,
    pub index: u32,
}

impl InRun {
    pub fn message(&self) -> &Message {
        &self.run.messages[self.index as usize]
    }
}

impl Run {
    /// `messages` must not be empty, and all must have the Topic Name of the first.
    pub fn new(messages: Vec<Message>) -> Run {
        debug_assert!(messages.windows(2).all(|pair| pair[0].topic == pair[1].topic) && !messages.is_empty());
        let (mut highest_qos, mut any_retain, mut bytes) = (QoS::AtMostOnce, false, 0);
        for message in &messages {
            highest_qos = highest_qos.max(message.qos);
            any_retain |= message.retain;
            bytes += message.topic.as_str().len() + message.payload.len();
        }
        Run { messages, highest_qos, any_retain, bytes, numbers: None, frames: Default::default() }
    }

    /// The same with a number for each message.
    pub fn numbered(self, numbers: Numbers) -> Run {
        debug_assert!(numbers.of.len() == self.messages.len());
        Run { numbers: Some(Box::new(numbers)), ..self }
    }

    /// `None`: none of the messages has one.
    pub fn numbers(&self) -> Option<&Numbers> {
        self.numbers.as_deref()
    }

    /// The messages at the places that `keeps` wants, with their numbers; `None`: it wants none.
    pub fn part(&self, keeps: impl Fn(usize) -> bool) -> Option<Run> {
        let places: Vec<_> = (0..self.messages.len()).filter(|place| keeps(*place)).collect();
        if places.is_empty() {
            return None;
        }
        let part = Run::new(places.iter().map(|place| self.messages[*place].clone()).collect());
        Some(match self.numbers() {
            None => part,
            Some(Numbers { publisher, of }) => {
                part.numbered(Numbers { publisher: publisher.clone(), of: places.iter().map(|place| of[*place]).collect() })
            }
        })
    }

    /// Bytes of all Topic Names and payloads: what a queue that holds the run is charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.bytes - self.topic().as_str().len() * self.messages.len()
    }

    pub fn highest_qos(&self) -> QoS {
        self.highest_qos
    }

    /// Whether one of the messages was published with RETAIN=1.
    pub fn any_retain(&self) -> bool {
        self.any_retain
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub fn topic(&self) -> &TopicName {
        &self.messages[0].topic
    }

    /// The run as QoS 0 packets for this version, or `None` when its messages need a look of their own (one of them expires).
    /// Encoded at the first call and shared from then on.
    pub fn frames(&self, version: Version) -> Option<&Frames> {
        self.frames[usize::from(version == Version::V5)].get_or_init(|| self.encode_frames(version)).as_ref()
    }

    fn encode_frames(&self, version: Version) -> Option<Frames> {
        use crate::packet::publish;
        if self.messages.iter().any(|message| message.expires_at.is_some()) {
            return None;
        }
        let head = publish::Head { version, qos: QoS::AtMostOnce, packet_id: None, dup: false, retain: false };
        let mut bytes = bytes::BytesMut::with_capacity(self.bytes + 16 * self.messages.len());
        let mut largest = 0;
        // What stands before the payload of the last message, and the size of that payload.
        let mut last: Option<(std::ops::Range<usize>, usize)> = None;
        for message in &self.messages {
            let (topic, properties) = (message.topic.as_str(), message.properties.as_deref());
            match &last {
                // Messages of one size in a row differ in their payloads alone.
                Some((front, size)) if *size == message.payload.len() && properties.is_none() => {
                    bytes.extend_from_within(front.clone());
                    bytes.extend_from_slice(&message.payload);
                }
                _ => {
                    let begin = bytes.len();
                    publish::encode_parts(&mut bytes, head, topic, properties, &publish::OwnProperties::default(), &message.payload);
                    largest = largest.max(bytes.len() - begin);
                    let is_alike = properties.is_none() && bytes.len() > begin;
                    last = is_alike.then(|| (begin..bytes.len() - message.payload.len(), message.payload.len()));
                }
            }
        }
        Some(Frames { bytes: bytes.freeze(), largest })
    }

    /// The same run in memory of its own: nothing of it pins the large buffer that it was read into any longer.
    /// The Topic Name and all payloads share one allocation.
    pub fn compact(&self) -> Run {
        let topic = self.topic().as_str();
        let size = topic.len() + self.messages.iter().map(|message| message.payload.len()).sum::<usize>();
        let mut copy = bytes::BytesMut::with_capacity(size);
        copy.extend_from_slice(topic.as_bytes());
        self.messages.iter().for_each(|message| copy.extend_from_slice(&message.payload));
        let mut copy = copy.freeze();
        let topic = bytestring::ByteString::try_from(copy.split_to(topic.len())).expect("text stays text when it is copied");
        let topic = TopicName::new(topic).expect("a Topic Name stays one when it is copied");
        let messages = self.messages.iter().map(|message| Message {
            topic: topic.clone(),
            payload: copy.split_to(message.payload.len()),
            properties: message.properties.as_deref().map(|properties| Box::new(properties.compact())),
            ..*message
        });
        Run { numbers: self.numbers.clone(), ..Run::new(messages.collect()) }
    }
}

/// A text that is no Topic Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTopicName;

impl std::fmt::Display for NoTopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a Topic Name is not empty, has no +, # or U+0000, and at most 65,535 bytes")
    }
}

impl std::error::Error for NoTopicName {}

impl From<NoTopicName> for Reason {
    fn from(_: NoTopicName) -> Reason {
        Reason::TOPIC_NAME_INVALID
    }
}

impl Message {
    /// A message at QoS 0, not retained, without properties.
    ///
    /// # Errors
    /// The topic is no Topic Name.
    pub fn new(topic: &str, payload: impl Into<Bytes>) -> Result<Message, NoTopicName> {
        let topic = TopicName::new(topic.into()).ok_or(NoTopicName)?;
        Ok(Message { topic, payload: payload.into(), qos: QoS::AtMostOnce, retain: false, properties: None, expires_at: None })
    }

    pub fn qos(self, qos: QoS) -> Message {
        Message { qos, ..self }
    }

    /// The RETAIN flag.
    pub fn retain(self, retain: bool) -> Message {
        Message { retain, ..self }
    }

    pub fn properties(self, properties: PublishProperties) -> Message {
        Message { properties: Some(Box::new(properties)), ..self }
    }

    /// The payload as text.
    ///
    /// # Errors
    /// Payload format invalid, when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Reason> {
        std::str::from_utf8(&self.payload).map_err(|_| Reason::PAYLOAD_FORMAT_INVALID)
    }

    /// The payload as JSON of this type.
    ///
    /// # Errors
    /// Payload format invalid, when it is none.
    #[cfg(feature = "server")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Reason> {
        serde_json::from_slice(&self.payload).map_err(|_| Reason::PAYLOAD_FORMAT_INVALID)
    }

    /// The same message in memory of its own, as [`Run::compact`].
    pub fn compact(&self) -> Message {
        let run = Run::from(self.clone()).compact();
        run.messages.into_iter().next().expect("a run is never empty")
    }
}

impl From<Message> for Run {
    fn from(message: Message) -> Run {
        Run::new(vec![message])
    }
}
