//! How many connections come from each address, and how fast.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::rate::Bucket;
use crate::time::{Span, Time};

/// Addresses without a connection whose rate is still remembered. Beyond it those are forgotten that have rested, and then all of them.
const RESTING_MAX: usize = 65_536;

#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// At a time; zero is no bound.
    pub connections_max: usize,
    /// Zero is no bound.
    pub connections_per_second_max: u32,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Count,
    Rate,
}

#[derive(Debug, Default)]
pub struct Addresses {
    limits: Limits,
    of: Mutex<HashMap<IpAddr, Entry, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Entry {
    open: usize,
    rate: Option<Bucket>,
}

/// One connection from an address, for as long as it lives.
#[derive(Debug)]
pub struct Visit(Option<(Arc<Addresses>, IpAddr)>);

impl Addresses {
    pub fn new(limits: Limits) -> Addresses {
        Addresses { limits, of: Mutex::default() }
    }

    /// Counts a connection from the moment at which it is accepted.
    pub fn enter(addresses: &Arc<Addresses>, address: IpAddr, now: Time) -> Result<Visit, Beyond> {
        let Limits { connections_max, connections_per_second_max } = addresses.limits;
        if connections_max == 0 && connections_per_second_max == 0 {
            return Ok(Visit(None));
        }
        let address = origin(address);
        let mut of = addresses.lock();
        if of.len() > RESTING_MAX {
            of.retain(|_, entry| entry.open > 0 || entry.rate.as_mut().is_some_and(|rate| !rate.is_full(now)));
            if of.len() > RESTING_MAX {
                of.retain(|_, entry| entry.open > 0);
            }
        }
        let fresh = || Entry { open: 0, rate: Bucket::new(connections_per_second_max.into(), Span::seconds(1), now) };
        let entry = of.entry(address).or_insert_with(fresh);
        if entry.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(Beyond::Rate);
        }
        if connections_max > 0 && entry.open >= connections_max {
            return Err(Beyond::Count);
        }
        entry.open += 1;
        drop(of);
        Ok(Visit(Some((addresses.clone(), address))))
    }

    /// Connections by address, most of them first; empty where there is no bound.
    pub fn counts(&self) -> Vec<(IpAddr, usize)> {
        let mut counts: Vec<_> =
            self.lock().iter().filter(|(_, entry)| entry.open > 0).map(|(address, entry)| (*address, entry.open)).collect();
        counts.sort_by_key(|(address, open)| (std::cmp::Reverse(*open), *address));
        counts
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Entry, foldhash::fast::RandomState>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.0 else { return };
        let mut of = addresses.lock();
        let Some(entry) = of.get_mut(address) else { return };
        entry.open -= 1;
        if entry.open == 0 && entry.rate.is_none() {
            of.remove(address);
        }
    }
}

/// Who stands behind an address: of IPv6 the first 64 bits, for whoever has one of them has them all.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_return_to_zero() {
        let addresses = Arc::new(Addresses::new(Limits { connections_max: 2, connections_per_second_max: 0 }));
        let (ann, bob) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for _ in 0..1000 {
            let one = Addresses::enter(&addresses, ann, Time(0)).unwrap();
            let two = Addresses::enter(&addresses, ann, Time(0)).unwrap();
            assert_eq!(Addresses::enter(&addresses, ann, Time(0)).unwrap_err(), Beyond::Count);
            assert!(Addresses::enter(&addresses, bob, Time(0)).is_ok());
            assert_eq!(addresses.counts(), [(ann, 2)]);
            drop((one, two));
        }
        assert!(addresses.lock().is_empty());
    }

    #[test]
    fn a_rate_is_for_each_address_and_what_is_remembered_is_bounded() {
        let addresses = Arc::new(Addresses::new(Limits { connections_max: 0, connections_per_second_max: 1 }));
        let enter = |address: u32, now| Addresses::enter(&addresses, IpAddr::V4(address.into()), Time(now)).map(drop);
        assert_eq!((enter(1, 0), enter(1, 0), enter(2, 0)), (Ok(()), Err(Beyond::Rate), Ok(())));
        assert_eq!(enter(1, 1000), Ok(()));
        for address in 0..RESTING_MAX as u32 * 2 {
            let _ = enter(address + 10, 2000);
        }
        assert!(addresses.lock().len() <= RESTING_MAX + 1);
    }

    #[test]
    fn all_of_a_subnet_is_one() {
        let text = |text: &str| origin(text.parse().unwrap()).to_string();
        assert_eq!((text("2001:db8::1:2"), text("::ffff:10.0.0.1")), ("2001:db8::".to_owned(), "10.0.0.1".to_owned()));
    }
}
