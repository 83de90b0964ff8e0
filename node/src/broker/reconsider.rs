//! What a Client may do has changed while it is connected, or while it came in.

use std::sync::Arc;

use crate::broker::{Broker, Member};
use crate::hook::client::Client;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::packet::reason::Reason;
use crate::session::Fault;
use crate::store::StoreError;
use crate::topic::name::TopicName;

const SHUT_OUT: Fault = Fault::new(Reason::NOT_AUTHORIZED, "the Client is shut out by now");
const NOT_ITS_OWN: Fault = Fault::new(Reason::NOT_AUTHORIZED, "the Client may not subscribe any more to what it had subscribed to");
const NOT_ITS_WILL: Fault = Fault::new(Reason::NOT_AUTHORIZED, "the Client may not publish to its Will Topic");

/// What is to be known of a will to say whether its Client may still leave it.
#[derive(Clone, Debug)]
pub struct LastWords {
    topic: TopicName,
    qos: QoS,
    retain: bool,
}

impl LastWords {
    /// With a copy of the topic: what came with it, the password too, is not to be kept.
    pub fn of(will: &Message) -> LastWords {
        let topic = TopicName::new(will.topic.as_str().into()).unwrap_or_else(|| will.topic.clone());
        LastWords { topic, qos: will.qos, retain: will.retain }
    }
}

impl Member {
    /// Its will is not published, however its connection ends.
    pub fn withdraw_will(&mut self) {
        (self.last_words, self.will) = (None, None);
    }
}

impl Broker {
    /// Everyone who is connected to this node.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.roster.online().iter().filter_map(|subscriber| subscriber.client()).collect()
    }

    /// Bans, users or rules have changed: no answer of the guard is remembered, and every connection of this node asks again.
    pub fn reconsider(&self) {
        self.table.ask_again();
        for subscriber in self.roster.online() {
            subscriber.mailbox.reconsider();
        }
    }

    /// A will is a publish: what the Client may not say now it may not say at its end either.
    pub fn may_leave(&self, client: &Client, words: &LastWords) -> Result<(), Fault> {
        let permit = self.guard.publish(client, &words.topic).map_err(|reason| Fault { reason, ..NOT_ITS_WILL })?;
        if permit.allows(words.qos, words.retain) { Ok(()) } else { Err(NOT_ITS_WILL) }
    }

    /// A Client that has just come in is told of changes from now on. Of those since it was asked who it is it was not: it is asked again.
    pub async fn confirm(&self, member: &Member) -> Result<(), Fault> {
        if let Some(reason) = self.guard.confirm(&member.client).await {
            return Err(Fault { reason, ..SHUT_OUT });
        }
        member.last_words.as_ref().map_or(Ok(()), |words| self.may_leave(&member.client, words))
    }

    /// Whether a connection may go on. What it may not subscribe to any more is unsubscribed, and it ends, for there is no other way to
    /// tell the Client. Nor is there one to tell it that its will is gone: whoever may not publish it, or is shut out, has none any more.
    pub async fn reconsider_member(&self, member: &mut Member) -> Result<Option<Fault>, StoreError> {
        if self.guard.shut_out(&member.client).is_some() {
            Metrics::add(&self.metrics.connections_revoked, 1);
            member.withdraw_will();
            return Ok(Some(SHUT_OUT));
        }
        let silenced = member.last_words.as_ref().and_then(|words| self.may_leave(&member.client, words).err());
        if silenced.is_some() {
            member.withdraw_will();
        }
        let selectors = self.table.selectors(&member.subscriber);
        let denied = selectors.into_iter().filter(|selector| self.guard.subscribe(&member.client, selector).is_err());
        let denied: Vec<_> = denied.map(Ok).collect();
        let fault = if denied.is_empty() { silenced } else { Some(NOT_ITS_OWN) };
        if fault.is_some() {
            Metrics::add(&self.metrics.connections_revoked, 1);
        }
        if !denied.is_empty() {
            self.unsubscribe(member, denied).await?;
        }
        Ok(fault)
    }
}
