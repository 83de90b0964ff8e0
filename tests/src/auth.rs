//! Who may come in to a broker of this process, changed while it runs; and what it has counted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use mqttd::auth::doors::Doors;
use mqttd::metrics::Metrics;
use mqttd::store::bans::Ban;
use mqttd::time::Span;
use tokio::runtime::Handle;

use crate::cluster::until;
use crate::unique;

pub struct Auth {
    doors: Doors,
    runtime: Handle,
}

impl Auth {
    pub(crate) fn new(doors: Doors) -> Auth {
        Auth { doors, runtime: Handle::current() }
    }

    /// Has the files read again.
    pub fn reload(&self) -> Result<(), String> {
        self.runtime.block_on(self.doors.reload_files())
    }

    /// `who` as in `user:ann`; for ever, or for so many milliseconds.
    pub fn ban(&self, who: &str, for_ms: Option<u64>) {
        let until = for_ms.map(|span| self.doors.broker().clock.now() + Span(span));
        let ban = Ban { who: who.parse().expect("somebody"), until, why: "a test".to_owned() };
        self.runtime.block_on(self.doors.ban(ban)).expect("the Store takes it");
    }

    pub fn unban(&self, who: &str) -> bool {
        self.runtime.block_on(self.doors.unban(&who.parse().expect("somebody"))).expect("the Store answers")
    }

    pub fn bans(&self) -> Vec<String> {
        self.runtime.block_on(self.doors.bans()).expect("the Store answers").iter().map(|ban| ban.who.to_string()).collect()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.doors.broker().metrics
    }

    /// What a counter says.
    pub fn count(&self, counter: impl Fn(&Metrics) -> &AtomicU64) -> u64 {
        counter(self.metrics()).load(Ordering::Relaxed)
    }

    /// Waits until nobody is connected, by any of the counters.
    pub fn until_empty(&self) {
        let broker = self.doors.broker();
        until("all counters return to zero", || {
            let counted = [&broker.metrics.connections, &broker.metrics.places_taken];
            counted.iter().all(|counter| counter.load(Ordering::Relaxed) == 0)
                && broker.addresses.counts().is_empty()
                && broker.clients().is_empty()
        });
    }

    pub fn addresses(&self) -> Vec<(std::net::IpAddr, usize)> {
        self.doors.broker().addresses.counts()
    }
}

/// A file that is gone when this value is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(text: impl AsRef<[u8]>) -> Scratch {
        let scratch = Scratch(std::env::temp_dir().join(unique("mqttd-test-")));
        scratch.set(text);
        scratch
    }

    pub fn set(&self, text: impl AsRef<[u8]>) {
        std::fs::write(&self.0, text).expect("a file of its own");
    }

    pub fn path(&self) -> String {
        self.0.display().to_string()
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("it is there")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
