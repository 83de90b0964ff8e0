//! Traces for OpenTelemetry: spans are collected as they end and sent to a collector as OTLP/HTTP in its JSON encoding
//! (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"). One thread sends, and nothing of the broker waits for it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

use super::{Failure, http};
use crate::config::{ConfigErrors, Effective};
use crate::metrics::Metrics;

/// Spans that wait to be sent; more are dropped, and the log says so.
const WAITING_MAX: usize = 4096;

/// Spans of one request.
const BATCH_MAX: usize = 512;

/// How long a span waits for others to be sent with.
const PAUSE: Duration = Duration::from_millis(500);

/// One request to the collector; and how long the end of the program waits for the last one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Collects spans where a trace is sampled.
pub(super) struct Spans {
    sender: mpsc::Sender<Item>,
    one_in: u64,
    traces: AtomicU64,
    losses: Arc<Losses>,
}

/// Spans that were not sent.
#[derive(Debug, Default)]
struct Losses {
    /// Among the metrics of the node, when there is one.
    counted: OnceLock<Arc<AtomicU64>>,
    /// The log says so already, of those that found no room.
    told: AtomicBool,
}

impl Losses {
    fn add(&self, spans: u64) {
        self.counted.get().into_iter().for_each(|counted| Metrics::add(counted, spans));
    }
}

/// For the program around it.
pub(super) struct Exporter {
    sender: mpsc::Sender<Item>,
    losses: Arc<Losses>,
}

enum Item {
    Span(Value),
    /// Everything before it has been sent.
    Flush(std::sync::mpsc::Sender<()>),
}

/// A span of a sampled trace that has not ended.
struct Open {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    begun: Duration,
    attributes: Fields,
}

#[derive(Default)]
struct Fields(Vec<Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.0.push(json!({ "key": field.name(), "value": value }));
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, json!({ "intValue": value.to_string() })); // 64-bit numbers are texts in this encoding
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, json!({ "stringValue": value }));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, json!({ "stringValue": format!("{value:?}") }));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let (trace, parent) = match span.parent() {
            Some(parent) => match parent.extensions().get::<Open>() {
                Some(open) => (open.trace, Some(open.id)),
                None => return, // its trace is not sampled
            },
            None if self.traces.fetch_add(1, Relaxed).is_multiple_of(self.one_in) => (Uuid::new_v4().as_u128(), None),
            None => return,
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let open = Open { trace, id: Uuid::new_v4().as_u64_pair().1, parent, begun: since_epoch(), attributes: fields };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(&mut open.attributes);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(Open { trace, id, parent, begun, attributes }) = span.extensions_mut().remove::<Open>() else { return };
        let ended = json!({
            "traceId": format!("{trace:032x}"),
            "spanId": format!("{id:016x}"),
            "parentSpanId": parent.map_or_else(String::new, |parent| format!("{parent:016x}")),
            "name": span.name(),
            "kind": 2, // SPAN_KIND_SERVER
            "startTimeUnixNano": begun.as_nanos().to_string(),
            "endTimeUnixNano": since_epoch().as_nanos().to_string(),
            "attributes": attributes.0,
        });
        if self.sender.try_send(Item::Span(ended)).is_err() {
            self.losses.add(1);
            if !self.losses.told.swap(true, Relaxed) {
                tracing::warn!("the collector of traces does not keep up: spans are dropped; a larger log.otlp_one_in makes fewer");
            }
        }
    }
}

impl Exporter {
    /// What is lost is counted here from now on.
    pub(super) fn count_in(&self, counter: &Arc<AtomicU64>) {
        let _ = self.losses.counted.set(counter.clone());
    }

    /// Comes back when everything has been sent, or when that takes too long. Not within a runtime: it waits for room, which is there after
    /// one request at the latest.
    pub(super) fn finish(&self) {
        let (told, heard) = std::sync::mpsc::channel();
        if self.sender.blocking_send(Item::Flush(told)).is_ok() {
            let _ = heard.recv_timeout(PATIENCE);
        }
    }
}

/// Where spans are sent; `None`: nowhere.
pub(super) fn collector(loaded: &Effective) -> Result<Option<reqwest::Url>, Failure> {
    let Some(text) = &loaded.config.log.otlp_url else { return Ok(None) };
    let refused = |reason: &str| ConfigErrors::refused(loaded.origin("log.otlp_url"), "log.otlp_url", text, reason).into();
    let url: reqwest::Url = text.parse().map_err(|_| refused("no URL; allowed: as http://collector:4318/v1/traces"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused("OTLP is sent by http:// or https://"));
    }
    Ok(Some(url))
}

/// Nothing where no collector is configured. `node`: who sends.
pub(super) fn start(loaded: &Effective, node: &str) -> Result<Option<(Spans, Exporter)>, Failure> {
    let Some(url) = collector(loaded)? else { return Ok(None) };
    let (sender, items) = mpsc::channel(WAITING_MAX);
    let losses = Arc::new(Losses::default());
    let client = http::client(PATIENCE)?;
    let (node, of_thread) = (node.to_owned(), losses.clone());
    let run = move || http::block_on(async { send_all(&client, &url, &node, items, &of_thread).await });
    std::thread::Builder::new()
        .name("mqttd-otlp".to_owned())
        .spawn(run)
        .map_err(|error| Failure::Runtime(format!("the thread that sends traces: {error}")))?;
    let (one_in, traces) = (loaded.config.log.otlp_one_in.max(1) as u64, AtomicU64::default());
    Ok(Some((Spans { sender: sender.clone(), one_in, traces, losses: losses.clone() }, Exporter { sender, losses })))
}

/// Sends what has come together, until nobody collects spans any more.
async fn send_all(
    client: &reqwest::Client,
    url: &reqwest::Url,
    node: &str,
    mut items: mpsc::Receiver<Item>,
    losses: &Losses,
) -> Result<(), Failure> {
    let mut failing = false;
    loop {
        // The first is waited for as long as it takes, those after it for a moment.
        let Some(first) = items.recv().await else { return Ok(()) };
        let until = tokio::time::Instant::now() + PAUSE;
        let (mut batch, mut flushed, mut next) = (Vec::new(), None, Some(first));
        while let Some(item) = next {
            match item {
                Item::Span(span) => batch.push(span),
                Item::Flush(told) => flushed = Some(told),
            }
            if flushed.is_some() || batch.len() == BATCH_MAX {
                break;
            }
            next = tokio::time::timeout_at(until, items.recv()).await.ok().flatten();
        }
        if items.is_empty() {
            losses.told.store(false, Relaxed); // it has caught up: the next loss is news
        }
        if !batch.is_empty() {
            let spans = batch.len() as u64;
            let sent = client.post(url.clone()).json(&request(node, batch)).send().await.and_then(reqwest::Response::error_for_status);
            match &sent {
                Err(error) if !failing => tracing::warn!(%error, "traces cannot be sent; they are dropped until they can"),
                Ok(_) if failing => tracing::info!("traces are sent again"),
                _ => {}
            }
            failing = sent.is_err();
            losses.add(if failing { spans } else { 0 });
        }
        if let Some(told) = flushed {
            let _ = told.send(());
        }
    }
}

/// ExportTraceServiceRequest.
fn request(node: &str, spans: Vec<Value>) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let version = env!("CARGO_PKG_VERSION");
    let resource = [text("service.name", "mqttd"), text("service.version", version), text("service.instance.id", node)];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "mqttd", "version": version }, "spans": spans }],
    }] })
}

fn since_epoch() -> Duration {
    #[allow(clippy::disallowed_methods, reason = "a collector compares it with what other programs say")]
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
