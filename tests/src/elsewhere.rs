//! Sockets that come from another address of this machine, where a broker counts by address.

use std::io;
use std::net::{SocketAddr, TcpStream};

use crate::bridge::runtime;

/// From this address, on a port that the system picks.
pub fn connect(from: [u8; 4], to: SocketAddr) -> io::Result<TcpStream> {
    let connected = runtime().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(to).await?.into_std()
    })?;
    connected.set_nonblocking(false)?;
    Ok(connected)
}
