//! The log: lines on standard error, text or JSON.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use serde_json::Value;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, reload};

use super::Failure;
use super::otlp::{self, Exporter};
use crate::config::keys::LogFormat;
use crate::config::{ConfigErrors, Effective};
use crate::metrics::SPANS;

/// The filter that the configuration names. Only tracing-subscriber can tell whether it is one.
pub(super) fn filter(loaded: &Effective) -> Result<EnvFilter, Failure> {
    let text = &loaded.config.log.filter;
    let refused = |reason: &str| ConfigErrors::refused(loaded.origin("log.filter"), "log.filter", text, reason).into();
    // A lone word that is no level would be taken as the name of a part, and silence everything else.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    if !text.contains(['=', ',', ':', '[']) && !levels.contains(&text.to_lowercase().as_str()) {
        return Err(refused(&format!("no such level; allowed: {}, or parts as info,mqttd::session=debug", levels.join(", "))));
    }
    EnvFilter::builder().parse(text).map_err(|error| refused(&format!("{error}; allowed: a level, or parts as info,mqttd::session=debug")))
}

/// The log that runs.
pub(super) struct Log(Box<dyn Fn(EnvFilter) + Send>);

impl Log {
    /// Another filter holds from now on.
    pub(super) fn set(&self, filter: EnvFilter) {
        (self.0)(filter);
    }
}

/// `node`: whose lines they are. Where those of a cluster come together, in JSON, each says so.
pub(super) fn start(loaded: &Effective, node: &str) -> Result<(Log, Option<Exporter>), Failure> {
    let (filter, handle) = reload::Layer::new(filter(loaded)?);
    let terminal = std::io::stderr().is_terminal();
    let as_text = match loaded.config.log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer();
    let lines = match as_text {
        true => lines.with_writer(std::io::stderr).with_ansi(color).with_target(false).boxed(),
        false => lines.with_writer(Named::new(node)).json().flatten_event(true).boxed(),
    };
    let (spans, exporter) = otlp::start(loaded, node)?.unzip();
    let for_spans = filter_fn(|metadata| metadata.target() == SPANS);
    let all = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans.map(|spans| spans.with_filter(for_spans)));
    all.try_init().map_err(|error| Failure::Runtime(format!("the log: {error}")))?;
    // Refused only when nobody logs any more.
    Ok((Log(Box::new(move |filter| drop(handle.reload(filter)))), exporter))
}

/// Standard error for lines of JSON, of which each is given the name of the node as its first field.
struct Named(Arc<str>);

impl Named {
    fn new(node: &str) -> Named {
        Named(format!("{{{}:{},", Value::from("node"), Value::from(node)).into())
    }
}

impl MakeWriter<'_> for Named {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(self.0.clone())
    }
}

struct Line(Arc<str>);

impl Write for Line {
    /// A whole line at a time, as it comes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let named = match line.strip_prefix(b"{") {
            Some(rest) => &[self.0.as_bytes(), rest].concat(),
            None => line,
        };
        io::stderr().lock().write_all(named)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
