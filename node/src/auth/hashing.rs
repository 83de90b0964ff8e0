//! Where passwords are hashed: off the threads that move packets, a few at a time.
//!
//! Each address has a queue of its own, of which one at a time stands in the common one: whoever sends a thousand guesses holds up others by
//! one hash, not by a thousand.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::broker::addresses::origin;

/// Who waits for a hash, of one address and of all; more are told to come back later (Server busy).
const WAITING_PER_ADDRESS_MAX: usize = 512;
const WAITING_MAX: usize = 8192;

/// No place is left for another hash.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

#[derive(Debug)]
pub struct Hashing {
    places: Arc<Semaphore>,
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    waiting: usize,
    of: HashMap<IpAddr, Lane, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Lane {
    waiting: usize,
    head: Arc<Semaphore>,
}

impl Hashing {
    /// Each hash takes a core and about 19 MiB while it runs.
    pub fn new(at_once: usize) -> Hashing {
        Hashing { places: Arc::new(Semaphore::new(at_once.max(1))), lanes: Mutex::default() }
    }

    /// Runs `hash` when there is a place for it. Whoever gives up keeps its place only as long as its hash runs.
    pub async fn run<T: Send + 'static>(&self, address: IpAddr, hash: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let waits = Waits::begin(self, origin(address)).ok_or(Busy)?;
        let _head = waits.head.acquire().await.map_err(|_| Busy)?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| Busy)?;
        let run = move || {
            let done = hash();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| Busy)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody in the queue of an address.
struct Waits<'a> {
    hashing: &'a Hashing,
    address: IpAddr,
    head: Arc<Semaphore>,
}

impl<'a> Waits<'a> {
    fn begin(hashing: &'a Hashing, address: IpAddr) -> Option<Waits<'a>> {
        let mut lanes = hashing.lanes();
        if lanes.waiting >= WAITING_MAX {
            return None;
        }
        let lane = lanes.of.entry(address).or_insert_with(|| Lane { waiting: 0, head: Arc::new(Semaphore::new(1)) });
        if lane.waiting >= WAITING_PER_ADDRESS_MAX {
            return None;
        }
        lane.waiting += 1;
        let head = lane.head.clone();
        lanes.waiting += 1;
        drop(lanes);
        Some(Waits { hashing, address, head })
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut lanes = self.hashing.lanes();
        lanes.waiting -= 1;
        let Some(lane) = lanes.of.get_mut(&self.address) else { return };
        lane.waiting -= 1;
        if lane.waiting == 0 {
            lanes.of.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const ANN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// A full queue of one address is nobody else's; all counts return to zero.
    #[tokio::test]
    async fn each_address_waits_in_a_queue_of_its_own() {
        let hashing = Arc::new(Hashing::new(1));
        let (begin, begun) = std::sync::mpsc::channel::<()>();
        let (told, order) = std::sync::mpsc::channel();
        let first = tokio::spawn({
            let hashing = hashing.clone();
            async move { hashing.run(EVE, move || begun.recv()).await }
        });
        let mut others = tokio::task::JoinSet::new();
        for number in 1..WAITING_PER_ADDRESS_MAX {
            let (hashing, told) = (hashing.clone(), told.clone());
            others.spawn(async move { hashing.run(EVE, move || told.send(number)).await.map(drop) });
        }
        while hashing.lanes().waiting < WAITING_PER_ADDRESS_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.run(EVE, || ()).await, Err(Busy));
        let ann = tokio::spawn({
            let hashing = hashing.clone();
            async move { hashing.run(ANN, move || told.send(0)).await.map(drop) }
        });
        while hashing.lanes().of.len() < 2 {
            tokio::task::yield_now().await;
        }
        begin.send(()).unwrap();
        let _ = first.await.unwrap().unwrap();
        ann.await.unwrap().unwrap();
        while let Some(other) = others.join_next().await {
            assert_eq!(other.unwrap(), Ok(()));
        }
        let place = order.iter().position(|number| number == 0).unwrap();
        assert!(place < 3, "ann came after {place} others");
        assert!(hashing.lanes().waiting == 0 && hashing.lanes().of.is_empty());
    }
}
