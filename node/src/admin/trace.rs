//! `trace`: what becomes of the messages of a client or to a topic, on all nodes, as server-sent events. Every node notes it while it is asked for,
//! and stops when nobody has asked for a while. Payloads are never noted.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

use super::questions::{Question, Said};
use super::reply::{Asked, Problem, date};
use super::{Desk, Shared};
use crate::broker::fates::{Noted, TRACES_MAX};
use crate::fate::{Note, Step, Watch};
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::time::Time;
use crate::topic::filter::TopicFilter;

/// How often the nodes are asked. They forget a trace that nobody asks for in ten seconds.
const PAUSE: Duration = Duration::from_millis(500);

/// Messages that wait in queues, of which a trace remembers when they expire.
const EXPECTED_MAX: usize = 10_000;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/trace", get(trace))
}

/// What is followed; both may be named, and then both have to hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Wanted {
    /// As publisher or as recipient.
    clientid: Option<String>,
    /// A Topic Filter.
    topic: Option<String>,
}

impl Wanted {
    fn watch(&self) -> Result<Watch, Problem> {
        let topic = |text: &String| TopicFilter::new(text).ok_or_else(|| Problem::bad(format!("topic: {text:?} is no Topic Filter")));
        if self.clientid.is_none() && self.topic.is_none() {
            return Err(Problem::bad("clientid or topic says what is to be followed; topic=# is everything"));
        }
        Ok(Watch { client: self.clientid.as_deref().map(ClientId::new), topic: self.topic.as_ref().map(topic).transpose()? })
    }
}

/// A trace as whoever asked for it sees it.
struct Course {
    desk: Arc<Desk>,
    question: Question,
    ticks: Interval,
    /// What is to be said next.
    events: VecDeque<Event>,
    expected: Option<Expected>,
    /// Nodes that say nothing, or cannot follow one more trace, as the reader was told last.
    blind: Blind,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Blind {
    missing: Vec<String>,
    full: Vec<Value>,
}

impl Blind {
    fn of(said: &Said) -> Blind {
        let mut missing = said.missing.clone();
        missing.sort();
        let full = said.answers.iter().filter(|answer| answer["full"] == true).map(|answer| answer["node"].clone()).collect();
        Blind { missing, full }
    }
}

async fn trace(State(desk): Shared, asked: Asked) -> Result<Response, Problem> {
    let wanted: Wanted = asked.read(&["clientid", "topic"])?;
    wanted.watch()?;
    let question = Question::Trace { id: Uuid::new_v4().to_string(), wanted: wanted.clone() };
    let said = desk.ask_all(&question).await;
    let blind = Blind::of(&said);
    let Said { answers, missing } = said;
    if let Some(full) = answers.iter().find(|answer| answer["full"] == true) {
        let text = format!("node {} follows {TRACES_MAX} traces already: end one of them, or wait ten seconds", full["node"]);
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "QUOTA_EXCEEDED", text));
    }
    let mut nodes: Vec<&Value> = answers.iter().map(|answer| &answer["node"]).collect();
    nodes.sort_by_key(|node| node.as_str());
    let begun = Event::default().event("following").data(json!({ "nodes": nodes, "missing": missing }).to_string());
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let expected = Some(Expected { of: wanted.clientid, ..Expected::default() });
    let course = Course { desk, question, ticks, events: VecDeque::from([begun]), expected, blind };
    let stream = futures_util::stream::unfold(course, |mut course| async move {
        let event = course.next().await;
        Some((Ok::<_, Infallible>(event), course))
    });
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Sse::new(stream).keep_alive(KeepAlive::default())).into_response())
}

