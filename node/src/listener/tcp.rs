//! Plain TCP.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

/// Connections that the system completes before we take them: enough for a storm of reconnects.
const BACKLOG: i32 = 4096;

/// A peer that was silent for so long is asked whether it is still there, so that one without Keep Alive does not stay for ever.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Binds one address. What is set here holds for the sockets that it accepts.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // The IPv4 side of `all addresses` is a socket of its own.
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
