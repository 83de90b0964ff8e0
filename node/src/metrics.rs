//! Every counter of a node, in one place.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::Counts;

#[derive(Debug, Default)]
pub struct Metrics {
    pub connections: AtomicUsize,
    pub connections_highest: AtomicUsize,
    pub connections_total: AtomicU64,
    pub connections_refused: AtomicU64,
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
    /// Requests for workers, those that are refused included.
    pub mcp_requests: AtomicU64,
    /// Over a limit.
    pub mcp_requests_refused: AtomicU64,
    /// Requests of this node that wait for their answer.
    pub mcp_in_flight: AtomicUsize,
    /// Workers that live, of all nodes.
    pub mcp_workers: AtomicUsize,
    /// Answers that were forwarded.
    pub mcp_responses: AtomicU64,
    /// Parts of answers.
    pub mcp_parts: AtomicU64,
    /// Second answers, and those that came too late.
    pub mcp_responses_unknown: AtomicU64,
    pub mcp_responses_malformed: AtomicU64,
    /// Answers that a node had begun to forward when it died: the requester may have them twice.
    pub mcp_responses_repeated: AtomicU64,
    pub mcp_cancelled: AtomicU64,
    /// Error replies, by their word.
    pub mcp_errors_timeout: AtomicU64,
    pub mcp_errors_no_worker: AtomicU64,
    pub mcp_errors_worker_failed: AtomicU64,
    pub mcp_errors_too_large: AtomicU64,
    pub mcp_errors_unavailable: AtomicU64,
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
