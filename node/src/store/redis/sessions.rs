//! The life of a Session: opened, subscribed, closed, purged.

use std::sync::Arc;

use bytes::Bytes;
use redis::{RedisError, Value};

use super::encoding;
use super::functions::Function;
use super::keys::SessionKeys;
use super::reply::{Reply, number};
use super::scan::Scan;
use super::survey::Survey;
use super::{Redis, due, failed};
use crate::message::{InRun, Run};
use crate::packet::PacketId;
use crate::packet::connect::ClientId;
use crate::session::state::{Epoch, Sequence, State, Will};
use crate::store::cluster::NodeId;
use crate::store::look::{Queued, Rows, Session};
use crate::store::{Close, Closed, DUE_LEASE, Lease, Open, Opened, Pending, StoreError};
use crate::subscription::{Selector, ShareGroup, Subscription};
use crate::time::{Span, Time};

impl Redis {
    pub(in crate::store) async fn open(&self, client_id: &ClientId, open: Open, now: Time) -> Result<Opened, StoreError> {
        let keys = self.keys.session(client_id);
        let will = open.will.as_ref().map(encoding::will).unwrap_or_default();
        let delay = open.will.as_ref().map_or(0, |will| will.delay.0);
        let reply = self.call(Function::Open, &keys.all_and_wills(), |call| {
            call.arg(self.cluster.node().as_str())
                .arg(u8::from(open.clean_start))
                .arg(span(open.expiry))
                .arg(&will[..])
                .arg(delay)
                .arg(now.0)
                .arg((now + DUE_LEASE).0)
                .arg(u8::from(self.cluster.is_full()));
        });
        let mut reply = Reply::optional(reply.await?)?.ok_or(StoreError::Full)?;
        let epoch = reply.number()?;
        let was_owned = reply.flag()?;
        let before = reply.optional_number()?;
        let due_will = take_will(&mut reply)?;
        let mut opened = Opened { epoch, was_owned, due_will, before, ..Opened::default() };
        if reply.flag()? {
            let (state, pending) = take_state(&mut reply, client_id)?;
            (opened.state, opened.pending) = (Some(state), pending);
        } else {
            opened.ended = take_selectors(reply.list()?)?;
            opened.left = reply.list()?.all_bytes()?.into_iter().filter_map(take_left).collect();
        }
        // Of what waited without a connection nothing is due any more, but a will that the caller is to publish: somebody looks later whether
        // it did. A node that dies before this has the Client on its list, and who cleans up after it looks too.
        if let Some(before) = before.filter(|_| !was_owned || opened.due_will.is_some()) {
            let look_at = opened.due_will.as_ref().map(|_| now + DUE_LEASE);
            self.mend_index(&keys, &due::member(client_id, before), look_at).await;
        }
        Ok(opened)
    }

