//! The log: lines on standard error, text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::config::keys::LogFormat;
use crate::config::{ConfigErrors, Effective};

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

pub(super) fn start(loaded: &Effective) -> Result<Log, Failure> {
    let filter = filter(loaded)?;
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
    let as_text = match loaded.config.log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    macro_rules! start {
        ($lines:expr) => {{
            let lines = $lines.with_env_filter(filter).with_filter_reloading();
            let handle = lines.reload_handle();
            // Refused only when nobody logs any more.
            let set: Box<dyn Fn(EnvFilter) + Send> = Box::new(move |filter| drop(handle.reload(filter)));
            lines.try_init().map(|()| Log(set))
        }};
    }
    let started = if as_text { start!(lines.with_ansi(color).with_target(false)) } else { start!(lines.json().flatten_event(true)) };
    started.map_err(|error| Failure::Runtime(format!("the log: {error}")))
}
