//! What the administration asks of a Session: to subscribe and unsubscribe for its Client, as the connection would, and to end.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::broker::{Broker, Member};
use crate::hook::client::{Client, Peer, Proof};
use crate::packet::Version;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::packet::subscribe::SubscriptionOptions;
use crate::session::{Outcome, Session};
use crate::store::{Close, Open, StoreError};
use crate::subscription::Selector;
use crate::time::{Span, Time};

/// What the connection of a Client is to do for it.
#[derive(Clone, Debug)]
pub enum Order {
    /// Topic Filters as a Client would write them, with their options.
    Subscribe(Vec<(String, SubscriptionOptions)>),
    Unsubscribe(Vec<Selector>),
}

/// An order, and who is told what came of it: a Reason Code for each filter, as SUBACK and UNSUBACK have them.
#[derive(Debug)]
pub struct Ordered {
    order: Order,
    told: oneshot::Sender<Vec<Reason>>,
}

impl Broker {
    /// Gives an order to the connection of this Client. `None`: it is not connected here. No answer: it ended meanwhile.
    pub fn order(&self, client_id: &ClientId, order: Order) -> Option<oneshot::Receiver<Vec<Reason>>> {
        let subscriber = self.roster.get(client_id).filter(|subscriber| subscriber.mailbox.is_online())?;
        let (told, heard) = oneshot::channel();
        subscriber.mailbox.order(Ordered { order, told });
        Some(heard)
    }

    /// What the connection has been ordered. The rules for its Client hold as for what it asks itself.
    pub async fn follow_orders(&self, member: &mut Member, session: &mut Session) -> Result<(), StoreError> {
        for Ordered { order, told } in member.subscriber.mailbox.take_orders(member.lease.epoch) {
            let reasons = match order {
                Order::Subscribe(wanted) => {
                    let requests = wanted.iter().map(|(text, options)| session.subscription(text, *options, None));
                    match self.subscribe(member, requests.collect()).await? {
                        Outcome::Subscribed(all) => session.begin_reads(all),
                        _ => Vec::new(),
                    }
                }
                Order::Unsubscribe(selectors) => {
                    let filters = selectors.iter().filter(|selector| selector.share.is_none()).map(|selector| selector.filter.clone());
                    let filters: Vec<_> = filters.collect();
                    match self.unsubscribe(member, selectors.into_iter().map(Ok).collect()).await? {
                        Outcome::Unsubscribed(reasons) => {
                            session.end_reads(&filters);
                            reasons
                        }
                        _ => Vec::new(),
                    }
                }
            };
            let _ = told.send(reasons);
        }
        Ok(())
    }

    /// Ends a Session as a Client would that comes with Clean Start and no expiry, and goes at once: whoever is connected is taken over, what
    /// the queue owes to share groups goes on, and a will that is due is published.
    pub async fn end_session(&self, client_id: &ClientId, now: Time) -> Result<(), StoreError> {
        let client = Client {
            id: client_id.clone(),
            user: None,
            peer: Arc::new(Peer::tcp(([0, 0, 0, 0], 0).into())),
            version: Version::V5,
            proof: Proof::default(),
            keep_alive_s: 0,
            clean_start: true,
        };
        let open = Open { clean_start: true, expiry: Some(Span(0)), will: None };
        let (member, _) = self.open(&Arc::new(client), client_id, open, now).await?;
        let close = Close { keep_will: false, will_waits: Span(0), expiry: Some(Span(0)), sent: 0 };
        if let Some(mut member) = member {
            self.give_back(&mut member, false, close, now).await;
        }
        Ok(())
    }
}
