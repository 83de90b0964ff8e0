//! Where those wait who have a socket and have not said CONNECT yet: how many they may be, and for how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::addresses::Beyond;
use crate::connection::Patience;
use crate::metrics::Metrics;

/// The patience with newcomers while the hall is more than half full: who means it needs less, also over a slow line.
const HURRY: Duration = Duration::from_secs(1);

/// All listeners of a node share one.
#[derive(Debug)]
pub struct Hall {
    connecting_max: usize,
}

/// The right to be in the hall. Dropped when the Client is in, or is gone.
pub struct Ticket {
    broker: Arc<Broker>,
    crowded: bool,
    number: usize,
}

impl Hall {
    pub fn new(connecting_max: usize) -> Hall {
        Hall { connecting_max }
    }

    /// `None`: it is full.
    pub fn enter(hall: &Arc<Hall>, broker: &Arc<Broker>) -> Option<Ticket> {
        let before = broker.metrics.sockets_connecting.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { broker: broker.clone(), crowded: before >= hall.connecting_max / 2, number: before + 1 };
        if before < hall.connecting_max {
            return Some(ticket);
        }
        Metrics::add(&broker.metrics.sockets_refused, 1);
        None
    }
}

impl Ticket {
    /// How many were in the hall when this one came, itself among them.
    pub fn number(&self) -> usize {
        self.number
    }

    /// What of `patience` this one has. `beyond`: it is more than its listener takes.
    pub fn patience(&self, patience: Patience, beyond: Option<Beyond>) -> Patience {
        let connect = if self.crowded { patience.connect.min(HURRY) } else { patience.connect };
        Patience { connect, beyond, ..patience }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.broker.metrics.sockets_connecting.fetch_sub(1, Ordering::Relaxed);
    }
}
