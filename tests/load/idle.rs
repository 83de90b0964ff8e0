//! What a connection costs that does nothing: memory of the broker's process.

use std::fs;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use mqttd::hook::client::Transport;

use crate::broker::Broker;
use crate::wire;

/// Descriptors that a broker has open besides its connections, and some more.
const SPARE: usize = 200;

/// After this a broker has done what it does for new connections.
const SETTLE: Duration = Duration::from_millis(300);

/// Connections, of which one over TCP is one descriptor here, and any other is three.
fn connections(transport: Transport) -> usize {
    if transport == Transport::Tcp { 10_000 } else { 2000 }
}

/// Bytes for each connection.
pub(crate) fn measure(broker: Broker, transport: Transport) -> Result<f64, String> {
    let connections = connections(transport);
    let before = broker.resident_bytes()?;
    let connect = |index| wire::connect(broker.address(), &format!("idle{index}"), false);
    let clients: io::Result<Vec<_>> = (0..connections).map(connect).collect();
    let clients = clients.map_err(|error| format!("not all of {connections} clients connect: {error}"))?;
    thread::sleep(SETTLE);
    let after = broker.resident_bytes()?;
    for mut client in clients {
        client.set_nonblocking().map_err(|error| error.to_string())?;
        match client.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return Err(format!("an idle connection did not stay: {other:?}")),
        }
    }
    Ok((after - before) / connections as f64)
}

/// Why so many connections cannot be had here.
pub(crate) fn lacking_descriptors(transport: Transport) -> Option<String> {
    let connections = connections(transport);
    let needed = SPARE + if transport == Transport::Tcp { connections } else { 3 * connections };
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: usize = line.split_whitespace().next()?.parse().ok()?;
    (soft < needed).then(|| format!("{connections} connections need {needed} descriptors, `ulimit -n` allows {soft}"))
}
