//! Fault points: named places at which a test ends the process as a crash would. They are there in debug builds only; in a release build a
//! point is nothing at all.

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// The name, and how often it may still be passed.
    static POINT: OnceLock<(String, AtomicUsize)> = OnceLock::new();

    /// The process ends when it comes to this point. `NAME:COUNT`: when it comes there for the COUNT-th time.
    pub fn arm(text: &str) {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let count = count.parse().unwrap_or(1);
        tracing::warn!(name, count, "FAULT POINT: this node will end itself there, for a test");
        let _ = POINT.set((name.to_owned(), AtomicUsize::new(count))); // only once
    }

    /// Ends the process here if it was told so. Nothing is flushed, closed or said.
    pub fn point(name: &str) {
        if let Some((armed, left)) = POINT.get()
            && armed == name
            && left.fetch_sub(1, Relaxed) == 1
        {
            std::process::abort();
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::{arm, point};

/// A release build has no fault points, and says so.
#[cfg(not(debug_assertions))]
pub fn arm(text: &str) {
    tracing::error!(text, "a release build has no fault points: this one is ignored");
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_: &str) {}
