//! A Client, a Session and its queue in the Store, told line by line:
//!
//! ```text
//! > PUBLISH 1 7 a x        the Client sends: QoS, Packet Identifier, Topic Name, payload, then `dup`, `retain`, `alias=`, `expiry=`
//! ? 87 PUBLISH 1 7 a x   it does, and somebody else decides: `accept`, a Reason Code, `b=y` for another message, or `later`
//! : accept               what is decided on the one that had to wait
//! ~ 1 a x@1 y@0            a run is delivered: the QoS granted, Topic Name, messages as payload@QoS, then `retain`, `expiry=`, `group`
//! + 41 1 a x@2             a message comes into the queue in the Store, as sequence 41
//! t 1500                   so many milliseconds pass
//! ! publish a x y          the Session wants this done; ` = refused` and the like say what came of it
//! < PUBACK 7               the Session sends
//! x 82                     the connection ends with this Reason Code
//! = disconnected           the Client ended it
//! .                        nothing happened
//! ```
//!
//! Lines that come are one turn until the first line that goes; a turn is driven as the connection drives it.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::{InRun, Message, Permit, Run};
use crate::packet::acknowledge::{Acknowledge, Kind};
use crate::packet::connect::{ClientId, Connect, ConnectProperties};
use crate::packet::disconnect::Disconnect;
use crate::packet::publish::{Publish, PublishProperties};
use crate::packet::reason::Reason;
use crate::packet::subscribe::{RetainHandling, Subscribe, SubscriptionOptions};
use crate::packet::unsubscribe::Unsubscribe;
use crate::packet::{self, Packet, PacketId, QoS, Version};
use crate::session::connect::Request;
use crate::session::inbound::Offer;
use crate::session::outbound::Delivery;
use crate::session::settings::Settings;
use crate::session::state::{Sequence, State};
use crate::session::{Command, Fault, Outcome, Session, Step, Subscribed};
use crate::subscription::{Grant, ShareGroup};
use crate::time::{Span, Time};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;

pub(super) const V5: Version = Version::V5;
pub(super) const V3: Version = Version::V3_1_1;

/// Who comes, and what it finds.
pub(super) struct Setting {
    pub(super) connect: Connect,
    pub(super) settings: Settings,
    pub(super) state: Option<State>,
    pub(super) queue: Vec<(Sequence, InRun, Grant)>,
}

/// A Client of this version with a Session that lasts, or one that ends with its connection.
pub(super) fn setting(version: Version, lasts: bool) -> Setting {
    let properties = ConnectProperties { session_expiry_s: lasts.then_some(60), ..ConnectProperties::default() };
    Setting {
        connect: Connect {
            version,
            clean_start: !lasts,
            keep_alive_s: 0,
            client_id: "c".into(),
            will: None,
            user_name: None,
            password: None,
            properties,
        },
        settings: Settings::default(),
        state: None,
        queue: Vec::new(),
    }
}

impl Setting {
    pub(super) fn request(&self) -> Result<Request, Fault> {
        Request::new(&self.connect, &self.settings, || ClientId::new("assigned"))
    }

    pub(super) fn start(self) -> Dialogue {
        let now = Time(1_000_000);
        let session = self.request().expect("it is let in").accept(self.state, None, &Arc::new(self.settings), now);
        Dialogue { session, now, queue: self.queue, waits: None }
    }

    /// Tells the dialogue from after CONNACK.
    #[track_caller]
    pub(super) fn check(self, script: &str) -> Dialogue {
        let mut dialogue = self.start();
        dialogue.sent();
        dialogue.check(script);
        dialogue
    }
}

pub(super) struct Dialogue {
    pub(super) session: Session,
    pub(super) now: Time,
    pub(super) queue: Vec<(Sequence, InRun, Grant)>,
    /// On which somebody else still decides.
    waits: Option<(Offer, Message)>,
}