    pub(in crate::store) async fn close(&self, lease: &Lease, close: Close, now: Time) -> Result<Closed, StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let member = due::member(&lease.client_id, lease.epoch);
        // Whether a will waits is not known before. So that none is lost between the two steps, somebody is to look at once.
        let may_wait = close.keep_will || close.expiry != Some(Span(0));
        if may_wait {
            self.index(keys.due_shard(), member.as_bytes(), Some(now), None).await?;
        }
        let reply = self.call(Function::Close, &keys.all_and_wills(), |call| {
            call.arg(lease.epoch).arg(u8::from(close.keep_will)).arg(span(close.expiry)).arg(close.sent).arg(now.0);
            call.arg(close.will_waits.0).arg((now + DUE_LEASE).0);
        });
        let reply = Reply::optional(reply.await?)?;
        let (closed, look_at) = match reply {
            Some(mut reply) => {
                let ended = reply.flag()?;
                let due_will = take_will(&mut reply)?;
                (Closed { was_owner: true, due_will, ended }, reply.optional_number()?.map(Time))
            }
            None => (Closed::default(), None),
        };
        if may_wait {
            self.mend_index(&keys, &member, look_at).await;
        }
        Ok(closed)
    }

    /// As `close` by a node that cannot say it any more. Read first and closed then: the epoch makes sure that it is the same Session.
    pub(in crate::store) async fn reap(
        &self,
        client_id: &ClientId,
        node: &NodeId,
        now: Time,
    ) -> Result<Option<(Lease, Closed)>, StoreError> {
        let keys = self.keys.session(client_id);
        let mut fields = redis::cmd("HMGET");
        fields.arg(keys.session()).arg(&["n", "e", "x", "r", "w"]);
        let mut reply = Reply::new(self.command(fields).await?)?;
        let owner = reply.optional_bytes()?;
        let (epoch, expiry, handed) = (reply.optional_number()?, reply.optional_bytes()?, reply.optional_number()?);
        let keep_will = reply.optional_bytes()?.is_some();
        // Empty: for ever, as the functions take it.
        let expiry = expiry.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        self.look_for_owed(client_id, now).await?;
        let Some(epoch) = epoch.filter(|_| owner.as_deref() == Some(node.as_str().as_bytes())) else { return Ok(None) };
        let lease = Lease { client_id: client_id.clone(), epoch };
        let close = Close { keep_will, will_waits: Span(0), expiry: expiry.map(Span), sent: handed.unwrap_or(0) };
        let closed = self.close(&lease, close, now).await?;
        Ok(closed.was_owner.then_some((lease, closed)))
    }

    pub(in crate::store) async fn owned_by(&self, client_id: &ClientId, node: &NodeId) -> Result<Option<Lease>, StoreError> {
        let mut fields = redis::cmd("HMGET");
        fields.arg(self.keys.session(client_id).session()).arg(&["n", "e"]);
        let mut reply = Reply::new(self.command(fields).await?)?;
        let (owner, epoch) = (reply.optional_bytes()?, reply.optional_number()?);
        let epoch = epoch.filter(|_| owner.as_deref() == Some(node.as_str().as_bytes()));
        Ok(epoch.map(|epoch| Lease { client_id: client_id.clone(), epoch }))
    }

    /// Some Sessions in no order, from this place of a walk on. `None`: there is no such place.
    pub(in crate::store) async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Option<Rows>, StoreError> {
        let Some(from) = after.map_or(Some(Scan::default()), Scan::parse) else { return Ok(None) };
        let (rows, next) = Survey::of(self).sessions(from, limit).await?;
        Ok(Some((rows, next.map(|next| next.to_string()))))
    }

    pub(in crate::store) async fn session(&self, client_id: &ClientId, limit: usize) -> Result<Option<Session>, StoreError> {
        Survey::of(self).session(client_id, limit).await
    }

    pub(in crate::store) async fn queue(&self, client_id: &ClientId, after: Sequence, limit: usize) -> Result<Vec<Queued>, StoreError> {
        Survey::of(self).queue(client_id, after, limit).await
    }

    /// The node that has the connection of this Client, if any has; `None`: there is no such Session.
    pub(in crate::store) async fn owner(&self, client_id: &ClientId) -> Result<Option<Option<NodeId>>, StoreError> {
        let mut fields = redis::cmd("HMGET");
        fields.arg(self.keys.session(client_id).session()).arg(&["n", "e"]);
        let mut reply = Reply::new(self.command(fields).await?)?;
        let (owner, epoch) = (reply.optional_bytes()?, reply.optional_number()?);
        let owner = owner.as_deref().and_then(|owner| std::str::from_utf8(owner).ok()).filter(|owner| !owner.is_empty());
        Ok(epoch.map(|_| owner.map(NodeId::new)))
    }

    /// The newest epochs of Sessions; `None`: there is no such Session.
    pub(in crate::store) async fn epochs(&self, clients: &[ClientId]) -> Result<Vec<Option<Epoch>>, StoreError> {
        let ask = |client_id| redis::cmd("HGET").arg(self.keys.session(client_id).session()).arg("e").take();
        let replies = self.link.write(0, clients.iter().map(ask).collect()).await.map_err(failed)?;
        let epoch = |reply: Result<Value, RedisError>| match reply.map_err(|error| failed(error.into()))? {
            Value::Nil => Ok(None),
            Value::BulkString(text) => Ok(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok())),
            _ => Err(StoreError::Unavailable),
        };
        replies.into_iter().map(epoch).collect()
    }

    pub(in crate::store) async fn pending(&self, client_id: &ClientId) -> Result<AllPending, StoreError> {
        let mut all = redis::cmd("HGETALL");
        all.arg(self.keys.session(client_id).received());
        Ok(take_received(Reply::new(self.command(all).await?)?, client_id)?.1)
    }

    /// Whoever died may have been given wills and not have come to say so in the index: somebody looks for them.
    async fn look_for_owed(&self, client_id: &ClientId, now: Time) -> Result<(), StoreError> {
        let keys = self.keys.session(client_id);
        let mut epochs = redis::cmd("HKEYS");
        epochs.arg(keys.wills());
        for epoch in Reply::new(self.command(epochs).await?)?.all_numbers()? {
            self.index(keys.due_shard(), due::member(client_id, epoch).as_bytes(), Some(now), None).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn owed_will(&self, lease: &Lease) -> Result<Option<Will>, StoreError> {
        let mut get = redis::cmd("HGET");
        get.arg(self.keys.session(&lease.client_id).wills()).arg(lease.epoch);
        match self.command(get).await? {
            Value::BulkString(text) if text.len() >= LEASED => Ok(encoding::take_will(Bytes::from(text).slice(LEASED..))),
            _ => Ok(None),
        }
    }

    /// What a durable Session subscribes to.
    pub(in crate::store) async fn subscriptions(&self, client_id: &ClientId) -> Result<Vec<Subscription>, StoreError> {
        let mut all = redis::cmd("HGETALL");
        all.arg(self.keys.session(client_id).subscriptions());
        take_subscriptions(Reply::new(self.command(all).await?)?)
    }

    pub(in crate::store) async fn subscribe(&self, lease: &Lease, subscriptions: &[Subscription]) -> Result<(), StoreError> {
        if subscriptions.is_empty() {
            return Ok(());
        }
        // Here, after the Session knows it, the routing table of a cluster is written.
        let keys = self.keys.session(&lease.client_id);
        let reply = self.call(Function::Subscribe, &[keys.session(), keys.subscriptions()], |call| {
            call.arg(lease.epoch);
            for subscription in subscriptions {
                call.arg(encoding::selector(&subscription.selector)).arg(encoding::subscription(subscription));
            }
        });
        reply.await.map(drop)
    }

    pub(in crate::store) async fn unsubscribe(&self, lease: &Lease, selectors: &[Selector]) -> Result<(), StoreError> {
        if selectors.is_empty() {
            return Ok(());
        }
        let keys = self.keys.session(&lease.client_id);
        let reply = self.call(Function::Unsubscribe, &[keys.session(), keys.subscriptions()], |call| {
            call.arg(lease.epoch);
            for selector in selectors {
                call.arg(encoding::selector(selector));
            }
        });
        reply.await.map(drop)
    }

    pub(in crate::store) async fn purge(&self, lease: &Lease) -> Result<bool, StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let purged = self
            .call(Function::Purge, &keys.all(), |call| {
                call.arg(lease.epoch);
            })
            .await?;
        let purged = number(&purged)? != 0;
        if purged {
            self.mend_index(&keys, &due::member(&lease.client_id, lease.epoch), None).await;
        }
        Ok(purged)
    }

    /// Puts the index right after the state. Where this fails or is cut off, the index says to look at once, and whoever looks mends it: so a
    /// failure here must not hide what the step before has done.
    async fn mend_index(&self, keys: &SessionKeys, member: &str, at: Option<Time>) {
        let mended = self.index(keys.due_shard(), member.as_bytes(), at, None).await;
        mended.unwrap_or_else(|error| tracing::debug!(?error, "the index of what is due is left as it was"));
    }
}

