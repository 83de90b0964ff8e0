//! What nodes tell each other, as bytes. The first byte of everything is its version; numbers are big-endian; texts have two bytes of
//! length. No I/O. Whatever is not understood is `None`.
//!
//! - a batch of posts: version, posts. A post: flags, who gets it with its grant, who published it, Topic Name, messages,
//!   numbers with their publisher
//! - a change of routes: version, epoch, what, who, then subscriptions or selectors
//! - a subscription under its selector `SHARE NUL FILTER`: version, Subscription Options, identifier

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::message::{Message, Numbers, Run};
use crate::packet::connect::ClientId;
use crate::packet::publish::PublishProperties;
use crate::packet::subscribe::SubscriptionOptions;
use crate::packet::{QoS, Version};
use crate::session::state::Epoch;
use crate::store::cluster::{NodeId, Post, RouteChange, Who};
use crate::subscription::{Grant, Selector, ShareGroup, Subscription};
use crate::time::Time;
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;

const VERSION: u8 = 1;

/// Flags of a message and a grant; the lowest two bits are the QoS.
const QOS: u8 = 0x03;
const RETAIN: u8 = 0x04; // of a message; in a grant: Retain As Published
const EXPIRES: u8 = 0x08; // of a message
const PROPERTIES: u8 = 0x10; // of a message
const IDS: u8 = 0x20; // of a grant
const GROUP: u8 = 0x40; // of a grant

/// Flags of a post.
const TO: u8 = 0x01;
const PUBLISHER: u8 = 0x02;
const NUMBERS: u8 = 0x04;

/// What a change of routes does.
const SET: u8 = b'S';
const UNSET: u8 = b'U';
const END: u8 = b'E';

/// Whose routes.
const DURABLE: u8 = 0;
const LIVE: u8 = 1;
const NODE: u8 = 2;

/// Batches of at most so many bytes, but a post that is larger goes alone.
pub(super) fn batches(posts: &[Post], bytes_max: usize) -> Vec<Bytes> {
    let (mut batches, mut batch, mut one) = (Vec::new(), BytesMut::new(), BytesMut::new());
    for post in posts {
        put_post(post, &mut one);
        if !batch.is_empty() && batch.len() + one.len() > bytes_max {
            batches.push(batch.split().freeze());
        }
        if batch.is_empty() {
            batch.put_u8(VERSION);
        }
        batch.put_slice(&one);
        one.clear();
    }
    if !batch.is_empty() {
        batches.push(batch.freeze());
    }
    batches
}

/// The messages are made of slices of the batch.
pub(super) fn take_posts(mut batch: Bytes) -> Option<Vec<Post>> {
    let bytes = &mut batch;
    take_version(bytes)?;
    let mut posts = Vec::new();
    while !bytes.is_empty() {
        posts.push(take_post(bytes)?);
    }
    Some(posts)
}

fn put_post(post: &Post, out: &mut BytesMut) {
    out.put_u8(flag(post.to.is_some(), TO) | flag(post.publisher.is_some(), PUBLISHER) | flag(post.run.numbers().is_some(), NUMBERS));
    if let Some((client_id, grant)) = &post.to {
        put_text(client_id.as_str(), out);
        put_grant(grant, out);
    }
    if let Some(client_id) = &post.publisher {
        put_text(client_id.as_str(), out);
    }
    put_text(post.run.topic().as_str(), out);
    out.put_u32(post.run.messages().len() as u32);
    post.run.messages().iter().for_each(|message| put_message(message, out));
    if let Some(Numbers { publisher, of }) = post.run.numbers() {
        put_text(publisher.as_str(), out);
        of.iter().for_each(|number| out.put_u64(*number));
    }
}

fn take_post(bytes: &mut Bytes) -> Option<Post> {
    let flags = bytes.try_get_u8().ok()?;
    let to = if flags & TO == 0 { None } else { Some((take_client(bytes)?, take_grant(bytes)?)) };
    let publisher = if flags & PUBLISHER == 0 { None } else { Some(take_client(bytes)?) };
    let topic = TopicName::new(take_text(bytes)?)?;
    let count = bytes.try_get_u32().ok()?;
    let messages = (0..count).map(|_| take_message(&topic, bytes)).collect::<Option<Vec<_>>>()?;
    if messages.is_empty() {
        return None; // a run is never empty
    }
    let mut run = Run::new(messages);
    if flags & NUMBERS != 0 {
        let publisher = take_client(bytes)?;
        let of = (0..count).map(|_| bytes.try_get_u64().ok()).collect::<Option<Vec<_>>>()?;
        run = run.numbered(Numbers { publisher, of });
    }
    Some(Post { run: Arc::new(run), to, publisher })
}

