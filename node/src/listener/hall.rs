//! Where those wait who have a socket and have not said CONNECT yet: how many they may be, and for how long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::addresses::{Beyond, site};
use crate::connection::Patience;
use crate::metrics::Metrics;

/// The patience with newcomers while the hall is more than half full: who means it needs less, also over a slow line.
const HURRY: Duration = Duration::from_secs(1);

/// With those who are only told that they are not taken.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// While the hall is more than half full, one address (of IPv6: one /48) has at most this part of it, so that the other half is for the others.
const SHARE: usize = 16;

/// All listeners of a node share one.
#[derive(Debug)]
pub struct Hall {
    connecting_max: usize,
    from: Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>>,
}

/// The right to be in the hall. Dropped when the Client is in, or is gone.
pub struct Ticket {
    hall: Arc<Hall>,
    broker: Arc<Broker>,
    crowded: bool,
    number: usize,
    from: Option<IpAddr>,
}

impl Hall {
    pub fn new(connecting_max: usize) -> Hall {
        Hall { connecting_max, from: Mutex::default() }
    }

    /// `None`: it is full, or has its share of those from this address. `from` is not known yet where a balancer is to tell.
    pub fn enter(hall: &Arc<Hall>, broker: &Arc<Broker>, from: Option<IpAddr>) -> Option<Ticket> {
        let before = broker.metrics.sockets_connecting.fetch_add(1, Ordering::Relaxed);
        let crowded = before >= hall.connecting_max / 2;
        let mut ticket = Ticket { hall: hall.clone(), broker: broker.clone(), crowded, number: before + 1, from: None };
        if before >= hall.connecting_max {
            Metrics::add(&broker.metrics.sockets_refused, 1);
            return None;
        }
        from.is_none_or(|from| ticket.is_from(from)).then_some(ticket)
    }

    fn from(&self) -> MutexGuard<'_, HashMap<IpAddr, usize, foldhash::fast::RandomState>> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// How many were in the hall when this one came, itself among them.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its address is known now. False: as many come from there as may.
    pub fn is_from(&mut self, address: IpAddr) -> bool {
        let site = site(address);
        let mut from = self.hall.from();
        let count = from.get(&site).copied().unwrap_or_default();
        if self.crowded && count >= (self.hall.connecting_max / SHARE).max(1) {
            Metrics::add(&self.broker.metrics.sockets_refused, 1);
            return false;
        }
        from.insert(site, count + 1);
        drop(from);
        self.from = Some(site);
        true
    }

    /// What of `patience` this one has. `beyond`: it is more than is taken, and only told so.
    pub fn patience(&self, patience: &Patience, beyond: Option<Beyond>) -> Patience {
        let bounds = [self.crowded.then_some(HURRY), beyond.map(|_| TOLD_WITHIN)];
        let connect = bounds.into_iter().flatten().fold(patience.connect, Duration::min);
        Patience { connect, beyond, ..patience.clone() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.broker.metrics.sockets_connecting.fetch_sub(1, Ordering::Relaxed);
        let Some(site) = self.from else { return };
        let mut from = self.hall.from();
        match from.get_mut(&site) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(from.remove(&site)),
        }
    }
}
