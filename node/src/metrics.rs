//! Every counter of a node, in one place: what is declared here is what `/metrics` shows.

mod histogram;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};

pub use histogram::{Histogram, Seen};

use crate::session::Counts;

/// The target of spans, which are for OpenTelemetry alone: where it is not configured nobody wants them, and they cost a look at a flag.
pub const SPANS: &str = "spans";

/// What came of the questions who somebody is and what he may do.
#[derive(Debug, Default)]
pub struct AuthCounts {
    /// Wrong passwords, tokens and proofs.
    pub failed: Arc<AtomicU64>,
    /// Not even looked at, because the address had failed too often.
    pub held: Arc<AtomicU64>,
    /// Not looked at, because too many waited already.
    pub busy: Arc<AtomicU64>,
    /// Whoever should say did not answer.
    pub unanswered: Arc<AtomicU64>,
    /// Clients that a ban keeps out or ends.
    pub banned: Arc<AtomicU64>,
    /// Publishes to a Topic Name that may not be; a run of them counts once.
    pub publishes_denied: Arc<AtomicU64>,
    pub subscriptions_denied: Arc<AtomicU64>,
}

macro_rules! counted {
    ($($add:ident $counter:ident $metric:ident),*) => {
        impl AuthCounts {
            $(pub fn $add(&self) {
                Metrics::add(&self.$counter, 1);
            })*

            /// These counts are from now on those of the metrics.
            pub fn join(&self, metrics: &mut Metrics) {
                $(metrics.$metric = self.$counter.clone();)*
            }
        }
    };
}

counted!(
    add_failed failed auth_failed, add_held held auth_held, add_busy busy auth_busy, add_unanswered unanswered auth_unanswered,
    add_banned banned auth_banned, add_publish_denied publishes_denied publishes_denied,
    add_subscription_denied subscriptions_denied subscriptions_denied
);

