//! SIGHUP: the configuration is read again. What can be changed while the broker runs is; of the rest is said that it needs a restart.

use tracing::{error, info, warn};

use super::log::Log;
use super::run::RunArguments;
use crate::auth::doors::Doors;
use crate::config::{Config, Effective};
use crate::node::admission;
use crate::node::opener::Opener;

/// Keys that hold from a SIGHUP on, by how they begin. Certificates, and the files that these keys name, are read again whatever their keys say.
const HELD_AT_ONCE: &[&str] = &["log.filter", "auth.", "access.", "api."];

/// Those of them that do not: they are the sizes of what is there already.
const HELD_LATER: &[&str] = &["auth.hashes_at_once_max", "auth.failures_per_address_max"];

fn holds_at_once(key: &str) -> bool {
    HELD_AT_ONCE.iter().any(|start| key.starts_with(start)) && !HELD_LATER.contains(&key)
}

/// What the broker runs with, and where it came from.
pub(super) struct Reload {
    pub arguments: RunArguments,
    pub loaded: Effective,
    pub log: Log,
}

/// From what was loaded now, as far as it can hold at once; the rest stays.
fn held(before: &Config, now: &Config) -> Config {
    let mut config = before.clone();
    (config.log.filter, config.auth, config.access) = (now.log.filter.clone(), now.auth.clone(), now.access.clone());
    config.api = now.api.clone();
    config.auth.hashes_at_once_max = before.auth.hashes_at_once_max;
    config.auth.failures_per_address_max = before.auth.failures_per_address_max;
    config
}

impl Reload {
    /// Reads it again, and the files of users, rules and keys. What is wrong with them is told, and then nothing changes.
    pub(super) async fn again(&mut self, doors: &Doors, opener: &Opener) {
        let checked = self.arguments.load().and_then(|loaded| super::log::filter(&loaded).map(|filter| (loaded, filter)));
        let (loaded, filter) = match checked {
            Ok(checked) => checked,
            Err(failure) => {
                failure.text().lines().for_each(|line| error!("SIGHUP: {line}"));
                return error!("SIGHUP: the configuration stays as it was");
            }
        };
        let config = held(&self.loaded.config, &loaded.config);
        let reloaded = match Opener::check(&config).and_then(|()| admission::settings(&config)) {
            Ok(settings) => doors.reload(settings).await,
            Err(error) => Err(error.to_string()),
        };
        let reloaded = reloaded.and_then(|()| opener.renew(&config).map_err(|error| error.to_string()));
        if let Err(fault) = reloaded {
            error!("SIGHUP: {fault}");
            return error!("SIGHUP: the configuration stays as it was");
        }
        let changed = changed(&self.loaded, &loaded);
        self.log.set(filter);
        let (held, waiting): (Vec<String>, Vec<String>) = changed.into_iter().partition(|key| holds_at_once(key));
        info!(changed = held.join(", "), "SIGHUP: the configuration was read again");
        if !waiting.is_empty() {
            warn!("SIGHUP: changed, but only after a restart: {}", waiting.join(", "));
        }
        // What waits for a restart is told again with the next SIGHUP.
        self.loaded.config = config;
    }
}

/// The keys whose values differ.
fn changed(from: &Effective, to: &Effective) -> Vec<String> {
    let differs = |key: &crate::config::key::Key| (key.get)(&from.config) != (key.get)(&to.config);
    from.keys().map(|(key, _)| key).filter(|key| differs(key)).map(|key| key.path()).collect()
}
