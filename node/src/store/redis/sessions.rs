//! The life of a Session: opened, subscribed, closed, purged.

use redis::{RedisError, Value};

use super::encoding;
use super::functions::Function;
use super::keys::SessionKeys;
use super::reply::{Reply, number};
use super::{Redis, due, failed};
use crate::packet::PacketId;
use crate::packet::connect::ClientId;
use crate::session::state::{Epoch, State, Will};
use crate::store::cluster::NodeId;
use crate::store::{Close, Closed, Lease, Open, Opened, StoreError};
use crate::subscription::{Selector, Subscription};
use crate::time::{Span, Time};

impl Redis {
    pub(in crate::store) async fn open(&self, client_id: &ClientId, open: Open, now: Time) -> Result<Opened, StoreError> {
        let keys = self.keys.session(client_id);
        let will = open.will.as_ref().map(encoding::will).unwrap_or_default();
        let delay = open.will.as_ref().map_or(0, |will| will.delay.0);
        let reply = self.call(Function::Open, &keys.all(), |call| {
            call.arg(self.cluster.node().as_str())
                .arg(u8::from(open.clean_start))
                .arg(span(open.expiry))
                .arg(&will[..])
                .arg(delay)
                .arg(now.0);
        });
        let mut reply = Reply::new(reply.await?)?;
        let epoch = reply.number()?;
        let was_owned = reply.flag()?;
        let before = reply.optional_number()?;
        let due_will = take_will(&mut reply)?;
        let (state, ended) = match reply.flag()? {
            true => (Some(take_state(&mut reply)?), Vec::new()),
            false => (None, take_selectors(reply.list()?)?),
        };
        if let Some(before) = before.filter(|_| !was_owned) {
            // It waited without a connection; what is due of it is void.
            self.mend_index(&keys, &due::member(client_id, before), None).await;
        }
        Ok(Opened { epoch, state, was_owned, due_will, ended })
    }

    pub(in crate::store) async fn close(&self, lease: &Lease, close: Close, now: Time) -> Result<Closed, StoreError> {
        let keys = self.keys.session(&lease.client_id);
        let member = due::member(&lease.client_id, lease.epoch);
        // Whether a will waits is not known before. So that none is lost between the two steps, somebody is to look at once.
        let may_wait = close.expiry != Some(Span(0));
        if may_wait {
            self.index(keys.due_shard(), member.as_bytes(), Some(now), None).await?;
        }
        let reply = self.call(Function::Close, &keys.all(), |call| {
            call.arg(lease.epoch).arg(u8::from(close.keep_will)).arg(span(close.expiry)).arg(close.sent).arg(now.0).arg(close.will_waits.0);
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
        fields.arg(keys.session()).arg(&["n", "e", "x", "r"]);
        let mut reply = Reply::new(self.command(fields).await?)?;
        let owner = reply.optional_bytes()?;
        let (epoch, expiry, handed) = (reply.optional_number()?, reply.optional_bytes()?, reply.optional_number()?);
        // Empty: for ever, as the functions take it.
        let expiry = expiry.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
        let Some(epoch) = epoch.filter(|_| owner.as_deref() == Some(node.as_str().as_bytes())) else { return Ok(None) };
        let lease = Lease { client_id: client_id.clone(), epoch };
        let close = Close { keep_will: true, will_waits: Span(0), expiry: expiry.map(Span), sent: handed.unwrap_or(0) };
        let closed = self.close(&lease, close, now).await?;
        Ok(closed.was_owner.then_some((lease, closed)))
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

fn take_state(reply: &mut Reply) -> Result<State, StoreError> {
    let subscriptions = take_subscriptions(reply.list()?)?;
    let received = reply.list()?.all_numbers()?;
    let received = received.into_iter().filter_map(|id| u16::try_from(id).ok().and_then(PacketId::new)).collect();
    Ok(State { subscriptions, received, released: reply.list()?.all_numbers()?, sent: reply.number()? })
}
