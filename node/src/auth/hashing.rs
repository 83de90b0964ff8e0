//! Where passwords are hashed: off the threads that move packets, a few at a time.

use std::net::IpAddr;

use super::lanes::{Busy, Lanes, Place};

#[derive(Debug)]
pub struct Hashing(Lanes);

impl Hashing {
    /// Each hash takes a core and about 19 MiB while it runs; of one address one runs at a time.
    pub fn new(at_once: usize) -> Hashing {
        Hashing(Lanes::new(at_once, 1))
    }

    /// Runs `hash` when there is a place for it. Whoever gives up keeps its place only as long as its hash runs.
    pub async fn run<T: Send + 'static>(&self, address: IpAddr, hash: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let Place { place, lane: _lane } = self.0.enter(address).await?;
        let run = move || {
            let done = hash();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(run).await.map_err(|_| Busy)
    }
}
