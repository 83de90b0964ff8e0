//! What becomes of messages, for those who follow a Client or a topic: why each one was or was not delivered. No I/O, reads no clock, and holds
//! no payload: a message is told from another by a print of it, which says nothing of what is in it.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;

use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::packet::{PacketId, QoS};
use crate::time::Time;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// What is followed. Everything that is named has to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// As publisher or as recipient.
    pub client: Option<ClientId>,
    pub topic: Option<TopicFilter>,
}

impl Watch {
    pub fn concerns(&self, clients: [Option<&ClientId>; 2], topic: &TopicName) -> bool {
        self.client.as_ref().is_none_or(|wanted| clients.contains(&Some(wanted)))
            && self.topic.as_ref().is_none_or(|filter| filter.matches(topic))
    }
}

/// All that is followed on a node.
pub type Watches = Arc<[Watch]>;

/// A message, as far as its fate is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub topic: TopicName,
    pub qos: QoS,
    pub payload_bytes: usize,
    pub expires_at: Option<Time>,
    /// The same for the same topic and payload, on every node.
    print: u64,
}

impl Subject {
    pub fn new(topic: &TopicName, qos: QoS, payload: &[u8], expires_at: Option<Time>) -> Subject {
        let print = FixedState::with_seed(0).hash_one((topic.as_str(), payload));
        Subject { topic: topic.compact(), qos, payload_bytes: payload.len(), expires_at, print }
    }

    /// Tells a message from another within one trace. Who does not know the seed learns nothing of the payload from it.
    pub fn print(&self, seed: u64) -> u32 {
        FixedState::with_seed(seed).hash_one(self.print) as u32
    }
}

/// One step on the way of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It came from its publisher.
    Received,
    /// It came again (QoS 2), and is not published again.
    Repeated,
    /// It was not taken: the publisher was told this, if its protocol has a word for it.
    Refused(Reason),
    /// A handler put another message in its place: this one.
    Rewritten,
    /// It is a request, and somebody answers it.
    Asked,
    /// Nobody subscribes to its topic.
    NoSubscribers,
    /// It is in the queue of the recipient, in the Store.
    Queued,
    /// It is in the mailbox of the recipient's connection.
    Handed,
    /// It was sent to another node, for recipients there.
    Posted(Arc<str>),
    /// It came from another node.
    Arrived,
    /// It left for the recipient's socket; `dup`: not for the first time.
    Sent { dup: bool },
    /// The recipient has it: PUBACK or PUBREC, with this Reason Code.
    Acknowledged(Reason),
    /// The recipient does not get it.
    Dropped(Why),
}

/// Why somebody does not get a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The publisher is the subscriber, and it asked for No Local.
    NoLocal,
    /// The rules do not let it have this topic.
    Denied,
    /// A handler of `on_deliver` withheld it.
    Withheld,
    /// It is not connected to this node, and nothing is kept for it here.
    Away,
    MailboxFull,
    QueueFull,
    StoreFull,
    /// The Session was gone when the message came.
    NoSession,
    Expired,
    /// Larger than the Maximum Packet Size of the recipient.
    TooLarge,
    /// The Session ended with its connection before the message was acknowledged.
    Ended,
}

impl Step {
    /// In a word, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Received => "received",
            Step::Repeated => "repeated",
            Step::Refused(_) => "refused",
            Step::Rewritten => "rewritten",
            Step::Asked => "asked",
            Step::NoSubscribers => "no_subscribers",
            Step::Queued => "queued",
            Step::Handed => "handed",
            Step::Posted(_) => "posted",
            Step::Arrived => "arrived",
            Step::Sent { .. } => "sent",
            Step::Acknowledged(_) => "acknowledged",
            Step::Dropped(_) => "dropped",
        }
    }

    /// What more there is to say, for people.
    pub fn detail(&self) -> Option<String> {
        Some(match self {
            Step::Refused(reason) => reason.to_string(),
            Step::Acknowledged(reason) if *reason != Reason::SUCCESS => reason.to_string(),
            Step::Repeated => "it is here already (QoS 2)".to_owned(),
            Step::Posted(node) => format!("to node {node}"),
            Step::Sent { dup: true } => "again".to_owned(),
            Step::Dropped(why) => why.text().to_owned(),
            _ => return None,
        })
    }

    /// Its place on the way, for steps of one moment on several nodes.
    pub fn rank(&self) -> u8 {
        match self {
            Step::Received | Step::Repeated => 0,
            Step::Refused(_) | Step::Rewritten | Step::Asked | Step::NoSubscribers => 1,
            Step::Queued | Step::Handed | Step::Posted(_) => 2,
            Step::Arrived => 3,
            Step::Dropped(_) => 4,
            Step::Sent { .. } => 5,
            Step::Acknowledged(_) => 6,
        }
    }
}

