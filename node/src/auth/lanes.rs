//! Who waits for something that only a few may have at a time, a hash or an answer of another server.
//!
//! Each address has a queue of its own, of which a few at a time stand in the common one: whoever sends a thousand guesses holds up others by
//! those few, not by a thousand.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::addresses::origin;

/// Who waits, of one address and of all; more are told to come back later (Server busy).
const WAITING_PER_ADDRESS_MAX: usize = 512;
const WAITING_MAX: usize = 8192;

/// As many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub struct Lanes {
    places: Arc<Semaphore>,
    of_one_address: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    of: HashMap<IpAddr, Lane, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Lane {
    waiting: usize,
    head: Arc<Semaphore>,
}

/// A place among those who have it, and one in the lane of its address until then. The first may be kept longer than the second.
pub struct Place<'a> {
    pub(super) place: OwnedSemaphorePermit,
    pub(super) lane: (OwnedSemaphorePermit, Waits<'a>),
}

impl Lanes {
    /// So many have a place at a time, and so many of one address.
    pub fn new(at_once: usize, of_one_address: usize) -> Lanes {
        Lanes { places: Arc::new(Semaphore::new(at_once.max(1))), of_one_address: of_one_address.max(1), waiting: Mutex::default() }
    }

    /// Waits for a place, which is given back when the value is dropped.
    pub async fn enter(&self, address: IpAddr) -> Result<Place<'_>, Busy> {
        let waits = Waits::begin(self, origin(address)).ok_or(Busy)?;
        let head = waits.head.clone().acquire_owned().await.map_err(|_| Busy)?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| Busy)?;
        Ok(Place { place, lane: (head, waits) })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody in the queue of an address.
pub struct Waits<'a> {
    lanes: &'a Lanes,
    address: IpAddr,
    head: Arc<Semaphore>,
}

impl<'a> Waits<'a> {
    fn begin(lanes: &'a Lanes, address: IpAddr) -> Option<Waits<'a>> {
        let mut waiting = lanes.waiting();
        if waiting.all >= WAITING_MAX {
            return None;
        }
        let fresh = || Lane { waiting: 0, head: Arc::new(Semaphore::new(lanes.of_one_address)) };
        let lane = waiting.of.entry(address).or_insert_with(fresh);
        if lane.waiting >= WAITING_PER_ADDRESS_MAX {
            return None;
        }
        lane.waiting += 1;
        let head = lane.head.clone();
        waiting.all += 1;
        drop(waiting);
        Some(Waits { lanes, address, head })
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut waiting = self.lanes.waiting();
        waiting.all -= 1;
        let Some(lane) = waiting.of.get_mut(&self.address) else { return };
        lane.waiting -= 1;
        if lane.waiting == 0 {
            waiting.of.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const EVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// A full queue of one address is nobody else's; all counts return to zero.
    #[tokio::test]
    async fn each_address_waits_in_a_queue_of_its_own() {
        let lanes = Arc::new(Lanes::new(1, 1));
        let first = lanes.enter(EVE).await;
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        let come = |address, number| {
            let (lanes, told) = (lanes.clone(), told.clone());
            async move {
                let place = lanes.enter(address).await;
                told.send(number).unwrap();
                place.map(drop)
            }
        };
        let mut others = tokio::task::JoinSet::new();
        (1..WAITING_PER_ADDRESS_MAX).for_each(|number| drop(others.spawn(come(EVE, number))));
        while lanes.waiting().all < WAITING_PER_ADDRESS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(lanes.enter(EVE).await.map(drop), Err(Busy));
        others.spawn(come(ANN, 0));
        while lanes.waiting().of.len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let mut place = None;
        for at in 0..WAITING_PER_ADDRESS_MAX {
            let number = order.recv().await.unwrap();
            place = place.or((number == 0).then_some(at));
        }
        assert!(place.unwrap() < 3, "ann came after {place:?} others");
        while let Some(other) = others.join_next().await {
            assert_eq!(other.unwrap(), Ok(()));
        }
        assert!(lanes.waiting().all == 0 && lanes.waiting().of.is_empty());
    }

    /// One address has no more places than its share, however many are free.
    #[tokio::test]
    async fn an_address_has_a_share_of_the_places() {
        let lanes = Lanes::new(4, 2);
        let (_one, _two) = (lanes.enter(EVE).await, lanes.enter(EVE).await);
        assert!(lanes.enter(EVE).now_or_never().is_none());
        assert!(lanes.enter(ANN).await.is_ok());
    }
}
