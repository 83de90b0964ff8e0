//! Other transports for the kit's client: it speaks to one end of a pair of sockets, and a task carries the bytes between the other end
//! and the broker over TLS, WebSocket or QUIC. So every dialogue runs over every transport, and none of them knows.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mqttd::hook::client::Transport;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

use crate::way::{self, Duplex, Way};

/// The transport that `MQTTD_TEST_TRANSPORT` names for all dialogues that say nothing of it.
pub fn asked_for() -> Transport {
    match std::env::var("MQTTD_TEST_TRANSPORT") {
        Err(_) => Transport::Tcp,
        Ok(name) => {
            way::ALL.into_iter().find(|transport| transport.scheme() == name).expect("MQTTD_TEST_TRANSPORT is tcp, tls, ws, wss or quic")
        }
    }
}

/// The ways to brokers of this process that do not listen on plain TCP.
fn ways() -> &'static Mutex<HashMap<SocketAddr, Way>> {
    static WAYS: OnceLock<Mutex<HashMap<SocketAddr, Way>>> = OnceLock::new();
    WAYS.get_or_init(Default::default)
}

/// From now on clients that go to `address` take this way.
pub fn lead(address: SocketAddr, way: Way) {
    ways().lock().unwrap_or_else(PoisonError::into_inner).insert(address, way);
}

/// TCP at this address from now on.
pub fn forget(address: SocketAddr) {
    ways().lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
}

pub fn way_to(address: SocketAddr) -> Option<Way> {
    ways().lock().unwrap_or_else(PoisonError::into_inner).get(&address).filter(|way| way.transport != Transport::Tcp).cloned()
}

/// Where the tasks run that carry bytes.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts"))
}

/// One end of what the kit's client speaks over.
pub enum Wire {
    Tcp(std::net::TcpStream),
    Pair(UnixStream),
}

macro_rules! either {
    ($wire:expr, $stream:ident => $call:expr) => {
        match $wire {
            Wire::Tcp($stream) => $call,
            Wire::Pair($stream) => $call,
        }
    };
}

impl Wire {
    /// By the way that leads to the address; TCP where none was named.
    pub fn connect(address: SocketAddr) -> io::Result<Wire> {
        if let Some(way) = way_to(address) {
            return connect(address, way).map(Wire::Pair);
        }
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Wire::Tcp(stream))
    }

    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        either!(self, stream => stream.set_write_timeout(Some(timeout)))
    }

    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        either!(self, stream => stream.set_read_timeout(Some(timeout)))
    }

    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, stream => stream.shutdown(how))
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.read(buffer))
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connects; the socket that comes back is as good as a TCP connection to the broker.
pub fn connect(address: SocketAddr, way: Way) -> io::Result<UnixStream> {
    let (near, far) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    let opened = runtime().spawn(async move {
        let far = tokio::net::UnixStream::from_std(far)?;
        tokio::spawn(pipe(far, way.open(address).await?));
        io::Result::Ok(())
    });
    runtime().block_on(opened).map_err(io::Error::other)??;
    Ok(near)
}

/// Carries bytes both ways. When one side is gone, so is the other.
async fn pipe(near: tokio::net::UnixStream, far: Box<dyn Duplex>) {
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let up = async {
        let ended = tokio::io::copy(&mut near_read, &mut far_write).await;
        let _ = far_write.shutdown().await;
        ended
    };
    let down = async {
        let ended = tokio::io::copy(&mut far_read, &mut near_write).await;
        let _ = near_write.shutdown().await;
        ended
    };
    let (up, down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        biased;
        // The broker has closed: nobody takes what the client still sends.
        _ = down => {}
        _ = async { let _ = up.await; std::future::pending::<()>().await } => {}
    }
}