impl Dialogue {
    #[track_caller]
    pub(super) fn check(&mut self, script: &str) {
        let script: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let is_input = |line: &&&str| matches!(line.as_bytes()[0], b'>' | b'?' | b':' | b'~' | b'+' | b't');
        let mut told = String::new();
        let mut rest = &script[..];
        while !rest.is_empty() {
            let inputs = rest.iter().take_while(is_input).count();
            let (come, after) = rest.split_at(inputs);
            let (go, after) = after.split_at(after.iter().take_while(|line| !is_input(line)).count());
            rest = after;
            come.iter().for_each(|line| writeln!(told, "{line}").unwrap());
            let happened = self.turn(come, go);
            let happened = if happened.is_empty() { vec![".".to_owned()] } else { happened };
            happened.iter().for_each(|line| writeln!(told, "{line}").unwrap());
        }
        assert_eq!(told.trim_end(), script.join("\n"));
    }

    fn turn(&mut self, come: &[&str], go: &[&str]) -> Vec<String> {
        let mut end = come.iter().find_map(|line| self.input(line).err());
        if end.is_none() {
            end = self.session.handle_timeout(self.now).map_err(ended).err();
        }
        let mut told = Vec::new();
        self.commit(go, &mut told);
        let read = self.session.store_read();
        if let Some((after, limit)) = read.filter(|_| end.is_none()) {
            let page: Vec<_> = self.queue.iter().filter(|(sequence, ..)| *sequence > after).take(limit).cloned().collect();
            self.session.deliver_stored(
                page.into_iter().map(|(sequence, message, grant)| (sequence, Some(message), grant)),
                limit,
                self.now,
            );
            // What is not to be sent is acknowledged in the next turn, which may be the first of nothing.
            self.commit(go, &mut told);
        }
        told.extend(self.sent().into_iter().map(|packet| format!("< {packet}")));
        told.extend(end);
        told
    }

    fn commit(&mut self, go: &[&str], told: &mut Vec<String>) {
        let mut outcomes = Vec::new();
        for command in self.session.commands() {
            let (line, expected) = (command_text(&command), go.get(told.len()).copied().unwrap_or_default());
            let (outcome, line) = match expected.rsplit_once(" = ") {
                Some((before, outcome)) if before == line => (outcome, expected.to_owned()),
                _ => ("", line),
            };
            outcomes.push(self.outcome(command, outcome));
            told.push(line);
        }
        let _the_end = self.session.settle(outcomes);
    }

    fn outcome(&mut self, command: Command, outcome: &str) -> Outcome {
        let existed = outcome == "existed";
        match command {
            _ if outcome == "refused" => Outcome::Refused(Reason::QUOTA_EXCEEDED),
            Command::Publish { .. } => Outcome::Published { matched: outcome != "unmatched" },
            Command::Subscribe(all) => {
                Outcome::Subscribed(all.into_iter().map(|subscription| Subscribed { subscription, existed }).collect())
            }
            Command::Unsubscribe(all) => Outcome::Unsubscribed(all.into_iter().map(|one| one.err().unwrap_or(Reason::SUCCESS)).collect()),
            Command::Acknowledge(gone) | Command::Release(gone) => {
                self.queue.retain(|(sequence, ..)| *sequence != gone);
                Outcome::Done
            }
            Command::Complete(_) | Command::Forget(_) => Outcome::Done,
        }
    }

