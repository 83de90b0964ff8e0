//! How many connections come from each address, and how fast.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::rate::Bucket;
use crate::time::{Span, Time};

/// Addresses without a connection whose rate is still remembered. Beyond it those that have rested for a second are forgotten, once a second:
/// there are no more than this many, and those that came in two seconds.
const RESTING_MAX: usize = 65_536;
const SWEEP: Span = Span::seconds(1);

/// Of those beyond a bound so many are told so in a second, which takes the whole way to CONNECT, a TLS handshake among it. The others are closed
/// at once.
const TOLD_PER_SECOND_MAX: u64 = 64;

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
    /// As many come from its address as may.
    AddressCount,
    /// They come too fast from its address.
    AddressRate,
    /// They come too fast to its listener.
    ListenerRate,
}

/// A connection that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    pub beyond: Beyond,
    /// It may say CONNECT and is told. False: it is closed at once.
    pub told: bool,
}

/// How fast newcomers may come, and how many of the others are told that they came too fast.
#[derive(Debug)]
pub struct Pace {
    rate: Option<Bucket>,
    told: Option<Bucket>,
}

impl Pace {
    /// Zero is no bound.
    pub fn new(per_second_max: u32, now: Time) -> Pace {
        let bucket = |count| Bucket::new(count, Span::seconds(1), now);
        Pace { rate: bucket(per_second_max.into()), told: bucket(TOLD_PER_SECOND_MAX) }
    }

    pub fn takes_one(&mut self, now: Time) -> bool {
        self.rate.as_mut().is_none_or(|rate| rate.take(now))
    }

    pub fn turn(&mut self, beyond: Beyond, now: Time) -> Turned {
        Turned { beyond, told: self.told.as_mut().is_none_or(|told| told.take(now)) }
    }

    /// It is as if it were new.
    fn has_rested(&mut self, now: Time) -> bool {
        [&mut self.rate, &mut self.told].into_iter().flatten().all(|bucket| bucket.is_full(now))
    }
}

#[derive(Debug, Default)]
pub struct Addresses {
    limits: Limits,
    known: Mutex<Known>,
}

type Entries = HashMap<IpAddr, Entry, foldhash::fast::RandomState>;

/// What is remembered: apart, for only those without a connection are ever looked through.
#[derive(Debug, Default)]
struct Known {
    open: Entries,
    resting: Entries,
    swept: Time,
}

#[derive(Debug)]
struct Entry {
    open: usize,
    pace: Pace,
}

/// One connection from an address, for as long as it lives.
#[derive(Debug)]
pub struct Visit(Option<(Arc<Addresses>, IpAddr)>);

impl Addresses {
    pub fn new(limits: Limits) -> Addresses {
        Addresses { limits, known: Mutex::default() }
    }

    /// Whether anything is bounded, and addresses are counted.
    pub fn counts_them(&self) -> bool {
        self.limits.connections_max > 0 || self.limits.connections_per_second_max > 0
    }

    /// Counts a connection from the moment at which its address is known: when it is accepted, or when the balancer before it has told.
    pub fn enter(addresses: &Arc<Addresses>, address: IpAddr, now: Time) -> Result<Visit, Turned> {
        if !addresses.counts_them() {
            return Ok(Visit(None));
        }
        let Limits { connections_max, connections_per_second_max } = addresses.limits;
        let address = origin(address);
        let mut known = addresses.lock();
        known.sweep(now);
        let fresh = || Entry { open: 0, pace: Pace::new(connections_per_second_max, now) };
        let mut entry = known.open.remove(&address).or_else(|| known.resting.remove(&address)).unwrap_or_else(fresh);
        let entered = if !entry.pace.takes_one(now) {
            Err(entry.pace.turn(Beyond::AddressRate, now))
        } else if connections_max > 0 && entry.open >= connections_max {
            Err(entry.pace.turn(Beyond::AddressCount, now))
        } else {
            entry.open += 1;
            Ok(Visit(Some((addresses.clone(), address))))
        };
        let place = if entry.open > 0 { &mut known.open } else { &mut known.resting };
        place.insert(address, entry);
        drop(known);
        entered
    }

