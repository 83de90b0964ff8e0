//! What the Store writes as bytes. The first byte of everything is its version; numbers are big-endian; texts have two bytes of length.
//!
//! - a queued message: version, grant, message; so that the message of a run is encoded once for all who get it
//! - a retained message: version, message
//! - what is pending: version, number, share groups with the member whose turn it was, message
//! - a will: version, flags, delay in ms, expiry in s, message
//! - a subscription: under `SHARE NUL FILTER`: version, Subscription Options, identifier
//!
//! No I/O. Whatever is not understood is `None`.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::message::{InRun, Message, Number, Numbers, Run};
use crate::packet::connect::ClientId;
use crate::packet::publish::PublishProperties;
use crate::packet::subscribe::SubscriptionOptions;
use crate::packet::{QoS, Version};
use crate::session::state::Will;
use crate::store::Pending;
use crate::subscription::{Grant, Selector, ShareGroup, Subscription};
use crate::time::{Span, Time};
use crate::topic::filter::{ShareName, TopicFilter};
use crate::topic::name::TopicName;

pub(super) const VERSION: u8 = 1;

/// Bits of the flags; the lowest two are the QoS.
const QOS: u8 = 0x03;
const RETAIN: u8 = 0x04; // of a message; in a grant: Retain As Published
const EXPIRES: u8 = 0x08; // of a message and a will
const PROPERTIES: u8 = 0x10; // of a message
const IDS: u8 = 0x20; // of a grant
const GROUP: u8 = 0x40; // of a grant

/// What comes before the message in an entry of a queue.
pub(super) fn put_head(grant: &Grant, out: &mut BytesMut) {
    out.put_u8(VERSION);
    put_grant(grant, out);
}

