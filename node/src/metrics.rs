//! Every counter of a node, in one place.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Counts;

/// What came of the questions who somebody is and what he may do.
#[derive(Debug, Default)]
pub struct AuthCounts {
    /// Wrong passwords, tokens and proofs.
    pub failed: AtomicU64,
    /// Not even looked at, because the address had failed too often.
    pub held: AtomicU64,
    /// Not looked at, because too many waited already.
    pub busy: AtomicU64,
    /// Whoever should say did not answer.
    pub unanswered: AtomicU64,
    /// Clients that a ban keeps out or ends.
    pub banned: AtomicU64,
    /// Publishes to a Topic Name that may not be; a run of them counts once.
    pub publishes_denied: AtomicU64,
    pub subscriptions_denied: AtomicU64,
}

macro_rules! counted {
    ($($add:ident $counter:ident),*) => {
        impl AuthCounts {
            $(pub fn $add(&self) {
                Metrics::add(&self.$counter, 1);
            })*
        }
    };
}

counted!(
    add_failed failed, add_held held, add_busy busy, add_unanswered unanswered, add_banned banned,
    add_publish_denied publishes_denied, add_subscription_denied subscriptions_denied
);

#[derive(Debug, Default)]
pub struct Metrics {
    pub auth: std::sync::Arc<AuthCounts>,
    pub connections: AtomicUsize,
    pub connections_highest: AtomicUsize,
    pub connections_total: AtomicU64,
    pub connections_refused: AtomicU64,
    /// Because as many come from that address as may.
    pub connections_refused_address: AtomicU64,
    /// Because they come from that address too fast.
    pub connections_refused_rate: AtomicU64,
    /// How often a Client was read no further for a while, because it sent too fast.
    pub rate_delays: AtomicU64,
    /// Messages over the rate that were dropped or refused.
    pub messages_over_rate: AtomicU64,
    pub subscriptions_over_rate: AtomicU64,
    /// Connections that ended because what the Client may do has changed.
    pub connections_revoked: AtomicU64,
    pub sockets_total: AtomicU64,
    /// Sockets on which no CONNECT has been accepted yet.
    pub sockets_connecting: AtomicUsize,
    /// Closed at once, because too many were connecting.
    pub sockets_refused: AtomicU64,
    /// Sockets that had not said CONNECT in time.
    pub connects_late: AtomicU64,
    /// TLS handshakes that came to nothing.
    pub tls_failed: AtomicU64,
    /// WebSocket handshakes that were refused, and WebSockets that broke the rules.
    pub websockets_failed: AtomicU64,
    /// Headers of the PROXY protocol that were wrong or missing.
    pub proxy_headers_failed: AtomicU64,
    /// QUIC connections that came to nothing.
    pub quic_failed: AtomicU64,
    pub bytes_received: AtomicU64,
    pub bytes_sent: AtomicU64,
    /// Control Packets of any type.
    pub packets_received: AtomicU64,
    pub packets_sent: AtomicU64,
    pub publishes_received: AtomicU64,
    /// Payloads only, as the next but one.
    pub publish_bytes_received: AtomicU64,
    pub publishes_sent: AtomicU64,
    pub publish_bytes_sent: AtomicU64,
    pub messages_expired: AtomicU64,
    /// Sessions whose Session Expiry Interval has passed.
    pub sessions_expired: AtomicU64,
    pub messages_too_large: AtomicU64,
    /// SUBACKs that left before all nodes were known to have the subscription.
    pub routes_unseen: AtomicU64,
    /// Dead nodes that this one cleaned up after.
    pub nodes_buried: AtomicU64,
    /// How often this node has lost its place in the cluster.
    pub memberships_lost: AtomicU64,
    /// Lost because the mailbox of a slow Client was full.
    pub messages_dropped_slow: AtomicU64,
    /// Handlers of the embedding program that panicked, and those that took longer than they may.
    pub hook_panics: AtomicU64,
    pub hook_timeouts: AtomicU64,
    /// Payloads that `on_subscribe` returned for a subscription with wildcards, so that there was no topic to publish them to.
    pub hook_payloads_without_topic: AtomicU64,
    /// Not stored because a queue or the Store was full.
    pub messages_dropped_queue_full: AtomicU64,
}

impl Metrics {
    pub fn add(counter: &AtomicU64, count: u64) {
        if count > 0 {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Adds what a Session counted in one turn.
    pub fn add_counts(&self, counts: Counts) {
        Metrics::add(&self.packets_sent, counts.packets_sent);
        Metrics::add(&self.publishes_received, counts.publishes_received);
        Metrics::add(&self.publish_bytes_received, counts.publish_bytes_received);
        Metrics::add(&self.publishes_sent, counts.publishes_sent);
        Metrics::add(&self.publish_bytes_sent, counts.publish_bytes_sent);
        Metrics::add(&self.messages_expired, counts.expired);
        Metrics::add(&self.messages_too_large, counts.too_large);
    }

    /// A Client is connected from now on; the returned number includes it.
    pub fn connected(&self) -> usize {
        let connections = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.connections_highest.fetch_max(connections, Ordering::Relaxed);
        Metrics::add(&self.connections_total, 1);
        connections
    }

    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
