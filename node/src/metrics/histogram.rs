//! How long something takes, in fixed steps: two additions for an observation, no lock.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Upper bounds of the steps, in microseconds: from what memory takes to what is a fault.
const BOUNDS_US: [u64; 14] = [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations of each step alone; the last is for what is above all bounds.
    steps: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Upper bounds in seconds, each with the number of observations up to it.
    pub up_to: Vec<(f64, u64)>,
    pub count: u64,
    pub sum_s: f64,
}

impl Histogram {
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let step = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.steps[step].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// Observes how long a future has to be waited for. What is there at once was not waited for, and costs no look at the clock.
    pub async fn wait<F: Future + Unpin>(&self, mut future: F) -> F::Output {
        let mut begun = None;
        let output = poll_fn(|context| {
            let poll = Pin::new(&mut future).poll(context);
            if poll.is_pending() {
                begun.get_or_insert_with(Instant::now);
            }
            poll
        })
        .await;
        self.observe(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
        output
    }

    /// The steps are read one after the other, so the total is made from them, not counted apart.
    pub fn seen(&self) -> Seen {
        let mut count = 0;
        let mut counts = self.steps.iter().map(|step| {
            count += step.load(Relaxed);
            count
        });
        let up_to = BOUNDS_US.iter().map(|bound| (*bound as f64 / 1e6, counts.next().unwrap_or_default())).collect();
        let total = counts.next().unwrap_or_default();
        Seen { up_to, count: total, sum_s: self.sum_us.load(Relaxed) as f64 / 1e6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_to_each_bound() {
        let histogram = Histogram::default();
        for us in [10, 50, 51, 900, 6_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let seen = histogram.seen();
        assert_eq!(seen.up_to[..5].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 3, 3, 3, 4]);
        assert_eq!((seen.up_to[13], seen.count), ((5.0, 4), 5));
        assert!((seen.sum_s - 6.001_011).abs() < 1e-9);
    }
}