/// Without its Topic Name.
fn put_message(message: &Message, out: &mut BytesMut) {
    let flags = message.qos as u8
        | flag(message.retain, RETAIN)
        | flag(message.expires_at.is_some(), EXPIRES)
        | flag(message.properties.is_some(), PROPERTIES);
    out.put_u8(flags);
    if let Some(Time(at)) = message.expires_at {
        out.put_u64(at);
    }
    if let Some(properties) = &message.properties {
        PublishProperties::encode(Some(properties), out);
    }
    out.put_u32(message.payload.len() as u32);
    out.put_slice(&message.payload);
}

fn take_message(topic: &TopicName, bytes: &mut Bytes) -> Option<Message> {
    let flags = bytes.try_get_u8().ok()?;
    let expires_at = if flags & EXPIRES == 0 { None } else { Some(Time(bytes.try_get_u64().ok()?)) };
    let properties = if flags & PROPERTIES == 0 { None } else { PublishProperties::take(bytes).ok()? };
    let length = bytes.try_get_u32().ok()? as usize;
    let payload = take_slice(length, bytes)?;
    let qos = QoS::from_bits(flags & QOS)?;
    Some(Message { topic: topic.clone(), payload, qos, retain: flags & RETAIN != 0, properties, expires_at })
}

fn put_grant(grant: &Grant, out: &mut BytesMut) {
    let flags =
        grant.qos as u8 | flag(grant.retain_as_published, RETAIN) | flag(grant.ids.is_some(), IDS) | flag(grant.group.is_some(), GROUP);
    out.put_u8(flags);
    if let Some(ids) = &grant.ids {
        out.put_u32(ids.len() as u32);
        ids.iter().for_each(|id| out.put_u32(*id));
    }
    if let Some(group) = &grant.group {
        put_text(group.share.as_str(), out);
        put_text(group.filter.as_str(), out);
    }
}

fn take_grant(bytes: &mut Bytes) -> Option<Grant> {
    let flags = bytes.try_get_u8().ok()?;
    let ids = if flags & IDS == 0 {
        None
    } else {
        let count = bytes.try_get_u32().ok()?;
        Some((0..count).map(|_| bytes.try_get_u32().ok()).collect::<Option<Arc<[u32]>>>()?)
    };
    let group = if flags & GROUP == 0 {
        None
    } else {
        let share = ShareName::new(&take_text(bytes)?)?;
        Some(Arc::new(ShareGroup { share, filter: TopicFilter::new(&take_text(bytes)?)? }))
    };
    Some(Grant { qos: QoS::from_bits(flags & QOS)?, retain_as_published: flags & RETAIN != 0, ids, group })
}

pub(super) fn change(change: &RouteChange, epoch: Epoch) -> BytesMut {
    let mut out = BytesMut::with_capacity(128);
    out.put_u8(VERSION);
    let (what, who) = match change {
        RouteChange::Set { who, .. } => (SET, who),
        RouteChange::Unset { who, .. } => (UNSET, who),
        RouteChange::End { who } => (END, who),
    };
    out.put_u64(epoch);
    out.put_u8(what);
    put_who(who, &mut out);
    match change {
        RouteChange::Set { subscriptions, .. } => {
            for subscription in subscriptions {
                put_selector(&subscription.selector, &mut out);
                out.put_u8(subscription.options.bits());
                out.put_u32(subscription.id.unwrap_or_default()); // identifiers begin with 1
            }
        }
        RouteChange::Unset { selectors, .. } => selectors.iter().for_each(|selector| put_selector(selector, &mut out)),
        RouteChange::End { .. } => {}
    }
    out
}

