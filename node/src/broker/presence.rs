//! What the administration shows of a connected client, and how it is found. The connection writes its own numbers; nobody else does, so
//! that they cost no more than a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::broker::Broker;
use crate::broker::roster::{Place, Subscriber};
use crate::hook::client::Client;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::router::Count;
use crate::session::{Counts, Fault};
use crate::subscription::{Grant, Selector, Subscription};
use crate::time::{Span, Time};

/// A Client as it is connected.
#[derive(Debug)]
pub struct Presence {
    pub client: Arc<Client>,
    pub connected_at: Time,
    /// It took up a Session that was there.
    pub resumed: bool,
    /// How long the Session outlives the connection, as CONNECT had it; `None`: for ever.
    pub expiry: Option<Span>,
    pub has_will: bool,
    pub traffic: Traffic,
}

/// What has passed since the connection began.
#[derive(Debug, Default)]
pub struct Traffic {
    pub publishes_received: AtomicU64,
    pub publish_bytes_received: AtomicU64,
    pub publishes_sent: AtomicU64,
    pub publish_bytes_sent: AtomicU64,
    /// Bytes that wait for the socket now.
    pub outgoing_bytes: AtomicU64,
    /// Messages above QoS 0 that were sent and not acknowledged.
    pub in_flight: AtomicU64,
}

impl Traffic {
    /// By the connection alone: what it adds to cannot change meanwhile.
    pub fn add(&self, counts: &Counts, outgoing_bytes: usize, in_flight: usize) {
        let add = |number: &AtomicU64, count: u64| {
            if count > 0 {
                number.store(number.load(Relaxed) + count, Relaxed);
            }
        };
        add(&self.publishes_received, counts.publishes_received);
        add(&self.publish_bytes_received, counts.publish_bytes_received);
        add(&self.publishes_sent, counts.publishes_sent);
        add(&self.publish_bytes_sent, counts.publish_bytes_sent);
        self.outgoing_bytes.store(outgoing_bytes as u64, Relaxed);
        self.in_flight.store(in_flight as u64, Relaxed);
    }
}

/// Numbers of subscriptions: those that are not shared, and those that are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscriptions {
    /// Of Sessions that are connected here.
    pub connected: [u64; 2],
    /// Of Sessions that end with their connection, which is here.
    pub live: [u64; 2],
    /// Of all others, wherever they are connected.
    pub durable: [u64; 2],
}

/// A Client that is connected here, with what waits for it.
#[derive(Debug)]
pub struct Seen {
    pub presence: Arc<Presence>,
    pub subscriptions: usize,
    /// The Session outlives the connection.
    pub durable: bool,
    pub mailbox_messages: usize,
    pub mailbox_bytes: usize,
}

impl Broker {
    /// Everyone who is connected here, in no order.
    pub fn present(&self) -> Vec<Seen> {
        self.roster.online().iter().filter_map(|subscriber| self.seen(subscriber)).collect()
    }

    pub fn present_as(&self, client_id: &ClientId) -> Option<Seen> {
        self.seen(&*self.roster.get(client_id)?)
    }

    /// Disconnects a Client that is connected here. False: it is not.
    pub fn kick_here(&self, client_id: &ClientId) -> bool {
        let subscriber = self.roster.get(client_id).filter(|subscriber| subscriber.mailbox.is_online());
        if let Some(subscriber) = &subscriber {
            subscriber.mailbox.kick(Fault::new(Reason::ADMINISTRATIVE_ACTION, "disconnected by the administration"));
            Metrics::add(&self.metrics.clients_kicked, 1);
        }
        subscriber.is_some()
    }

    /// What Sessions subscribe to whose connections are here, or of which only the others know where they are. Their Retain Handling is not known any more.
    pub fn subscriptions_of(&self, client_id: &ClientId) -> Vec<Subscription> {
        self.roster.get(client_id).map(|subscriber| self.table.subscriptions_of(&subscriber)).unwrap_or_default()
    }

    /// Every subscription of Clients that are connected here, and of Sessions that were left here in memory.
    pub fn each_subscription(&self, mut see: impl FnMut(&ClientId, Subscription)) {
        let is_cluster = self.store.cluster().is_some();
        let here = |subscriber: &Arc<Subscriber>| subscriber.place == Place::Here && (!is_cluster || subscriber.mailbox.is_online());
        for subscriber in self.roster.all().into_iter().filter(here) {
            self.table.subscriptions_of(&subscriber).into_iter().for_each(|one| see(&subscriber.client_id, one));
        }
    }

    /// How many messages wait in memory for a Client that is connected here, and the first of them.
    pub fn waiting(&self, client_id: &ClientId, limit: usize) -> Option<(usize, Vec<(Message, Grant)>)> {
        let subscriber = self.roster.get(client_id)?;
        let (_, count, _) = subscriber.mailbox.presence()?;
        Some((count, subscriber.mailbox.first(limit)))
    }

    /// How many subscriptions the Sessions have that this node knows itself. A walk over all of them.
    pub fn kinds_of_subscriptions(&self) -> Subscriptions {
        let mut counted = Subscriptions::default();
        for subscriber in self.roster.all().iter().filter(|subscriber| subscriber.place == Place::Here) {
            let Count { ordinary, shared } = self.table.count_of(subscriber);
            let add = |[all, groups]: &mut [u64; 2]| (*all, *groups) = (*all + ordinary as u64, *groups + shared as u64);
            add(if subscriber.is_durable() { &mut counted.durable } else { &mut counted.live });
            if subscriber.mailbox.is_online() {
                add(&mut counted.connected);
            }
        }
        counted
    }

    /// Every Topic Filter of the routing table, of all nodes, in order; shared ones as they are subscribed to.
    pub fn filters(&self) -> Vec<String> {
        let mut filters = std::collections::BTreeSet::new();
        for subscriber in self.roster.all() {
            filters.extend(self.table.selectors(&subscriber).iter().map(Selector::to_string));
        }
        filters.into_iter().collect()
    }

    fn seen(&self, subscriber: &Subscriber) -> Option<Seen> {
        let (presence, mailbox_messages, mailbox_bytes) = subscriber.mailbox.presence()?;
        let count = self.table.count_of(subscriber);
        Some(Seen {
            presence,
            subscriptions: count.ordinary + count.shared,
            durable: subscriber.is_durable(),
            mailbox_messages,
            mailbox_bytes,
        })
    }
}
