//! Where passwords are hashed: off the threads that move packets, a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// Who waits for a hash; more are told to come back later (Server busy).
const WAITING_MAX: usize = 512;

/// No place is left for another hash.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub struct Hashing {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Hashing {
    /// Each hash takes a core and about 19 MiB while it runs.
    pub fn new(at_once: usize) -> Hashing {
        Hashing { places: Arc::new(Semaphore::new(at_once.max(1))), waiting: AtomicUsize::new(0) }
    }

    /// Runs `hash` when there is a place for it. Whoever gives up keeps its place only as long as its hash runs.
    pub async fn run<T: Send + 'static>(&self, hash: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _waits = Waits::begin(&self.waiting).ok_or(Busy)?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| Busy)?;
        let run = move || {
            let done = hash();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| Busy)
    }
}

struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Waits<'a>> {
        let waits = Waits(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_than_the_bound_wait_and_the_count_returns() {
        let hashing = Arc::new(Hashing::new(1));
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let hashing = hashing.clone();
            async move { hashing.run(move || begun.recv()).await }
        });
        let others: Vec<_> = (1..WAITING_MAX)
            .map(|_| {
                tokio::spawn({
                    let hashing = hashing.clone();
                    async move { hashing.run(|| ()).await }
                })
            })
            .collect();
        while hashing.waiting.load(Ordering::Relaxed) < WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.run(|| ()).await, Err(Busy));
        begin.send(()).unwrap();
        let _ = first.await.unwrap().unwrap();
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(()));
        }
        assert_eq!(hashing.waiting.load(Ordering::Relaxed), 0);
    }
}
