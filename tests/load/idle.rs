//! What a connection costs that does nothing: memory of the broker's process.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use mqttd::hook::client::Transport;
use tokio::io::AsyncReadExt;

use crate::broker::Broker;
use crate::crew;
use crate::wire;

/// Descriptors that a broker has open besides its connections, and some more.
const SPARE: usize = 200;

/// So long they have to come in: mosquitto takes a fifth of a second for each that comes over WebSocket. The memory is shared among those that came.
const COMING: Duration = Duration::from_secs(40);

/// After this a broker has done what it does for new connections.
const SETTLE: Duration = Duration::from_millis(300);

fn connections(transport: Transport) -> usize {
    if transport == Transport::Tcp { 10_000 } else { 2000 }
}

/// Bytes for each connection.
pub(crate) fn measure(broker: &Broker, transport: Transport) -> Result<f64, String> {
    let connections = connections(transport);
    let before = broker.resident_bytes()?;
    let runtime = crew::runtime();
    let clients = runtime.block_on(async {
        let mut clients = Vec::with_capacity(connections);
        let begun = Instant::now();
        while clients.len() < connections && begun.elapsed() < COMING {
            clients.push(wire::connect(broker, &format!("idle{}", clients.len()), false).await?);
        }
        io::Result::Ok(clients)
    });
    let clients = clients.map_err(|error| format!("not all of {connections} clients connect: {error}"))?;
    if clients.len() < connections {
        eprintln!("only {} of {connections} came within {COMING:?}", clients.len());
    }
    runtime.block_on(async { tokio::time::sleep(SETTLE).await });
    let after = broker.resident_bytes()?;
    let came = clients.len();
    for mut client in clients {
        if let Some(came) = runtime.block_on(async { client.read(&mut [0]).now_or_never() }) {
            return Err(format!("an idle connection did not stay: {came:?}"));
        }
    }
    Ok((after - before) / came as f64)
}

/// Why so many connections cannot be had here.
pub(crate) fn lacking_descriptors(transport: Transport) -> Option<String> {
    let connections = connections(transport);
    let needed = SPARE + connections;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: usize = line.split_whitespace().next()?.parse().ok()?;
    (soft < needed).then(|| format!("{connections} connections need {needed} descriptors, `ulimit -n` allows {soft}"))
}
