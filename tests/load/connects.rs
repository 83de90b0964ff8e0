//! What it costs to come in: connects, with all that the transport asks for before CONNECT, for each CPU second of the broker.

use std::io;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::crew;
use crate::wire;

/// Clients that come one after the other, side by side.
const AT_ONCE: usize = 8;

/// Whole handshakes, for nobody has been here before: connects for each CPU second.
pub(crate) fn measure(broker: &Broker, measured: Duration) -> Result<f64, String> {
    let (clock, before) = (Instant::now(), broker.cpu_s());
    let come_and_go = async |client: usize| {
        let mut connects = 0;
        while clock.elapsed() < measured {
            drop(wire::connect(broker, &format!("connect{client}"), false).await?);
            connects += 1;
        }
        io::Result::Ok(connects)
    };
    let ended = crew::runtime().block_on(futures_util::future::try_join_all((0..AT_ONCE).map(come_and_go)));
    let connects: u64 = ended.map_err(|error| format!("a client cannot connect: {error}"))?.into_iter().sum();
    let spent = broker.cpu_s() - before;
    if spent > 0.0 { Ok(connects as f64 / spent) } else { Err("too short to measure".to_owned()) }
}