    fn input(&mut self, line: &str) -> Result<(), String> {
        let (kind, line) = line.split_once(' ').expect("a line has a kind");
        let words: Vec<&str> = line.split(' ').collect();
        match kind {
            ">" => {
                let step = self.session.handle(packet_of(&words), refuses_denied, self.now).map_err(ended)?;
                return match step {
                    Step::Continue => Ok(()),
                    Step::Offered(_) => unreachable!("nobody wants to decide on it"),
                    Step::Disconnected => Err("= disconnected".to_owned()),
                    Step::Authenticate(_) => Err("= authenticate".to_owned()),
                };
            }
            "?" => match self.session.handle(packet_of(&words[1..]), asks, self.now).map_err(ended)? {
                Step::Offered(offer) if words[0] == "later" => self.waits = self.session.withdraw().map(|message| (offer, message)),
                Step::Offered(offer) => self.decide(offer, words[0]),
                _ => {}
            },
            ":" => {
                let (offer, message) = self.waits.take().expect("somebody decides");
                self.session.put_back(message);
                self.decide(offer, words[0]);
            }
            "~" => {
                let delivery = self.delivery(&words);
                self.session.deliver(&delivery, self.now);
            }
            "+" => {
                let Delivery { run, grant } = self.delivery(&words[1..]);
                self.queue.push((words[0].parse().expect("a sequence"), InRun { run, index: 0 }, grant));
                self.session.ring();
            }
            _ => self.now = self.now + Span(words[0].parse().expect("milliseconds")),
        }
        Ok(())
    }

    fn decide(&mut self, offer: Offer, word: &str) {
        match word.split_once('=') {
            Some((name, payload)) => self.session.replace(offer, Message::new(name, payload_of(payload)).expect("a Topic Name")),
            None if word == "accept" => self.session.accept(offer),
            None => self.session.refuse(offer, Reason(u8::from_str_radix(word, 16).expect("a code"))),
        }
    }

    fn delivery(&self, words: &[&str]) -> Delivery {
        let messages = words[2..].iter().filter_map(|word| word.split_once('@')).map(|(payload, qos)| Message {
            topic: topic(words[1]),
            payload: payload_of(payload),
            qos: qos_of(qos),
            retain: words.contains(&"retain"),
            properties: None,
            expires_at: value(words, "expiry=").map(|seconds| self.now + Span::seconds(seconds)),
        });
        let group = || Arc::new(ShareGroup { share: ShareName::new("g").unwrap(), filter: TopicFilter::new("a").unwrap() });
        let grant = Grant {
            qos: qos_of(words[0]),
            retain_as_published: words.contains(&"retain"),
            ids: value(words, "id=").map(|id| [id].as_slice().into()),
            group: words.contains(&"group").then(group),
        };
        Delivery { run: Arc::new(Run::new(messages.collect())), grant }
    }

    /// What the Session has sent since the last call.
    pub(super) fn sent(&mut self) -> Vec<String> {
        self.sent_packets().iter().map(packet_text).collect()
    }

    pub(super) fn sent_packets(&mut self) -> Vec<Packet> {
        packets(&mut self.session)
    }
}

/// Takes what is to be written, as the Client would.
pub(super) fn packets(session: &mut Session) -> Vec<Packet> {
    let version = session.version();
    let outgoing = session.outgoing();
    let mut bytes = Vec::new();
    while !outgoing.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[])];
        outgoing.slices(&mut slices);
        let first = slices[0].to_vec();
        outgoing.advance(first.len());
        bytes.extend(first);
    }
    let mut bytes = Bytes::from(bytes);
    let mut all = Vec::new();
    while let Some((_, total)) = packet::frame(&bytes, u32::MAX).expect("frames") {
        all.push(Packet::decode(version, bytes.split_to(total)).expect("what is sent is understood"));
    }
    assert!(bytes.is_empty(), "a packet is cut");
    all
}

fn ended(fault: Fault) -> String {
    format!("x {:02x}", fault.reason.0)
}

/// What the hooks have against a publish in these dialogues.
fn refuses_denied(topic: &TopicName) -> Result<Permit, Reason> {
    if topic.as_str() == "denied" { Err(Reason::NOT_AUTHORIZED) } else { Ok(Permit::ALL) }
}

/// The same, where somebody else decides on each message.
fn asks(topic: &TopicName) -> Result<Permit, Reason> {
    Ok(Permit { asks: true, ..refuses_denied(topic)? })
}

