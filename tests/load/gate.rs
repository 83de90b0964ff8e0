//! How far publishers may go: what ties them to the subscribers or to the clock, and ends them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

#[derive(Default)]
pub(crate) struct Gate {
    /// So many messages in all may each publisher have sent.
    limit: AtomicU64,
    stopped: AtomicBool,
    changed: Notify,
    over: AtomicBool,
    ended: Notify,
}

impl Gate {
    pub(crate) fn limit(&self) -> u64 {
        if self.is_stopped() { 0 } else { self.limit.load(Ordering::Relaxed) }
    }

    /// Opens it further, unless that is less than `step`: publishers that wake for every single message would write and be read
    /// one by one, and the generator would measure itself.
    pub(crate) fn raise(&self, limit: u64, step: u64) {
        if self.limit.load(Ordering::Relaxed).saturating_add(step) <= limit {
            self.limit.fetch_max(limit, Ordering::Relaxed);
            self.changed.notify_waiters();
        }
    }

    /// No publisher begins another message.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Whoever still waits for a broker waits no longer: not every transport tells that the broker is gone.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    /// Waits for [`Gate::end`].
    pub(crate) async fn over(&self) {
        let ended = self.ended.notified();
        if !self.over.load(Ordering::SeqCst) {
            ended.await;
        }
    }

    /// Ends at the next change after this call. To be called before the gate is looked at.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
