//! `/metrics`: every counter, as the text that Prometheus reads, or OpenMetrics for who asks for it. It is open: there is nothing about a single
//! client in it, and no label has more than a handful of values.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Desk, Shared};
use crate::broker::life::Stage;
use crate::metrics::Value;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/metrics", get(metrics))
}

/// Names that would not say their unit last, as it is usual.
const NAMES: &[(&str, &str)] = &[
    ("bytes_received", "received_bytes"),
    ("bytes_sent", "sent_bytes"),
    ("publish_bytes_received", "publish_received_bytes"),
    ("publish_bytes_sent", "publish_sent_bytes"),
    ("connections_total", "connections_accepted"),
    ("sockets_total", "sockets_accepted"),
];

/// A field of `Metrics` as Prometheus knows it, without what a counter has at its end.
fn name_of(field: &str) -> String {
    let name = NAMES.iter().find(|(known, _)| *known == field).map_or(field, |(_, name)| name);
    format!("mqttd_{name}")
}

async fn metrics(State(desk): Shared, headers: HeaderMap) -> Response {
    let asked = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open = asked.contains("application/openmetrics-text");
    let mut text = Text { text: String::with_capacity(16 * 1024), open };
    desk.write_metrics(&mut text).await;
    if open {
        text.text.push_str("# EOF\n");
    }
    let kind = if open { OPEN_METRICS } else { PROMETHEUS };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], text.text).into_response()
}

/// The text in the making.
struct Text {
    text: String,
    open: bool,
}

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}\n", help.replace('\\', "\\\\").replace('\n', "\\n"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    /// OpenMetrics names the family without `_total`, the older text with it.
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let family = if self.open { name.to_owned() } else { format!("{name}_total") };
        self.head(&family, "counter", help);
        let _ = writeln!(self.text, "{name}_total {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, seen: &crate::metrics::Seen) {
        self.head(name, "histogram", help);
        for (bound, count) in &seen.up_to {
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound:?}\"}} {count}");
        }
        let (count, sum) = (seen.count, seen.sum_s);
        let _ = writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum:?}\n{name}_count {count}");
    }

    /// One of several, of which exactly one holds.
    fn states(&mut self, name: &str, help: &str, label: &str, states: &[(&str, bool)]) {
        self.head(name, "gauge", help);
        for (state, holds) in states {
            let _ = writeln!(self.text, "{name}{{{label}=\"{state}\"}} {}", u8::from(*holds));
        }
    }
}

impl Desk {
    async fn write_metrics(&self, text: &mut Text) {
        let broker = &self.broker;
        for metric in broker.metrics.all() {
            let help = metric.help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            let name = name_of(metric.field);
            match metric.value {
                Value::Counter(count) => text.counter(&name, &help, count),
                Value::Gauge(value) => text.gauge(&name, &help, value),
                Value::Histogram(histogram) => text.histogram(&name, &help, &histogram.seen()),
            }
        }
        let (store, cluster) = (broker.store(), broker.store().cluster());
        let (mut messages, mut bytes, mut largest, mut subscriptions) = (0, 0, 0, 0);
        for seen in broker.present() {
            messages += seen.mailbox_messages;
            bytes += seen.mailbox_bytes;
            largest = largest.max(seen.mailbox_messages);
            subscriptions += seen.subscriptions;
        }
        text.gauge("mqttd_mailbox_messages", "Messages that wait in memory for connected Clients.", messages as u64);
        text.gauge("mqttd_mailbox_bytes", "Bytes of such messages.", bytes as u64);
        text.gauge("mqttd_mailbox_messages_largest", "Messages that wait for the Client with the most.", largest as u64);
        text.gauge("mqttd_subscriptions", "Subscriptions of Clients that are connected to this node.", subscriptions as u64);
        text.gauge("mqttd_routes", "Entries of the routing table: own subscriptions, and what others told.", broker.subscriptions() as u64);
        text.gauge("mqttd_store_up", "Whether the Store answers.", broker.health().store.is_reachable().into());
        text.gauge("mqttd_ready", "Whether clients should be sent to this node.", self.is_ready().into());
        text.gauge("mqttd_uptime_seconds", "Since the start of this node.", broker.clock.now().since(self.started).0 / 1000);
        let stage = broker.life.stage();
        let stages = [Stage::Running, Stage::Leaving, Stage::Draining, Stage::Drained].map(|one| (one.name(), one == stage));
        text.states("mqttd_stage", "What this node is at.", "stage", &stages);
        text.states("mqttd_build_info", "The version of this node.", "version", &[(env!("CARGO_PKG_VERSION"), true)]);
        if let Some(cluster) = &cluster {
            text.gauge("mqttd_nodes", "Nodes of the cluster that live, as this one knows.", cluster.live().len() as u64);
            text.counter("mqttd_posts_dropped", "QoS 0 messages for other nodes that found no room.", cluster.dropped());
        }
        // Without an answer these are left out: a zero would be a lie.
        if let Ok(stats) = store.stats().await {
            text.gauge("mqttd_retained_messages", "Retained messages in the Store.", stats.retained);
            text.counter("mqttd_store_dropped_messages", "Messages that the Store had no room for, told by this node.", stats.dropped_full);
            text.counter("mqttd_store_expired_messages", "Messages that expired in the Store, found by this node.", stats.expired);
            // On Redis these are as of the last walk over all keys, and zero until the first has come to its end.
            if !store.is_shared() || stats.sessions > 0 {
                text.gauge("mqttd_sessions", "Sessions in the Store.", stats.sessions);
                text.gauge("mqttd_queued_messages", "Messages in the queues of Sessions.", stats.queued_messages);
                text.gauge("mqttd_store_held_bytes", "Bytes of queued and retained messages; on Redis of queues only.", stats.held_bytes);
            }
        }
    }
}