/// So many bytes before a will that is owed say until when it is leased.
const LEASED: usize = 16;

/// An expiry as the functions take it.
fn span(span: Option<Span>) -> String {
    span.map_or_else(String::new, |span| span.0.to_string())
}

/// A will, or nothing; one that is not understood is lost, and said to be.
pub(super) fn take_will(reply: &mut Reply) -> Result<Option<Will>, StoreError> {
    let Some(bytes) = reply.optional_bytes()? else { return Ok(None) };
    let will = encoding::take_will(bytes);
    if will.is_none() {
        tracing::error!("a will in the Store is not understood, and is not published");
    }
    Ok(will)
}

pub(super) fn take_selectors(reply: Reply) -> Result<Vec<Selector>, StoreError> {
    let fields = reply.all_bytes()?;
    Ok(fields.iter().filter_map(|field| encoding::take_selector(field)).collect())
}

fn take_subscriptions(reply: Reply) -> Result<Vec<Subscription>, StoreError> {
    let fields = reply.all_bytes()?;
    let (pairs, _) = fields.as_chunks::<2>();
    Ok(pairs.iter().filter_map(|[selector, value]| encoding::take_subscription(selector, value)).collect())
}

type AllPending = Vec<(PacketId, Pending)>;

fn take_state(reply: &mut Reply, client_id: &ClientId) -> Result<(State, AllPending), StoreError> {
    let subscriptions = take_subscriptions(reply.list()?)?;
    let (received, pending) = take_received(reply.list()?, client_id)?;
    Ok((State { subscriptions, received, released: reply.list()?.all_numbers()?, sent: reply.number()? }, pending))
}

/// Packet Identifiers that were received, and what is pending of them, in the order of its numbers.
fn take_received(reply: Reply, client_id: &ClientId) -> Result<(Vec<PacketId>, AllPending), StoreError> {
    let fields = reply.all_bytes()?;
    let (pairs, _) = fields.as_chunks::<2>();
    let (mut received, mut pending) = (Vec::new(), Vec::new());
    for [id, value] in pairs {
        let id = std::str::from_utf8(id).ok().and_then(|text| text.parse().ok()).and_then(PacketId::new);
        received.extend(id);
        pending.extend(id.zip(encoding::take_pending(value.clone(), client_id)));
    }
    pending.sort_by_key(|(_, pending)| pending.number());
    Ok((received, pending))
}

/// A message that a share group gets back.
fn take_left(entry: Bytes) -> Option<(InRun, Arc<ShareGroup>)> {
    let (grant, message) = encoding::take_queued(entry)?;
    Some((InRun { run: Arc::new(Run::from(message)), index: 0 }, grant.group?))
}
