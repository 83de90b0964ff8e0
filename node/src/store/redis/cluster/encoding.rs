//! What nodes tell each other, as bytes. The first byte of everything is its version; numbers are big-endian; texts have two bytes of
//! length. No I/O. Whatever is not understood is `None`.
//!
//! - a batch of posts: version, posts. A post: flags, who gets it with its grant, who published it, Topic Name, messages,
//!   numbers with their publisher
//! - a change of routes: version, epoch, what, who, then subscriptions or selectors
//!
//! What both the Store and nodes write, as a grant, is in `store/redis/encoding.rs`.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::message::{Message, Numbers, Run};
use crate::packet::Version;
use crate::packet::connect::ClientId;
use crate::packet::subscribe::SubscriptionOptions;
use crate::session::state::Epoch;
use crate::store::cluster::{NodeId, Post, RouteChange, Who};
use crate::store::redis::encoding::{
    Flags, VERSION, flag, make_selector, put_flags, put_grant, put_properties, put_text, take_grant, take_slice, take_text, take_version,
};
use crate::subscription::{Selector, Subscription};
use crate::topic::filter::ShareName;
use crate::topic::name::TopicName;

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

/// Without its Topic Name, and with the length of its payload.
fn put_message(message: &Message, out: &mut BytesMut) {
    put_flags(message, out);
    put_properties(message, out);
    out.put_u32(message.payload.len() as u32);
    out.put_slice(&message.payload);
}

fn take_message(topic: &TopicName, bytes: &mut Bytes) -> Option<Message> {
    let payload = |bytes: &mut Bytes| {
        let length = bytes.try_get_u32().ok()? as usize;
        take_slice(length, bytes)
    };
    Flags::take(bytes)?.take_rest(topic.clone(), bytes, payload)
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

fn take_client(bytes: &mut Bytes) -> Option<ClientId> {
    Some(ClientId::new(&take_text(bytes)?))
}

#[cfg(test)]
mod tests;
