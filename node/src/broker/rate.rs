//! So much in so long: a bucket that fills by itself and is emptied by use. Reads no clock.

use crate::time::{Span, Time};

/// Begins full, and holds what comes in one period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    size: f64,
    per_ms: f64,
    level: f64,
    at: Time,
}

impl Bucket {
    /// `None` for a rate of zero, which is no bound.
    pub fn new(count: u64, period: Span, now: Time) -> Option<Bucket> {
        let size = count as f64;
        (count > 0).then(|| Bucket { size, per_ms: size / period.0 as f64, level: size, at: now })
    }

    fn refill(&mut self, now: Time) {
        self.level = self.size.min(self.level + self.per_ms * now.since(self.at).0 as f64);
        self.at = self.at.max(now);
    }

    /// Whether there is something left.
    pub fn has_some(&mut self, now: Time) -> bool {
        self.refill(now);
        self.level > 0.0
    }

    /// Takes one, if there is a whole one.
    pub fn take(&mut self, now: Time) -> bool {
        self.refill(now);
        let has = self.level >= 1.0;
        self.level -= if has { 1.0 } else { 0.0 };
        has
    }

    /// Takes what has come anyway: a large packet leaves a debt.
    pub fn charge(&mut self, count: u64) {
        self.level -= count as f64;
    }

    /// When there will be as much.
    pub fn has_at(&self, count: f64) -> Time {
        let wait = (count - self.level).max(0.0) / self.per_ms;
        self.at + Span(wait.ceil() as u64)
    }

    pub fn is_full(&mut self, now: Time) -> bool {
        self.refill(now);
        self.level >= self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_by_itself() {
        assert_eq!(Bucket::new(0, Span::seconds(1), Time(0)), None);
        let mut bucket = Bucket::new(2, Span::seconds(1), Time(0)).unwrap();
        assert!(bucket.take(Time(0)) && bucket.take(Time(0)) && !bucket.take(Time(0)));
        assert_eq!(bucket.has_at(1.0), Time(500));
        assert!(!bucket.take(Time(499)) && bucket.take(Time(500)));
        assert!(!bucket.is_full(Time(1499)) && bucket.is_full(Time(1500)));
        bucket.charge(5);
        assert!(!bucket.has_some(Time(2999)) && bucket.has_some(Time(3001)));
        assert!(bucket.is_full(Time(1 << 40)) && bucket.take(Time(1 << 40)) && bucket.take(Time(1 << 40)) && !bucket.take(Time(1 << 40)));
        assert!(!bucket.take(Time(0)), "a clock that goes back gives nothing");
    }
}
