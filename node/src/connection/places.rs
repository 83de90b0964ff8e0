//! How many Clients of one listener may be connected at a time. Who has not said CONNECT has no place yet: it waits in the hall.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
pub struct Places {
    /// 0 is no limit.
    max: usize,
    taken: AtomicUsize,
}

/// One of them, for as long as it lives.
#[derive(Debug)]
pub struct Place(Arc<Places>);

impl Places {
    /// 0 is no limit.
    pub fn new(max: usize) -> Arc<Places> {
        Arc::new(Places { max, taken: AtomicUsize::new(0) })
    }

    /// `None`: all are taken.
    pub fn take(places: &Arc<Places>) -> Option<Place> {
        let more = |taken: usize| (places.max == 0 || taken < places.max).then_some(taken + 1);
        places.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(places.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
