//! How often each address has failed to prove who it is: a flood of guesses is turned away before it costs a hash.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::addresses::{origin, site};
use crate::time::{Span, Time};

/// How long a failure counts.
pub const WINDOW: Span = Span::seconds(60);

/// Addresses that are tracked, and as many sites. At the bound those are forgotten whose window is over, then those who have not failed too often,
/// then the eighth of them that began first.
const ADDRESSES_MAX: usize = 65_536;

/// A site, which has 65,536 of what counts as an address of IPv6, may fail so much oftener than one of them.
const SITE_FACTOR: u32 = 16;

/// Failures of each address in its running window.
#[derive(Debug)]
pub struct Failures {
    /// Zero: nobody is held up.
    max: u32,
    addresses: Mutex<Table>,
    sites: Mutex<Table>,
}

/// When a window began, and the failures in it.
type Table = HashMap<IpAddr, (Time, u32), foldhash::fast::RandomState>;

impl Failures {
    pub fn new(max: u32) -> Failures {
        Failures { max, addresses: Mutex::default(), sites: Mutex::default() }
    }

    /// Whether this address, or its site, has failed too often lately.
    pub fn is_held(&self, address: IpAddr, now: Time) -> bool {
        let holds = |table: &Mutex<Table>, key, max| {
            let table = lock(table);
            table.get(&key).is_some_and(|(since, count)| *count >= max && now.since(*since) < WINDOW)
        };
        self.max > 0
            && (holds(&self.addresses, origin(address), self.max)
                || site(address).is_ipv6() && holds(&self.sites, site(address), self.max.saturating_mul(SITE_FACTOR)))
    }

    pub fn add(&self, address: IpAddr, now: Time) {
        if self.max == 0 {
            return;
        }
        add(&mut lock(&self.addresses), origin(address), self.max, now);
        if site(address).is_ipv6() {
            add(&mut lock(&self.sites), site(address), self.max.saturating_mul(SITE_FACTOR), now);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(table: &mut Table, key: IpAddr, max: u32, now: Time) {
    if table.len() >= ADDRESSES_MAX && !table.contains_key(&key) {
        make_room(table, max, now);
    }
    let entry = table.entry(key).or_insert((now, 0));
    if now.since(entry.0) >= WINDOW {
        *entry = (now, 0);
    }
    entry.1 = entry.1.saturating_add(1);
}

fn make_room(table: &mut Table, max: u32, now: Time) {
    table.retain(|_, (since, _)| now.since(*since) < WINDOW);
    if table.len() >= ADDRESSES_MAX {
        table.retain(|_, (_, count)| *count >= max);
    }
    if table.len() >= ADDRESSES_MAX {
        let mut begun: Vec<Time> = table.values().map(|(since, _)| *since).collect();
        let (earlier, &mut last, _) = begun.select_nth_unstable(ADDRESSES_MAX / 8);
        let mut at_once = ADDRESSES_MAX / 8 - earlier.iter().filter(|since| **since < last).count();
        table.retain(|_, (since, _)| {
            let goes = *since < last || *since == last && at_once > 0;
            at_once -= usize::from(goes && *since == last);
            !goes
        });
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
    fn what_is_tracked_is_bounded_and_nobody_is_let_go_for_it() {
        let failures = Failures::new(2);
        let eve = [192, 0, 2, 1].into();
        (0..2).for_each(|_| failures.add(eve, Time(0)));
        for address in 0..ADDRESSES_MAX as u32 * 2 {
            failures.add(IpAddr::V4(address.into()), Time(1));
        }
        assert!(lock(&failures.addresses).len() <= ADDRESSES_MAX);
        assert!(failures.is_held(eve, Time(2)), "a flood of other addresses does not let it go");
        // Where all of them are held, those who have waited longest are.
        for address in 0..ADDRESSES_MAX as u32 * 2 {
            (0..2).for_each(|_| failures.add(IpAddr::V4(address.into()), Time(3 + u64::from(address / 100))));
        }
        assert!(lock(&failures.addresses).len() <= ADDRESSES_MAX && !failures.is_held(eve, Time(2000)));
        assert!(failures.is_held(IpAddr::V4((ADDRESSES_MAX as u32 * 2 - 1).into()), Time(2000)));
    }

    /// Whoever has a /48 of IPv6 has 65,536 /64.
    #[test]
    fn a_site_is_held_with_all_its_addresses() {
        let failures = Failures::new(2);
        let within = |subnet: u16| IpAddr::V6([0x2001, 0xdb8, 7, subnet, 0, 0, 0, 1].into());
        (0..31).for_each(|subnet| failures.add(within(subnet), Time(0)));
        assert!(!failures.is_held(within(99), Time(1)));
        failures.add(within(31), Time(0));
        assert!(failures.is_held(within(99), Time(1)));
        assert!(!failures.is_held([0x2001, 0xdb8, 8, 0, 0, 0, 0, 1u16].into(), Time(1)));
        (0..100).for_each(|last| failures.add([10, 0, 0, last].into(), Time(0)));
        assert!(!failures.is_held([10, 0, 0, 200].into(), Time(1)), "an address of IPv4 stands for itself");
    }
}
