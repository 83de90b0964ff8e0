//! What a Client may do has changed while it is connected.

use std::sync::Arc;

use crate::broker::{Broker, Member};
use crate::hook::client::Client;
use crate::metrics::Metrics;
use crate::packet::reason::Reason;
use crate::session::Fault;
use crate::store::StoreError;

const SHUT_OUT: Fault = Fault::new(Reason::NOT_AUTHORIZED, "the Client is shut out by now");
const NOT_ITS_OWN: Fault = Fault::new(Reason::NOT_AUTHORIZED, "the Client may not subscribe any more to what it had subscribed to");

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

    /// Whether a connection may go on. What it may not subscribe to any more is unsubscribed, and it ends, for there is no other way to
    /// tell the Client.
    pub async fn reconsider_member(&self, member: &mut Member) -> Result<Option<Fault>, StoreError> {
        if self.guard.shut_out(&member.client).is_some() {
            Metrics::add(&self.metrics.connections_revoked, 1);
            return Ok(Some(SHUT_OUT));
        }
        let selectors = self.table.selectors(&member.subscriber);
        let denied = selectors.into_iter().filter(|selector| self.guard.subscribe(&member.client, selector).is_err());
        let denied: Vec<_> = denied.map(Ok).collect();
        if denied.is_empty() {
            return Ok(None);
        }
        Metrics::add(&self.metrics.connections_revoked, 1);
        self.unsubscribe(member, denied).await?;
        Ok(Some(NOT_ITS_OWN))
    }
}