/// With its epoch.
pub(super) fn take_change(mut record: Bytes) -> Option<(Epoch, RouteChange)> {
    let bytes = &mut record;
    take_version(bytes)?;
    let epoch = bytes.try_get_u64().ok()?;
    let what = bytes.try_get_u8().ok()?;
    let who = take_who(bytes)?;
    let change = match what {
        SET => RouteChange::Set { who, subscriptions: take_all(bytes, take_route)? },
        UNSET => RouteChange::Unset { who, selectors: take_all(bytes, take_listed_selector)? },
        END => RouteChange::End { who },
        _ => return None,
    };
    Some((epoch, change))
}

fn take_all<T>(bytes: &mut Bytes, take: impl Fn(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(take(bytes)?);
    }
    Some(all)
}

fn put_who(who: &Who, out: &mut BytesMut) {
    match who {
        Who::Session { client_id, node: None } => {
            out.put_u8(DURABLE);
            put_text(client_id.as_str(), out);
        }
        Who::Session { client_id, node: Some(node) } => {
            out.put_u8(LIVE);
            put_text(client_id.as_str(), out);
            put_text(node.as_str(), out);
        }
        Who::Node(node) => {
            out.put_u8(NODE);
            put_text(node.as_str(), out);
        }
    }
}

fn take_who(bytes: &mut Bytes) -> Option<Who> {
    match bytes.try_get_u8().ok()? {
        DURABLE => Some(Who::Session { client_id: take_client(bytes)?, node: None }),
        LIVE => Some(Who::Session { client_id: take_client(bytes)?, node: Some(NodeId::new(&take_text(bytes)?)) }),
        NODE => Some(Who::Node(NodeId::new(&take_text(bytes)?))),
        _ => None,
    }
}

fn put_selector(selector: &Selector, out: &mut BytesMut) {
    put_text(selector.share.as_ref().map_or("", ShareName::as_str), out);
    put_text(selector.filter.as_str(), out);
}

fn take_listed_selector(bytes: &mut Bytes) -> Option<Selector> {
    make_selector(&take_text(bytes)?, &take_text(bytes)?)
}

fn take_route(bytes: &mut Bytes) -> Option<Subscription> {
    let selector = take_listed_selector(bytes)?;
    let options = SubscriptionOptions::from_bits(Version::V5, bytes.try_get_u8().ok()?).ok()?;
    let id = bytes.try_get_u32().ok()?;
    Some(Subscription { selector, options, id: (id != 0).then_some(id) })
}

/// The field of a subscription in a table: neither a Share Name nor a filter has a NUL in it.
pub(super) fn selector(selector: &Selector) -> String {
    format!("{}\0{}", selector.share.as_ref().map_or("", ShareName::as_str), selector.filter.as_str())
}

/// Its value.
pub(super) fn subscription(subscription: &Subscription) -> Vec<u8> {
    let mut out = vec![VERSION, subscription.options.bits()];
    if let Some(id) = subscription.id {
        out.put_u32(id);
    }
    out
}

pub(super) fn take_subscription(field: &[u8], mut value: &[u8]) -> Option<Subscription> {
    let (share, filter) = std::str::from_utf8(field).ok()?.split_once('\0')?;
    let selector = make_selector(share, filter)?;
    let known = value.try_get_u8().ok()? == VERSION;
    let options = SubscriptionOptions::from_bits(Version::V5, value.try_get_u8().ok()?).ok()?;
    let id = if value.is_empty() { None } else { Some(value.try_get_u32().ok()?) };
    known.then_some(Subscription { selector, options, id })
}

fn make_selector(share: &str, filter: &str) -> Option<Selector> {
    let share = if share.is_empty() { None } else { Some(ShareName::new(share)?) };
    Some(Selector { share, filter: TopicFilter::new(filter)? })
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Texts of MQTT are never longer than 65,535 bytes.
fn put_text(text: &str, out: &mut BytesMut) {
    debug_assert!(text.len() <= usize::from(u16::MAX));
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn take_version(bytes: &mut Bytes) -> Option<()> {
    (bytes.try_get_u8().ok()? == VERSION).then_some(())
}

fn take_slice(length: usize, bytes: &mut Bytes) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn take_text(bytes: &mut Bytes) -> Option<ByteString> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    ByteString::try_from(take_slice(length, bytes)?).ok()
}

fn take_client(bytes: &mut Bytes) -> Option<ClientId> {
    Some(ClientId::new(&take_text(bytes)?))
}

#[cfg(test)]
mod tests;