impl Why {
    /// In a word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Why::NoLocal => "no_local",
            Why::Denied => "denied",
            Why::Withheld => "withheld",
            Why::Away => "away",
            Why::MailboxFull => "mailbox_full",
            Why::QueueFull => "queue_full",
            Why::StoreFull => "store_full",
            Why::NoSession => "no_session",
            Why::Expired => "expired",
            Why::TooLarge => "too_large",
            Why::Ended => "session_ended",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Why::NoLocal => "it published this itself, and subscribed with No Local",
            Why::Denied => "the rules do not let it have this topic",
            Why::Withheld => "a handler of on_deliver withheld it",
            Why::Away => "not connected to this node, and nothing is kept for it at this QoS",
            Why::MailboxFull => "its mailbox is full (limits.mailbox_messages_max, mailbox_bytes_max)",
            Why::QueueFull => "its queue is full (session.queue_messages_max, queue_bytes_max)",
            Why::StoreFull => "the Store is full",
            Why::NoSession => "its Session has ended",
            Why::Expired => "its Message Expiry Interval has passed",
            Why::TooLarge => "larger than the Maximum Packet Size of this client",
            Why::Ended => "the Session ended with its connection before it was acknowledged",
        }
    }
}

/// That a message came so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub at: Time,
    pub step: Step,
    pub subject: Subject,
    /// As far as it is known where this happened.
    pub publisher: Option<ClientId>,
    pub recipient: Option<ClientId>,
    /// Of the publisher's PUBLISH, or of that to the recipient.
    pub packet_id: Option<PacketId>,
}

impl Note {
    pub fn concerns(&self, watch: &Watch) -> bool {
        watch.concerns([self.publisher.as_ref(), self.recipient.as_ref()], &self.subject.topic)
    }
}

/// One trace: what was noted since it was last asked for.
#[derive(Debug)]
pub struct Trace {
    /// By which whoever asks names it.
    pub id: String,
    pub watch: Watch,
    /// When nobody has asked for so long, it ends.
    pub until: Time,
    notes: Vec<Note>,
    lost: u64,
}

/// Notes that a node keeps of a trace until they are asked for; more are only counted.
pub const NOTES_MAX: usize = 2000;

impl Trace {
    pub fn new(id: String, watch: Watch, until: Time) -> Trace {
        Trace { id, watch, until, notes: Vec::new(), lost: 0 }
    }

    pub fn add(&mut self, note: &Note) {
        if !note.concerns(&self.watch) {
            return;
        }
        if self.notes.len() < NOTES_MAX { self.notes.push(note.clone()) } else { self.lost += 1 }
    }

    /// What was noted since the last call, and how much more there was.
    pub fn take(&mut self) -> (Vec<Note>, u64) {
        (std::mem::take(&mut self.notes), std::mem::take(&mut self.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text.into()).unwrap()
    }

    fn note(publisher: &str, recipient: Option<&str>, topic: &str) -> Note {
        let subject = Subject::new(&name(topic), QoS::AtLeastOnce, b"secret", None);
        let recipient = recipient.map(ClientId::new);
        Note { at: Time(1), step: Step::Handed, subject, publisher: Some(ClientId::new(publisher)), recipient, packet_id: None }
    }

    #[test]
    fn a_watch_wants_what_it_names() {
        let watch = |client: Option<&str>, topic: Option<&str>| Watch {
            client: client.map(ClientId::new),
            topic: topic.map(|topic| TopicFilter::new(topic).unwrap()),
        };
        let rows = [
            (watch(Some("a"), None), [true, true, false]),
            (watch(Some("b"), None), [true, false, false]),
            (watch(None, Some("t/#")), [true, false, true]),
            (watch(Some("a"), Some("t/+")), [true, false, false]),
            (watch(None, None), [true, true, true]),
        ];
        let notes = [note("a", Some("b"), "t/1"), note("a", None, "u"), note("c", None, "t/1")];
        for (watch, expected) in rows {
            assert_eq!(notes.each_ref().map(|note| note.concerns(&watch)), expected, "{watch:?}");
        }
    }

    #[test]
    fn a_trace_keeps_so_many_and_counts_the_rest() {
        let mut trace = Trace::new("x".to_owned(), Watch { client: None, topic: None }, Time(0));
        (0..NOTES_MAX + 3).for_each(|_| trace.add(&note("a", None, "t")));
        let (notes, lost) = trace.take();
        assert_eq!((notes.len(), lost), (NOTES_MAX, 3));
        assert_eq!(trace.take(), (Vec::new(), 0));
    }

    #[test]
    fn a_print_tells_messages_apart_and_nothing_of_them() {
        let of = |topic: &str, payload: &[u8]| Subject::new(&name(topic), QoS::AtMostOnce, payload, None);
        assert_eq!(of("t", b"x").print(7), of("t", b"x").print(7));
        assert_ne!(of("t", b"x").print(7), of("t", b"y").print(7));
        assert_ne!(of("t", b"x").print(7), of("u", b"x").print(7));
        assert_ne!(of("t", b"x").print(7), of("t", b"x").print(8), "without the seed nobody can try payloads");
        assert!(!format!("{:?}", note("a", None, "t")).contains("secret"));
    }
}