pub(super) fn topic(text: &str) -> TopicName {
    TopicName::new(text.to_owned().into()).expect("a Topic Name")
}

/// `-` is nothing, `*9` is nine bytes.
fn payload_of(text: &str) -> Bytes {
    match text.strip_prefix('*') {
        Some(size) => vec![b'*'; size.parse().expect("a size")].into(),
        None if text == "-" => Bytes::new(),
        None => text.to_owned().into(),
    }
}

pub(super) fn qos_of(text: &str) -> QoS {
    QoS::from_bits(text.parse().expect("a number")).expect("a QoS")
}

pub(super) fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("a Packet Identifier")
}

fn value(words: &[&str], name: &str) -> Option<u32> {
    words.iter().find_map(|word| word.strip_prefix(name)).map(|text| text.parse().expect("a number"))
}

/// A packet of the Client from its words.
fn packet_of(words: &[&str]) -> Packet {
    let number = |at: usize| words[at].parse().expect("a number");
    let has = |word: &str| words.contains(&word);
    let acknowledge = |kind| {
        let reason = words.get(2).map_or(Reason::SUCCESS, |code| Reason(u8::from_str_radix(code, 16).expect("a code")));
        Packet::Acknowledge(Acknowledge { kind, packet_id: id(number(1)), reason, properties: None })
    };
    match words[0] {
        "PUBLISH" => {
            let (alias, expiry, response) = (value(words, "alias="), value(words, "expiry="), has("bad-response"));
            let properties = PublishProperties {
                topic_alias: alias.map(|alias| alias as u16),
                message_expiry_s: expiry,
                response_topic: response.then(|| "a/#".into()),
                subscription_ids: value(words, "id=").into_iter().collect(),
                ..PublishProperties::default()
            };
            Packet::Publish(Publish {
                dup: has("dup"),
                qos: qos_of(words[1]),
                retain: has("retain"),
                topic: if words[3] == "-" { "".into() } else { words[3].to_owned().into() },
                packet_id: PacketId::new(number(2)),
                properties: (!properties.is_empty()).then(|| Box::new(properties)),
                payload: payload_of(words[4]),
            })
        }
        "PUBACK" => acknowledge(Kind::Puback),
        "PUBREC" => acknowledge(Kind::Pubrec),
        "PUBREL" => acknowledge(Kind::Pubrel),
        "PUBCOMP" => acknowledge(Kind::Pubcomp),
        "SUBSCRIBE" => {
            let options = SubscriptionOptions {
                qos: qos_of(words[2]),
                no_local: has("nl"),
                retain_as_published: has("rap"),
                retain_handling: match value(words, "rh=") {
                    Some(1) => RetainHandling::SendIfNew,
                    Some(2) => RetainHandling::DoNotSend,
                    _ => RetainHandling::Send,
                },
            };
            let filters = words[3].split(',').map(|filter| (filter.to_owned().into(), options)).collect();
            let subscription_id = value(words, "id=");
            Packet::Subscribe(Box::new(Subscribe { packet_id: id(number(1)), subscription_id, user_properties: Vec::new(), filters }))
        }
        "UNSUBSCRIBE" => {
            let filters = words[2].split(',').map(|filter| filter.to_owned().into()).collect();
            Packet::Unsubscribe(Box::new(Unsubscribe { packet_id: id(number(1)), user_properties: Vec::new(), filters }))
        }
        "PINGREQ" => Packet::Pingreq,
        "PINGRESP" => Packet::Pingresp,
        "CONNECT" => Packet::Connect(Box::new(setting(V5, false).connect)),
        "DISCONNECT" => {
            let reason = words.get(1).map_or(Reason::SUCCESS, |code| Reason(u8::from_str_radix(code, 16).expect("a code")));
            Packet::Disconnect(Box::new(Disconnect { session_expiry_s: value(words, "expiry="), ..Disconnect::new(reason) }))
        }
        other => panic!("what is {other}?"),
    }
}