impl Course {
    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.ticks.tick().await;
            let now = self.desk.broker.clock.now();
            let said = self.desk.ask_all(&self.question).await;
            let blind = Blind::of(&said);
            if blind != self.blind {
                self.events.push_back(Event::default().event("missing").data(json!(blind).to_string()));
                self.blind = blind;
            }
            self.tell(said.answers, now).await;
        }
    }

    /// What the nodes have noted, in the order in which it happened; `now` is before they were asked.
    async fn tell(&mut self, mut answers: Vec<Value>, now: Time) {
        let lossy = answers.iter().filter(|answer| answer["lost"].as_u64().is_some_and(|lost| lost > 0));
        let lost: Vec<Value> = lossy.map(|answer| json!({ "node": answer["node"], "count": answer["lost"] })).collect();
        let mut notes: Vec<Value> =
            answers.iter_mut().filter_map(|answer| answer["notes"].as_array_mut()).flat_map(std::mem::take).collect();
        if !lost.is_empty() {
            self.expected = None; // whatever it says may be wrong by now
        }
        notes.sort_by_key(|note| (note["at_ms"].as_u64(), note["rank"].as_u64()));
        if let Some(expected) = &mut self.expected {
            notes.iter().for_each(|note| expected.see(note));
            let (desk, new) = (&self.desk, expected.unknown());
            let epochs = desk.broker.store().epochs(&new).await;
            new.into_iter().zip(epochs.unwrap_or_default()).for_each(|(client_id, epoch)| expected.know(&client_id, epoch));
            let expired = expected.expired(now);
            let recipients: Vec<_> = expired.iter().map(|note| ClientId::new(note["recipient"].as_str().unwrap_or_default())).collect();
            let epochs = desk.broker.store().epochs(&recipients).await.unwrap_or_default();
            notes.extend(expired.into_iter().zip(epochs).filter(|(note, epoch)| expected.is_as_before(note, *epoch)).map(|(note, _)| note));
            expected.forget_idle();
        }
        self.events.extend(notes.iter().map(|note| Event::default().event("fate").data(note.to_string())));
        self.events.extend(lost.iter().map(|lost| Event::default().event("lost").data(lost.to_string())));
    }
}

/// Queued messages that have not been sent: the Store removes them without a word when they expire. So may whoever opens the Session anew, or ends
/// it: nothing is concluded where its epoch is another by then.
#[derive(Default)]
struct Expected {
    /// Where only one client is followed, nothing is known of what others are sent.
    of: Option<String>,
    /// When the queued messages expire, by recipient and message: equal ones have one name, and leave in their order.
    waiting: HashMap<(String, String), VecDeque<(u64, Value)>>,
    count: usize,
    /// Of their recipients, when the first was queued; `None` until it is looked up.
    epochs: HashMap<String, Option<Epoch>>,
}

impl Expected {
    fn see(&mut self, note: &Value) {
        let (Some(recipient), Some(message)) = (note["recipient"].as_str(), note["message"].as_str()) else { return };
        if self.of.as_deref().is_some_and(|of| of != recipient) {
            return;
        }
        let key = (recipient.to_owned(), message.to_owned());
        match (note["step"].as_str(), note["expires_at_ms"].as_u64()) {
            (Some("queued"), Some(expires_at)) if self.count < EXPECTED_MAX => {
                self.epochs.entry(recipient.to_owned()).or_default();
                self.waiting.entry(key).or_default().push_back((expires_at, note.clone()));
                self.count += 1;
            }
            (Some("sent" | "dropped"), _) => {
                if let Some(waiting) = self.waiting.get_mut(&key) {
                    self.count -= usize::from(waiting.pop_front().is_some());
                    if waiting.is_empty() {
                        self.waiting.remove(&key);
                    }
                }
            }
            _ => {}
        }
    }

    /// Recipients whose epoch is to be looked up.
    fn unknown(&self) -> Vec<ClientId> {
        self.epochs.iter().filter(|(_, epoch)| epoch.is_none()).map(|(recipient, _)| ClientId::new(recipient)).collect()
    }

    fn know(&mut self, client_id: &ClientId, epoch: Option<Epoch>) {
        self.epochs.insert(client_id.as_str().to_owned(), epoch);
    }

    fn is_as_before(&self, note: &Value, epoch: Option<Epoch>) -> bool {
        let before = note["recipient"].as_str().and_then(|recipient| self.epochs.get(recipient).copied().flatten());
        epoch.is_some() && before == epoch
    }

    /// Recipients for whom nothing waits.
    fn forget_idle(&mut self) {
        let waited_for: std::collections::HashSet<_> = self.waiting.keys().map(|(recipient, _)| recipient.as_str()).collect();
        self.epochs.retain(|recipient, _| waited_for.contains(recipient.as_str()));
    }