pub(super) fn put_grant(grant: &Grant, out: &mut BytesMut) {
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

/// A message without the version that comes before it.
pub(super) fn put_message(message: &Message, out: &mut BytesMut) {
    put_flags(message, out);
    put_text(message.topic.as_str(), out);
    put_properties(message, out);
    out.put_slice(&message.payload);
}

/// How every message begins.
pub(super) fn put_flags(message: &Message, out: &mut BytesMut) {
    let flags = message.qos as u8
        | flag(message.retain, RETAIN)
        | flag(message.expires_at.is_some(), EXPIRES)
        | flag(message.properties.is_some(), PROPERTIES);
    out.put_u8(flags);
    if let Some(Time(at)) = message.expires_at {
        out.put_u64(at);
    }
}

pub(super) fn put_properties(message: &Message, out: &mut BytesMut) {
    if let Some(properties) = &message.properties {
        PublishProperties::encode(Some(properties), out);
    }
}

/// What comes before the Topic Name and the payload of a message, and after them.
pub(super) struct Flags {
    flags: u8,
    expires_at: Option<Time>,
}

impl Flags {
    pub(super) fn take(bytes: &mut Bytes) -> Option<Flags> {
        let flags = bytes.try_get_u8().ok()?;
        let expires_at = if flags & EXPIRES == 0 { None } else { Some(Time(bytes.try_get_u64().ok()?)) };
        Some(Flags { flags, expires_at })
    }

    /// The message that has them. `bytes` begin with its properties; `payload` finds what follows.
    pub(super) fn take_rest(self, topic: TopicName, bytes: &mut Bytes, payload: impl Fn(&mut Bytes) -> Option<Bytes>) -> Option<Message> {
        let Flags { flags, expires_at } = self;
        let properties = if flags & PROPERTIES == 0 { None } else { PublishProperties::take(bytes).ok()? };
        let (payload, qos) = (payload(bytes)?, QoS::from_bits(flags & QOS)?);
        Some(Message { topic, payload, qos, retain: flags & RETAIN != 0, properties, expires_at })
    }
}

/// An entry of a queue. The message is made of slices of it.
pub(super) fn take_queued(mut bytes: Bytes) -> Option<(Grant, Message)> {
    let bytes = &mut bytes;
    take_version(bytes)?;
    Some((take_grant(bytes)?, take_message(bytes)?))
}

pub(super) fn take_grant(bytes: &mut Bytes) -> Option<Grant> {
    let flags = bytes.try_get_u8().ok()?;
    let ids = if flags & IDS == 0 { None } else { Some(take_ids(bytes)?) };
    let group = if flags & GROUP == 0 { None } else { Some(Arc::new(take_group(bytes)?)) };
    Some(Grant { qos: QoS::from_bits(flags & QOS)?, retain_as_published: flags & RETAIN != 0, ids, group })
}

pub(super) fn pending(pending: &Pending) -> BytesMut {
    let message = pending.message.message();
    let mut out = BytesMut::with_capacity(80 + message.topic.as_str().len() + message.payload.len());
    out.put_u8(VERSION);
    out.put_u64(pending.number());
    out.put_u16(pending.turns.len() as u16);
    for (group, client_id) in &pending.turns {
        put_text(group.share.as_str(), &mut out);
        put_text(group.filter.as_str(), &mut out);
        put_text(client_id.as_str(), &mut out);
    }
    put_message(message, &mut out);
    out
}

/// Of a message of this publisher.
pub(super) fn take_pending(mut bytes: Bytes, publisher: &ClientId) -> Option<Pending> {
    let bytes = &mut bytes;
    take_version(bytes)?;
    let number: Number = bytes.try_get_u64().ok()?;
    let count = bytes.try_get_u16().ok()?;
    let turn = |bytes: &mut Bytes| Some((Arc::new(take_group(bytes)?), ClientId::new(&take_text(bytes)?)));
    let turns = (0..count).map(|_| turn(bytes)).collect::<Option<Vec<_>>>()?;
    let numbers = Numbers { publisher: publisher.clone(), of: vec![number] };
    let run = Arc::new(Run::from(take_message(bytes)?).numbered(numbers));
    Some(Pending { message: InRun { run, index: 0 }, turns })
}

pub(super) fn retained(message: &Message) -> BytesMut {
    let mut out = BytesMut::with_capacity(64 + message.topic.as_str().len() + message.payload.len());
    out.put_u8(VERSION);
    put_message(message, &mut out);
    out
}

pub(super) fn take_retained(mut bytes: Bytes) -> Option<Message> {
    take_version(&mut bytes)?;
    take_message(&mut bytes)
}

pub(super) fn will(will: &Will) -> BytesMut {
    let mut out = BytesMut::with_capacity(64 + will.message.topic.as_str().len() + will.message.payload.len());
    out.put_slice(&[VERSION, flag(will.expiry_s.is_some(), EXPIRES)]);
    out.put_u64(will.delay.0);
    out.put_u32(will.expiry_s.unwrap_or_default());
    put_message(&will.message, &mut out);
    out
}

pub(super) fn take_will(mut bytes: Bytes) -> Option<Will> {
    let bytes = &mut bytes;
    take_version(bytes)?;
    let flags = bytes.try_get_u8().ok()?;
    let delay = Span(bytes.try_get_u64().ok()?);
    let expiry_s = bytes.try_get_u32().ok()?;
    let message = take_message(bytes)?;
    Some(Will { message, expiry_s: (flags & EXPIRES != 0).then_some(expiry_s), delay })
}

/// Neither a Share Name nor a filter has a NUL in it.
pub(super) fn selector(selector: &Selector) -> String {
    let share = selector.share.as_ref().map_or("", ShareName::as_str);
    format!("{share}\0{}", selector.filter.as_str())
}

pub(super) fn take_selector(bytes: &[u8]) -> Option<Selector> {
    let (share, filter) = std::str::from_utf8(bytes).ok()?.split_once('\0')?;
    make_selector(share, filter)
}

/// An empty Share Name: it is not shared.
pub(super) fn make_selector(share: &str, filter: &str) -> Option<Selector> {
    let share = if share.is_empty() { None } else { Some(ShareName::new(share)?) };
    Some(Selector { share, filter: TopicFilter::new(filter)? })
}

/// What is kept under the selector of a subscription.
pub(super) fn subscription(subscription: &Subscription) -> Vec<u8> {
    let mut out = vec![VERSION, subscription.options.bits()];
    if let Some(id) = subscription.id {
        out.put_u32(id);
    }
    out
}

pub(super) fn take_subscription(selector: &[u8], mut value: &[u8]) -> Option<Subscription> {
    let selector = take_selector(selector)?;
    let known = value.try_get_u8().ok()? == VERSION;
    let options = SubscriptionOptions::from_bits(Version::V5, value.try_get_u8().ok()?).ok()?;
    let id = if value.is_empty() { None } else { Some(value.try_get_u32().ok()?) };
    known.then_some(Subscription { selector, options, id })
}

pub(super) fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Texts of MQTT are never longer than 65,535 bytes.
pub(super) fn put_text(text: &str, out: &mut BytesMut) {
    debug_assert!(text.len() <= usize::from(u16::MAX));
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

pub(super) fn take_version(bytes: &mut Bytes) -> Option<()> {
    (bytes.try_get_u8().ok()? == VERSION).then_some(())
}

pub(super) fn take_text(bytes: &mut Bytes) -> Option<ByteString> {
    let length = usize::from(bytes.try_get_u16().ok()?);
    ByteString::try_from(take_slice(length, bytes)?).ok()
}

pub(super) fn take_slice(length: usize, bytes: &mut Bytes) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

fn take_ids(bytes: &mut Bytes) -> Option<Arc<[u32]>> {
    let count = bytes.try_get_u32().ok()?;
    (0..count).map(|_| bytes.try_get_u32().ok()).collect()
}

fn take_group(bytes: &mut Bytes) -> Option<ShareGroup> {
    let share = ShareName::new(&take_text(bytes)?)?;
    Some(ShareGroup { share, filter: TopicFilter::new(&take_text(bytes)?)? })
}

/// A message, which is all that is left.
fn take_message(bytes: &mut Bytes) -> Option<Message> {
    let flags = Flags::take(bytes)?;
    let topic = TopicName::new(take_text(bytes)?)?;
    flags.take_rest(topic, bytes, |bytes| Some(std::mem::take(bytes)))
}

#[cfg(test)]
mod tests;