/// Makes the struct, and the list of its fields with their help: a counter cannot be left out of `/metrics`. An [`AtomicUsize`] goes up
/// and down, an [`AtomicU64`] only up.
macro_rules! counters {
    ($(#[$about:meta])* pub struct Metrics { $($(#[doc = $help:literal])* pub $name:ident: $Type:ty,)* }) => {
        $(#[$about])*
        pub struct Metrics { $($(#[doc = $help])* pub $name: $Type,)* }

        impl Metrics {
            /// Every metric with its name, its help and its value.
            pub fn all(&self) -> Vec<Metric<'_>> {
                vec![$(Metric { field: stringify!($name), help: &[$($help),*], value: self.$name.value() },)*]
            }
        }
    };
}

counters! {
#[derive(Debug, Default)]
pub struct Metrics {
    /// Clients that are connected, and those whose CONNECT is looked at: what `limits.connections_max` is held against.
    pub places_taken: AtomicUsize,
    /// Clients that are connected.
    pub connections: AtomicUsize,
    /// The most Clients that were connected at a time.
    pub connections_highest: AtomicUsize,
    /// Clients that have connected.
    pub connections_total: AtomicU64,
    /// CONNECTs that were refused.
    pub connections_refused: AtomicU64,
    /// Connections that were refused because as many come from that address as may.
    pub connections_refused_address: AtomicU64,
    /// Connections that were refused because they come too fast, from that address or to that listener.
    pub connections_refused_rate: AtomicU64,
    /// How often a Client was read no further for a while, because it sent too fast.
    pub rate_delays: AtomicU64,
    /// Messages over the rate that were dropped or refused.
    pub messages_over_rate: AtomicU64,
    /// Subscriptions over the rate that were refused.
    pub subscriptions_over_rate: AtomicU64,
    /// Connections that ended because what the Client may do has changed.
    pub connections_revoked: AtomicU64,
    /// Connections that ended because what the Client came in by, a token or a certificate, has expired.
    pub connections_expired: AtomicU64,
    /// Wrong passwords, tokens and proofs.
    pub auth_failed: Arc<AtomicU64>,
    /// CONNECTs that were not even looked at, because their address had failed too often.
    pub auth_held: Arc<AtomicU64>,
    /// CONNECTs whose password was not looked at, because too many waited for that.
    pub auth_busy: Arc<AtomicU64>,
    /// CONNECTs that were refused because whoever should say did not answer.
    pub auth_unanswered: Arc<AtomicU64>,
    /// CONNECTs and Clients that a ban kept out or ended.
    pub auth_banned: Arc<AtomicU64>,
    /// Runs of messages to a Topic Name that their Client may not publish to.
    pub publishes_denied: Arc<AtomicU64>,
    /// Subscriptions that rules did not allow.
    pub subscriptions_denied: Arc<AtomicU64>,
    /// Sockets that were accepted.
    pub sockets_total: AtomicU64,
    /// Sockets on which no CONNECT has been accepted yet.
    pub sockets_connecting: AtomicUsize,
    /// Closed at once, because too many were connecting, of all or from their address.
    pub sockets_refused: AtomicU64,
    /// Sockets that had not said CONNECT in time.
    pub connects_late: AtomicU64,
    /// TLS handshakes that came to nothing.
    pub tls_failed: AtomicU64,
    /// WebSocket handshakes that were refused, and WebSockets that broke the rules.
    pub websockets_failed: AtomicU64,
    /// Headers of the PROXY protocol that were wrong, missing, or from an address that may send none.
    pub proxy_headers_failed: AtomicU64,
    /// QUIC connections that came to nothing.
    pub quic_failed: AtomicU64,
    /// QUIC connections that had to show first that their address is theirs (Retry).
    pub quic_retries: AtomicU64,
    /// Bytes that came from Clients.
    pub bytes_received: AtomicU64,
    /// Bytes that went to Clients.
    pub bytes_sent: AtomicU64,
    /// Control Packets of any type that came from Clients.
    pub packets_received: AtomicU64,
    /// Control Packets of any type that went to Clients.
    pub packets_sent: AtomicU64,
    /// PUBLISH packets that came from Clients.
    pub publishes_received: AtomicU64,
    /// Bytes of payloads that came from Clients.
    pub publish_bytes_received: AtomicU64,
    /// PUBLISH packets that went to Clients.
    pub publishes_sent: AtomicU64,
    /// Bytes of payloads that went to Clients.
    pub publish_bytes_sent: AtomicU64,
    /// Topic Filters that were subscribed to.
    pub subscribes: AtomicU64,
    /// Topic Filters that were unsubscribed from.
    pub unsubscribes: AtomicU64,
    /// Messages that expired before they were sent.
    pub messages_expired: AtomicU64,
    /// Sessions whose Session Expiry Interval has passed.
    pub sessions_expired: AtomicU64,
    /// Messages that were larger than a Client takes.
    pub messages_too_large: AtomicU64,
    /// SUBACKs that left before all nodes were known to have the subscription.
    pub routes_unseen: AtomicU64,
    /// Dead nodes that this one cleaned up after.
    pub nodes_buried: AtomicU64,
    /// How often this node has lost its place in the cluster.
    pub memberships_lost: AtomicU64,
    /// Messages that were lost because the mailbox of a slow Client was full.
    pub messages_dropped_slow: AtomicU64,
    /// Handlers of the embedding program that panicked.
    pub hook_panics: AtomicU64,
    /// Handlers of the embedding program that took longer than they may.
    pub hook_timeouts: AtomicU64,
    /// How often handlers of the embedding program blocked a thread for longer than they may take, where they should have awaited.
    pub hook_blocks: AtomicU64,
    /// Payloads that `on_subscribe` returned for a subscription with wildcards, so that there was no topic to publish them to.
    pub hook_payloads_without_topic: AtomicU64,
    /// Messages that were not stored because a queue or the Store was full.
    pub messages_dropped_queue_full: AtomicU64,
    /// Clients that this node sent away, when it was drained or others had more room.
    pub clients_sent_away: AtomicU64,
    /// Clients that were disconnected by the administration.
    pub clients_kicked: AtomicU64,
    /// How long a turn waits until its acknowledgements may leave; 0 where it does not wait.
    pub commit_seconds: Histogram,
    /// How long one write to the Store is waited for, of all that a turn has for it; 0 where it is not.
    pub store_write_seconds: Histogram,
    /// Requests for workers, those that are refused included.
    pub mcp_requests: AtomicU64,
    /// Requests over a limit.
    pub mcp_requests_refused: AtomicU64,
    /// Requests of this node that wait for their answer.
    pub mcp_in_flight: AtomicUsize,
    /// Workers that live, of all nodes.
    pub mcp_workers: AtomicUsize,
    /// Answers to requests that were forwarded.
    pub mcp_responses: AtomicU64,
    /// Parts of answers to requests.
    pub mcp_parts: AtomicU64,
    /// Second answers, and those that came too late.
    pub mcp_responses_unknown: AtomicU64,
    /// Answers that were not readable.
    pub mcp_responses_malformed: AtomicU64,
    /// Answers, parts and error replies that the requester may have twice: a node had begun to forward them, and did not say that it ended.
    pub mcp_responses_repeated: AtomicU64,
    /// Parts of answers that were not forwarded: the Store did not take them in time, or those behind them could not wait any longer.
    pub mcp_parts_lost: AtomicU64,
    /// Messages of workers and other nodes for which this node had no place: it was too slow.
    pub mcp_messages_dropped: AtomicU64,
    /// Requests that were taken back.
    pub mcp_cancelled: AtomicU64,
    /// Error replies: no answer in time.
    pub mcp_errors_timeout: AtomicU64,
    /// Error replies: no worker answers the topic.
    pub mcp_errors_no_worker: AtomicU64,
    /// Error replies: the worker failed.
    pub mcp_errors_worker_failed: AtomicU64,
    /// Error replies: the request is too large.
    pub mcp_errors_too_large: AtomicU64,
    /// Error replies: it could not be answered.
    pub mcp_errors_unavailable: AtomicU64,
    /// Spans for OpenTelemetry that were not sent: the collector does not answer or keep up.
    pub otlp_spans_lost: Arc<AtomicU64>,
    /// Whether this node is the one that takes what Redis clients publish.
    pub bridge_keeper: AtomicUsize,
    /// Messages that the bridge published to Redis.
    pub bridge_sent: AtomicU64,
    /// Messages that the bridge did not publish to Redis: too many waited, or Redis did not answer.
    pub bridge_unsent: AtomicU64,
    /// Messages of Redis clients that this node handed to the subscribers.
    pub bridge_taken: AtomicU64,
    /// Messages of Redis clients that this node heard and could not hand on: another node is to do so now, or there were too many; then the
    /// cluster's own among them are counted too.
    pub bridge_lost: AtomicU64,
    /// Messages of Redis clients that this node refused: no Topic Name or one that begins with $, not in bridge.in_filters, or too large.
    pub bridge_refused: AtomicU64,
}
}

/// One metric as it is now.
#[derive(Debug)]
pub struct Metric<'a> {
    /// Its name in [`Metrics`].
    pub field: &'static str,
    /// Lines of its documentation.
    pub help: &'static [&'static str],
    pub value: Value<'a>,
}

#[derive(Debug)]
pub enum Value<'a> {
    /// It only goes up.
    Counter(u64),
    Gauge(u64),
    Histogram(&'a Histogram),
}

trait Reads {
    fn value(&self) -> Value<'_>;
}

impl Reads for AtomicU64 {
    fn value(&self) -> Value<'_> {
        Value::Counter(self.load(Ordering::Relaxed))
    }
}

impl Reads for Arc<AtomicU64> {
    fn value(&self) -> Value<'_> {
        Value::Counter(self.load(Ordering::Relaxed))
    }
}

impl Reads for AtomicUsize {
    fn value(&self) -> Value<'_> {
        Value::Gauge(self.load(Ordering::Relaxed) as u64)
    }
}

impl Reads for Histogram {
    fn value(&self) -> Value<'_> {
        Value::Histogram(self)
    }
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

    /// A Client is connected from now on.
    pub fn connected(&self) {
        let connections = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.connections_highest.fetch_max(connections, Ordering::Relaxed);
        Metrics::add(&self.connections_total, 1);
    }

    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
