//! Short words for the dialogues with a store.

use std::sync::Arc;

use bytes::Bytes;
use mqttd::message::{Message, Run};
use mqttd::packet::QoS;
use mqttd::packet::connect::ClientId;
use mqttd::session::state::{Sequence, Will};
use mqttd::store::memory::Memory;
use mqttd::store::redis;
use mqttd::store::redis::link::address::Access;
use mqttd::store::redis::link::settings::Durability;
use mqttd::store::{Close, Closed, Lease, Open, Opened, Store, Stored, Write, Written};
use mqttd::subscription::{Grant, Selector, Subscription};
use mqttd::time::{Span, Time};
use mqttd::topic::filter::TopicFilter;
use mqttd::topic::name::TopicName;
use mqttd_tests::deployment::{Deployment, Kind};
use mqttd_tests::redis::Redis;
use mqttd_tests::unique;

pub(super) const NOW: Time = Time(1_700_000_000_000);
pub(super) const MINUTE: Option<Span> = Some(Span::seconds(60));
pub(super) const ZERO: Option<Span> = Some(Span(0));
pub(super) const ALL: usize = 10_000;

pub(super) async fn memory() -> Option<Store> {
    Some(Store::Memory(Memory::default()))
}

/// An empty store, by a prefix of its own, on the Redis of this process.
pub(super) async fn redis() -> Option<Store> {
    redis_with(redis::Limits { queue_messages_max: 100_000, retained_max: 1_000_000 }).await
}

pub(super) async fn redis_with(limits: redis::Limits) -> Option<Store> {
    Some(connected(redis::Settings { limits, ..settings(Redis::shared()?.url()) }).await)
}

/// The same on a Redis of this kind.
pub(super) async fn redis_as(kind: Kind) -> Option<Store> {
    Some(connected(settings(Deployment::shared(kind)?.url())).await)
}

/// As a user who may do what the rules of the house say, and nothing else.
pub(super) async fn redis_with_few_rights() -> Option<Store> {
    let server = Redis::shared()?;
    let settings = settings(server.url());
    let rules = redis::link::acl::rules(&settings.prefix, None);
    let user = settings.prefix.clone();
    let set: Vec<&str> = ["ACL", "SETUSER", &user, "on", ">secret"].into_iter().chain(rules.split(' ')).collect();
    server.query::<()>(&set);
    let access = Access { user: Some(user), password: Some("secret".to_owned()), ..Access::default() };
    Some(connected(redis::Settings { access, ..settings }).await)
}

/// With a prefix of its own.
pub(super) fn settings(url: String) -> redis::Settings {
    redis::Settings {
        url,
        access: Access::default(),
        durability: Durability::default(),
        prefix: unique("test"),
        bridge: None,
        node: "node".to_owned(),
        limits: redis::Limits { queue_messages_max: 100_000, retained_max: 1_000_000 },
        cluster: Default::default(),
    }
}

pub(super) async fn connected(settings: redis::Settings) -> Store {
    redis::Redis::connect(settings).await.expect("a store on Redis").into()
}

/// The moment so many seconds after [`NOW`].
pub(super) fn after(seconds: u32) -> Time {
    NOW + Span::seconds(seconds)
}

pub(super) fn client(text: &str) -> ClientId {
    ClientId::new(text)
}

pub(super) fn lease(text: &str, epoch: u64) -> Lease {
    Lease { client_id: client(text), epoch }
}

pub(super) fn topic(text: &str) -> TopicName {
    TopicName::new(text.to_owned().into()).unwrap()
}

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

pub(super) fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

pub(super) fn subscription(text: &str) -> Subscription {
    Subscription { selector: selector(text), options: Default::default(), id: None }
}

pub(super) fn will(delay_s: u32) -> Will {
    Will { message: message("will", QoS::AtLeastOnce, None), expiry_s: None, delay: Span::seconds(delay_s) }
}

pub(super) fn message(payload: &str, qos: QoS, expires_at: Option<Time>) -> Message {
    let payload = Bytes::from(payload.to_owned());
    Message { topic: topic("a/b"), payload, qos, retain: false, properties: None, expires_at }
}

/// A run of QoS 2 messages with these payloads.
pub(super) fn run(payloads: &[&str]) -> Arc<Run> {
    Arc::new(Run::new(payloads.iter().map(|payload| message(payload, QoS::ExactlyOnce, None)).collect()))
}

pub(super) fn grant(qos: QoS) -> Grant {
    Grant { qos, ..Grant::default() }
}

pub(super) fn append(to: &Lease, run: &Arc<Run>) -> Write {
    Write::Append { to: to.client_id.clone(), run: run.clone(), grant: grant(QoS::ExactlyOnce) }
}

pub(super) fn acknowledge(of: &Lease, sequence: Sequence) -> Write {
    Write::Acknowledge { of: of.client_id.clone(), sequence }
}

pub(super) fn release(of: &Lease, sequence: Sequence) -> Write {
    Write::Release { of: of.client_id.clone(), sequence }
}

pub(super) fn complete(of: &Lease, sequence: Sequence) -> Write {
    Write::Complete { of: of.client_id.clone(), sequence }
}

/// Opens a Session with `clean_start`, this expiry and will.
pub(super) async fn open(
    store: &Store,
    id: &str,
    clean_start: bool,
    expiry: Option<Span>,
    will: Option<Will>,
    now: Time,
) -> (Lease, Opened) {
    let opened = store.open(&client(id), Open { clean_start, expiry, will }, now).await.unwrap();
    (lease(id, opened.epoch), opened)
}

/// Opens or resumes a Session that lasts for a minute.
pub(super) async fn resume(store: &Store, id: &str) -> (Lease, Opened) {
    open(store, id, false, MINUTE, None, NOW).await
}

/// Closes with the will in force.
pub(super) async fn close(store: &Store, lease: &Lease, expiry: Option<Span>, sent: Sequence, now: Time) -> Closed {
    store.close(lease, Close { keep_will: true, will_waits: Span(0), expiry, sent }, now).await.unwrap()
}

pub(super) async fn write(store: &Store, write: Write) -> Written {
    store.write(vec![write], NOW).await.unwrap().remove(0)
}

/// Puts these messages into the queue and returns their sequences.
pub(super) async fn fill(store: &Store, lease: &Lease, payloads: &[&str]) -> Vec<Sequence> {
    assert_eq!(write(store, append(lease, &run(payloads))).await, Written::Done);
    let all = sequences(&read(store, lease, 0).await);
    all[all.len() - payloads.len()..].to_vec()
}

pub(super) async fn read(store: &Store, lease: &Lease, after: Sequence) -> Vec<Stored> {
    store.read(lease, after, ALL, NOW).await.unwrap()
}

pub(super) fn sequences(stored: &[Stored]) -> Vec<Sequence> {
    stored.iter().map(|stored| stored.sequence).collect()
}

pub(super) fn payloads(stored: &[Stored]) -> Vec<String> {
    stored.iter().map(|stored| String::from_utf8(stored.message.message().payload.to_vec()).unwrap()).collect()
}
