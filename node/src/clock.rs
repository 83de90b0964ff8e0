//! The one clock of a node. Everything below it is handed a [`Time`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::time::Instant;

use crate::time::Time;

/// Time of the Store, reckoned from a monotonic clock: it never steps back, whatever is done to the clock of the machine.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// What time it was then, in ms.
    started_at: AtomicU64,
}

impl Clock {
    /// Sets the clock by that of this machine.
    pub fn start() -> Clock {
        #[allow(clippy::disallowed_methods, reason = "this is the clock")]
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Clock::start_at(Time(unix.as_millis() as u64))
    }

    /// Sets the clock by another one, which all nodes of a cluster go by.
    pub fn start_at(now: Time) -> Clock {
        Clock { started: Instant::now(), started_at: now.0.into() }
    }

    /// Sets it by the clock that all nodes go by, when a node joins them. Nobody is connected then, so no deadline moves with it.
    pub fn set(&self, now: Time) {
        self.started_at.store(now.0.saturating_sub(self.elapsed()), Relaxed);
    }

    pub fn now(&self) -> Time {
        Time(self.started_at.load(Relaxed) + self.elapsed())
    }

    /// When it is `time` by the runtime's clock.
    pub fn instant(&self, time: Time) -> Instant {
        self.started + std::time::Duration::from_millis(time.since(Time(self.started_at.load(Relaxed))).0)
    }

    fn elapsed(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
