//! What one Client may take, over all streams of its connection: each of them is a Session of its own, and what is bounded is bounded for all of
//! them together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::broker::Rates;
use crate::broker::rate::Bucket;
use crate::broker::roster::Subscriber;
use crate::time::{Span, Time};

#[derive(Debug)]
pub struct Allowance {
    buckets: Mutex<Buckets>,
    streams: Mutex<Vec<Weak<Subscriber>>>,
    adding: AtomicUsize,
}

/// What may come now; `None` is no bound.
#[derive(Debug)]
pub struct Buckets {
    pub messages: Option<Bucket>,
    pub bytes: Option<Bucket>,
    pub subscriptions: Option<Bucket>,
}

/// Subscriptions that are being made and stand in no table yet, so that two streams do not take the same room.
#[derive(Debug)]
pub struct Adding<'a> {
    allowance: &'a Allowance,
    count: usize,
    /// Those of other streams.
    pub before: usize,
}

impl Allowance {
    pub fn new(rates: &Rates, now: Time) -> Allowance {
        let (second, minute) = (Span::seconds(1), Span::seconds(60));
        let buckets = Buckets {
            messages: Bucket::new(rates.messages_per_second_max.into(), second, now),
            bytes: Bucket::new(rates.bytes_per_second_max, second, now),
            subscriptions: Bucket::new(rates.subscriptions_per_minute_max.into(), minute, now),
        };
        Allowance { buckets: Mutex::new(buckets), streams: Mutex::default(), adding: AtomicUsize::new(0) }
    }

    pub fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more stream.
    pub fn join(&self, subscriber: &Arc<Subscriber>) {
        let mut streams = self.streams();
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(subscriber));
    }

    /// The Sessions of all streams beside this one.
    pub fn beside(&self, subscriber: &Arc<Subscriber>) -> Vec<Arc<Subscriber>> {
        self.streams().iter().filter_map(Weak::upgrade).filter(|stream| !Arc::ptr_eq(stream, subscriber)).collect()
    }

    /// So many subscriptions are about to be made.
    pub fn add(&self, count: usize) -> Adding<'_> {
        Adding { allowance: self, count, before: self.adding.fetch_add(count, Ordering::SeqCst) }
    }

    pub fn takes_subscription(&self, now: Time) -> bool {
        self.buckets().subscriptions.as_mut().is_none_or(|bucket| bucket.take(now))
    }

    fn streams(&self) -> MutexGuard<'_, Vec<Weak<Subscriber>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        self.allowance.adding.fetch_sub(self.count, Ordering::SeqCst);
    }
}
