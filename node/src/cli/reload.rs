//! SIGHUP: the configuration is read again. What can be changed while the broker runs is; of the rest is said that it needs a restart.

use tracing::{error, info, warn};

use super::log::Log;
use super::run::RunArguments;
use crate::config::Effective;

/// Keys that hold from a SIGHUP on. Certificates are read again whatever their keys say.
const HELD_AT_ONCE: &[&str] = &["log.filter"];

/// What the broker runs with, and where it came from.
pub(super) struct Reload {
    pub arguments: RunArguments,
    pub loaded: Effective,
    pub log: Log,
}

impl Reload {
    /// Reads it again. What is wrong with it is told, and then nothing changes.
    pub(super) fn again(&mut self) {
        let checked = self.arguments.load().and_then(|loaded| super::log::filter(&loaded).map(|filter| (loaded, filter)));
        let (loaded, filter) = match checked {
            Ok(checked) => checked,
            Err(failure) => {
                failure.text().lines().for_each(|line| error!("SIGHUP: {line}"));
                return error!("SIGHUP: the configuration stays as it was");
            }
        };
        let changed = changed(&self.loaded, &loaded);
        self.log.set(filter);
        let (held, waiting): (Vec<String>, Vec<String>) = changed.into_iter().partition(|key| HELD_AT_ONCE.contains(&key.as_str()));
        info!(changed = held.join(", "), "SIGHUP: the configuration was read again");
        if !waiting.is_empty() {
            warn!("SIGHUP: changed, but only after a restart: {}", waiting.join(", "));
        }
        // What waits for a restart is told again with the next SIGHUP.
        self.loaded.config.log = loaded.config.log;
    }
}

/// The keys whose values differ.
fn changed(from: &Effective, to: &Effective) -> Vec<String> {
    let differs = |key: &crate::config::key::Key| (key.get)(&from.config) != (key.get)(&to.config);
    from.keys().map(|(key, _)| key).filter(|key| differs(key)).map(|key| key.path()).collect()
}