fn packet_text(packet: &Packet) -> String {
    let code = |reason: Reason| if reason == Reason::SUCCESS { String::new() } else { format!(" {:02x}", reason.0) };
    let codes = |all: &[Reason]| all.iter().map(|reason| format!(" {:02x}", reason.0)).collect::<String>();
    match packet {
        Packet::Publish(publish) => publish_text(publish),
        Packet::Acknowledge(it) => format!("{} {}{}", format!("{:?}", it.kind).to_uppercase(), it.packet_id, code(it.reason)),
        Packet::Suback(suback) => format!("SUBACK {}{}", suback.packet_id, codes(&suback.reasons)),
        Packet::Unsuback(unsuback) => format!("UNSUBACK {}{}", unsuback.packet_id, codes(&unsuback.reasons)),
        Packet::Connack(connack) => format!("CONNACK{}{}", if connack.session_present { " present" } else { "" }, code(connack.reason)),
        Packet::Disconnect(it) => format!("DISCONNECT{}", code(it.reason)),
        Packet::Pingresp => "PINGRESP".to_owned(),
        other => format!("{other:?}"),
    }
}

fn publish_text(publish: &Publish) -> String {
    let mut text = format!("PUBLISH {}", publish.qos as u8);
    let id = publish.packet_id.map_or(0, PacketId::get);
    let topic = if publish.topic.is_empty() { "-" } else { &publish.topic[..] };
    let payload = String::from_utf8_lossy(&publish.payload);
    let payload = if payload.len() > 9 { format!("*{}", payload.len()) } else { payload.into_owned() };
    write!(text, " {id} {topic} {}", if payload.is_empty() { "-" } else { &payload }).unwrap();
    let properties = publish.properties.as_deref().cloned().unwrap_or_default();
    let flags = [(publish.dup, " dup"), (publish.retain, " retain")];
    flags.iter().filter(|(set, _)| *set).for_each(|(_, name)| text.push_str(name));
    properties.topic_alias.iter().for_each(|alias| write!(text, " alias={alias}").unwrap());
    properties.message_expiry_s.iter().for_each(|seconds| write!(text, " expiry={seconds}").unwrap());
    properties.subscription_ids.iter().for_each(|id| write!(text, " id={id}").unwrap());
    text
}

fn command_text(command: &Command) -> String {
    let ids = |all: &[PacketId]| all.iter().map(|id| format!(" {id}")).collect::<String>();
    match command {
        Command::Publish { run, received } => {
            let payloads = run.messages().iter().map(|message| format!(" {}", String::from_utf8_lossy(&message.payload)));
            let received = if received.is_empty() { String::new() } else { format!(", received{}", ids(received)) };
            format!("! publish {}{}{received}", run.topic().as_str(), payloads.collect::<String>())
        }
        Command::Subscribe(all) => {
            let one = |one: &Result<crate::subscription::Subscription, Reason>| match one {
                Ok(subscription) => format!(" {}", subscription.selector.filter.as_str()),
                Err(reason) => format!(" {:02x}", reason.0),
            };
            format!("! subscribe{}", all.iter().map(one).collect::<String>())
        }
        Command::Unsubscribe(all) => {
            let one = |one: &Result<crate::subscription::Selector, Reason>| match one {
                Ok(selector) => format!(" {}", selector.filter.as_str()),
                Err(reason) => format!(" {:02x}", reason.0),
            };
            format!("! unsubscribe{}", all.iter().map(one).collect::<String>())
        }
        Command::Acknowledge(sequence) => format!("! acknowledge {sequence}"),
        Command::Release(sequence) => format!("! release {sequence}"),
        Command::Complete(sequence) => format!("! complete {sequence}"),
        Command::Forget(packet_id) => format!("! forget {packet_id}"),
    }
}
