//! What a connection costs that does nothing: memory of the broker's process.

use std::fs;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use crate::broker::Broker;
use crate::wire;

/// Descriptors that a broker has open besides its connections, and some more.
const SPARE: usize = 200;

/// After this a broker has done what it does for new connections.
const SETTLE: Duration = Duration::from_millis(300);

/// Bytes for each connection.
pub(crate) fn measure(broker: Broker, connections: usize) -> Result<f64, String> {
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
pub(crate) fn lacking_descriptors(connections: usize) -> Option<String> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft: usize = line.split_whitespace().next()?.parse().ok()?;
    (soft < connections + SPARE).then(|| format!("{connections} connections need more descriptors than `ulimit -n` allows: {soft}"))
}