    /// What has expired by now.
    fn expired(&mut self, now: Time) -> Vec<Value> {
        let mut expired: Vec<(u64, Value)> = Vec::new();
        self.waiting.retain(|_, waiting| {
            let (late, rest) = std::mem::take(waiting).into_iter().partition(|(expires_at, _)| *expires_at <= now.0);
            *waiting = rest;
            expired.extend::<VecDeque<_>>(late);
            !waiting.is_empty()
        });
        self.count -= expired.len();
        expired.sort_by_key(|(expires_at, _)| *expires_at);
        let step = Step::Dropped(crate::fate::Why::Expired);
        let note = |(expires_at, mut note): (u64, Value)| {
            note["at"] = date(Time(expires_at)).into();
            note["at_ms"] = expires_at.into();
            say(&mut note, &step);
            note
        };
        expired.into_iter().map(note).collect()
    }
}

fn say(note: &mut Value, step: &Step) {
    note["step"] = step.name().into();
    note["detail"] = step.detail().into();
    note["why"] = if let Step::Dropped(why) = step { why.name().into() } else { Value::Null };
    note["rank"] = step.rank().into();
}

impl Desk {
    /// What this node has noted.
    pub(super) fn noted(&self, id: &str, wanted: &Wanted) -> Value {
        let node = &self.settings.node;
        let (Ok(watch), Ok(name)) = (wanted.watch(), Uuid::parse_str(id)) else { return Value::Null };
        let Some(Noted { notes, lost }) = self.broker.fates.follow(id, &watch, self.broker.clock.now()) else {
            return json!({ "node": node, "full": true });
        };
        // Only the nodes know it, so nobody else can try which payload gives a print.
        let seed = name.as_u64_pair().1;
        json!({ "node": node, "notes": notes.iter().map(|one| note(one, node, seed)).collect::<Vec<_>>(), "lost": lost })
    }
}

fn note(note: &Note, node: &str, seed: u64) -> Value {
    let Note { at, step, subject, publisher, recipient, packet_id } = note;
    let mut value = json!({
        "at": date(*at),
        "at_ms": at.0,
        "node": node,
        "message": format!("{:08x}", subject.print(seed)),
        "topic": subject.topic.as_str(),
        "qos": subject.qos as u8,
        "payload_bytes": subject.payload_bytes,
        "expires_at_ms": subject.expires_at.map(|at| at.0),
        "publisher": publisher.as_ref().map(ClientId::as_str),
        "recipient": recipient.as_ref().map(ClientId::as_str),
        "packet_id": packet_id,
    });
    say(&mut value, step);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(step: &str, recipient: &str, message: &str, expires_at: Option<u64>) -> Value {
        json!({ "step": step, "recipient": recipient, "message": message, "expires_at_ms": expires_at })
    }

    #[test]
    fn what_is_queued_and_not_sent_has_expired() {
        let mut expected = Expected::default();
        for note in [
            seen("queued", "a", "1", Some(50)),
            seen("queued", "a", "2", Some(40)),
            seen("queued", "b", "1", Some(50)),
            seen("queued", "b", "3", None),
            seen("sent", "b", "1", Some(50)),
            // Two that are equal, of which one is sent.
            seen("queued", "c", "4", Some(60)),
            seen("queued", "c", "4", Some(60)),
            seen("sent", "c", "4", Some(60)),
        ] {
            expected.see(&note);
        }
        assert!(expected.expired(Time(39)).is_empty());
        let gone: Vec<Value> = expected.expired(Time(60));
        let gone: Vec<_> = gone.iter().map(|note| (note["message"].as_str().unwrap(), note["why"].as_str().unwrap())).collect();
        assert_eq!(gone, [("2", "expired"), ("1", "expired"), ("4", "expired")]);
        assert_eq!((expected.count, expected.waiting.len()), (0, 0));
    }

    #[test]
    fn of_others_than_the_client_that_is_followed_nothing_is_concluded() {
        let mut expected = Expected { of: Some("a".to_owned()), ..Expected::default() };
        expected.see(&seen("queued", "b", "1", Some(50)));
        assert!(expected.expired(Time(60)).is_empty());
    }
}
