//! What it costs to come in: connects, with all that the transport asks for before CONNECT, for each CPU second of the broker.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::wire;

/// Clients that come one after the other, side by side.
const AT_ONCE: usize = 8;

/// Whole handshakes, for nobody has been here before: connects for each CPU second.
pub(crate) fn measure(broker: &Broker, measured: Duration) -> Result<f64, String> {
    let (connects, clock, before) = (AtomicU64::new(0), Instant::now(), broker.cpu_s());
    let come_and_go = &|client: usize| {
        while clock.elapsed() < measured {
            drop(wire::connect(broker.address(), &format!("connect{client}"), false)?);
            connects.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let ended = thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE).map(|client| scope.spawn(move || come_and_go(client))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("no client panics"))
    });
    ended.map_err(|error: io::Error| format!("a client cannot connect: {error}"))?;
    let spent = broker.cpu_s() - before;
    if spent > 0.0 { Ok(connects.load(Ordering::Relaxed) as f64 / spent) } else { Err("too short to measure".to_owned()) }
}
