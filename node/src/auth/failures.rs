//! Wrong passwords, by address: who guesses is not listened to for a while. What is tracked is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::addresses::origin;
use crate::time::{Span, Time};

/// How long a failure counts.
pub const WINDOW: Span = Span::seconds(60);

/// Addresses that are tracked. At the bound those whose window is over are forgotten, and then all.
const ADDRESSES_MAX: usize = 65_536;

/// Failures of each address in its running window.
#[derive(Debug)]
pub struct Failures {
    /// Zero: nobody is held up.
    max: u32,
    of: Mutex<HashMap<IpAddr, (Time, u32), foldhash::fast::RandomState>>,
}

impl Failures {
    pub fn new(max: u32) -> Failures {
        Failures { max, of: Mutex::default() }
    }

    /// Whether this address has failed too often lately.
    pub fn is_held(&self, address: IpAddr, now: Time) -> bool {
        let of = self.lock();
        self.max > 0 && of.get(&origin(address)).is_some_and(|(since, count)| *count >= self.max && now.since(*since) < WINDOW)
    }

    pub fn add(&self, address: IpAddr, now: Time) {
        if self.max == 0 {
            return;
        }
        let mut of = self.lock();
        if of.len() >= ADDRESSES_MAX {
            of.retain(|_, (since, _)| now.since(*since) < WINDOW);
            if of.len() >= ADDRESSES_MAX {
                of.clear();
            }
        }
        let entry = of.entry(origin(address)).or_insert((now, 0));
        if now.since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, (Time, u32), foldhash::fast::RandomState>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_too_often_is_held_for_a_while() {
        let failures = Failures::new(2);
        let (ann, eve) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        failures.add(eve, Time(0));
        assert!(!failures.is_held(eve, Time(1)));
        failures.add(eve, Time(1));
        assert!(failures.is_held(eve, Time(2)) && !failures.is_held(ann, Time(2)));
        assert!(!failures.is_held(eve, Time(0) + WINDOW));
        let off = Failures::new(0);
        (0..10).for_each(|_| off.add(eve, Time(0)));
        assert!(!off.is_held(eve, Time(0)));
    }

    #[test]
    fn what_is_tracked_is_bounded() {
        let failures = Failures::new(1);
        for address in 0..ADDRESSES_MAX as u32 * 2 {
            failures.add(IpAddr::V4(address.into()), Time(0));
        }
        assert!(failures.lock().len() <= ADDRESSES_MAX);
    }
}