    /// Connections by address, most of them first; empty where there is no bound.
    pub fn counts(&self) -> Vec<(IpAddr, usize)> {
        let mut counts: Vec<_> = self.lock().open.iter().map(|(address, entry)| (*address, entry.open)).collect();
        counts.sort_by_key(|(address, open)| (std::cmp::Reverse(*open), *address));
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn sweep(&mut self, now: Time) {
        if self.resting.len() > RESTING_MAX && now.since(self.swept) >= SWEEP {
            self.swept = now;
            self.resting.retain(|_, entry| !entry.pace.has_rested(now));
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.0 else { return };
        let mut known = addresses.lock();
        let Some(entry) = known.open.get_mut(address) else { return };
        entry.open -= 1;
        if entry.open == 0
            && let Some(entry) = known.open.remove(address)
            && entry.pace.rate.is_some()
        {
            known.resting.insert(*address, entry);
        }
    }
}

/// Who stands behind an address: of IPv6 the first 64 bits, for whoever has one of them has them all.
pub fn origin(address: IpAddr) -> IpAddr {
    first(address, 64)
}

/// The same of those who have many: of IPv6 the first 48 bits, which is what one site is given.
pub fn site(address: IpAddr) -> IpAddr {
    first(address, 48)
}

fn first(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & (u128::MAX << (128 - bits)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(connections_max: usize, connections_per_second_max: u32) -> Arc<Addresses> {
        Arc::new(Addresses::new(Limits { connections_max, connections_per_second_max }))
    }

    #[test]
    fn counts_return_to_zero() {
        let addresses = bounded(2, 0);
        let (ann, bob) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        for round in 0..1000 {
            let now = Time(round);
            let one = Addresses::enter(&addresses, ann, now).unwrap();
            let two = Addresses::enter(&addresses, ann, now).unwrap();
            assert_eq!(Addresses::enter(&addresses, ann, now).unwrap_err().beyond, Beyond::AddressCount);
            assert!(Addresses::enter(&addresses, bob, now).is_ok());
            assert_eq!(addresses.counts(), [(ann, 2)]);
            drop((one, two));
        }
        assert!(addresses.lock().open.is_empty() && addresses.lock().resting.is_empty());
    }

    /// Also while more addresses are connected than are remembered without a connection: those are not looked through, and no rate is forgotten.
    #[test]
    fn a_rate_is_for_each_address_and_what_is_remembered_is_bounded() {
        let addresses = bounded(0, 1);
        let visit = |address: u32, now| Addresses::enter(&addresses, IpAddr::V4(address.into()), Time(now));
        let _held: Vec<_> = (0..70_000).map(|address| visit(1_000_000 + address, 0).unwrap()).collect();
        let enter = |address: u32, now| visit(address, now).map(drop).map_err(|turned| turned.beyond);
        let too_fast = Err(Beyond::AddressRate);
        assert_eq!((enter(1, 0), enter(1, 0), enter(2, 0)), (Ok(()), too_fast, Ok(())));
        assert_eq!(enter(1, 1000), Ok(()));
        for address in 0..RESTING_MAX as u32 * 4 {
            let _ = enter(address + 10, 2000 + u64::from(address / 64));
        }
        assert_eq!(enter(RESTING_MAX as u32 * 4 + 9, 2000 + RESTING_MAX as u64 / 16), too_fast, "the last one is remembered");
        assert!(addresses.lock().resting.len() <= 2 * RESTING_MAX && addresses.lock().open.len() == 70_000);
        assert_eq!(enter(1_000_001, 500), too_fast, "and so are those who are connected");
    }

    /// To be told costs us a handshake: of a flood the first are.
    #[test]
    fn of_those_beyond_a_bound_some_are_told() {
        let addresses = bounded(1, 0);
        let eve = [10, 0, 0, 1].into();
        let _one = Addresses::enter(&addresses, eve, Time(0)).unwrap();
        let told = (0..1000).filter(|_| Addresses::enter(&addresses, eve, Time(0)).unwrap_err().told).count();
        assert_eq!(told as u64, TOLD_PER_SECOND_MAX);
        assert!(Addresses::enter(&addresses, eve, Time(1000)).unwrap_err().told);
    }

    #[test]
    fn all_of_a_subnet_is_one() {
        let text = |text: &str| origin(text.parse().unwrap()).to_string();
        assert_eq!((text("2001:db8::1:2"), text("::ffff:10.0.0.1")), ("2001:db8::".to_owned(), "10.0.0.1".to_owned()));
        assert_eq!(site("2001:db8:1:2::3".parse().unwrap()).to_string(), "2001:db8:1::");
    }
}
