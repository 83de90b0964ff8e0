//! From an address to byte streams, one connection task for each.

pub mod hall;
pub mod stream;
pub mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::connection::{self, Patience};
use crate::hook::client::{Listener, Peer, Transport};
use hall::{Hall, Ticket};
use stream::Stream;

/// How long a listener rests when the machine has no more sockets for it.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What one listener does with those who come.
#[derive(Debug)]
pub struct Settings {
    pub about: Arc<Listener>,
    pub transport: Transport,
    pub patience: Patience,
    /// Network Connections of this listener at a time; 0 is no limit.
    pub connections_max: usize,
    /// Those that there are.
    pub connections: AtomicUsize,
}

/// A listener that is bound and not yet running.
pub struct Bound {
    settings: Arc<Settings>,
    socket: TcpListener,
}

/// What all connections of a node need.
#[derive(Clone)]
pub struct House {
    pub broker: Arc<Broker>,
    pub hall: Arc<Hall>,
    /// Every connection holds a clone for as long as it lives.
    pub open: mpsc::Sender<()>,
}

impl Bound {
    /// Binds one address. Must be called within a Tokio runtime.
    pub fn bind(address: SocketAddr, settings: Arc<Settings>) -> io::Result<Bound> {
        Ok(Bound { settings, socket: tcp::bind(address)? })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub fn transport(&self) -> Transport {
        self.settings.transport
    }

    /// Accepts until `stop` changes.
    pub async fn run(self, house: House, mut stop: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stop.changed() => return,
            };
            match accepted {
                Ok((stream, address)) => match Hall::enter(&house.hall, &house.broker) {
                    Some(ticket) => drop(tokio::spawn(serve(stream, address, self.settings.clone(), house.clone(), ticket))),
                    None => tracing::debug!(%address, "closed: too many connect at a time"),
                },
                Err(error) => {
                    // Of one socket that was reset it says nothing about the next; of too many open files it says to wait.
                    tracing::warn!(%error, "a connection could not be accepted");
                    #[allow(clippy::disallowed_methods, reason = "no event tells when the machine has sockets again")]
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
}

/// One socket, from what its transport asks for to its end.
async fn serve(socket: TcpStream, address: SocketAddr, settings: Arc<Settings>, house: House, ticket: Ticket) {
    let place = Place::take(&settings);
    let patience = ticket.patience(settings.patience, place.is_beyond());
    let begun = Instant::now();
    // In a box of its own: what it needs is given back when the stream is open.
    let opened = tokio::time::timeout(patience.connect, Box::pin(open(socket, address, &settings))).await;
    match opened {
        Ok(Ok((stream, peer))) => {
            let connect = patience.connect.saturating_sub(begun.elapsed());
            connection::serve(stream, peer, house.broker, Patience { connect, ..patience }, ticket).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "closed before CONNECT"),
        Err(_) => tracing::debug!(%address, "closed: no CONNECT in time"),
    }
    drop(house.open);
}

/// What the transport asks for before MQTT can begin.
async fn open(socket: TcpStream, address: SocketAddr, settings: &Settings) -> io::Result<(Stream, Peer)> {
    let peer = Peer { address, transport: settings.transport, listener: settings.about.clone(), certificate_name: None };
    Ok((Stream::Tcp(socket), peer))
}

/// One of the connections of a listener.
struct Place {
    settings: Arc<Settings>,
    number: usize,
}

impl Place {
    fn take(settings: &Arc<Settings>) -> Place {
        Place { settings: settings.clone(), number: settings.connections.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    fn is_beyond(&self) -> bool {
        self.settings.connections_max > 0 && self.number > self.settings.connections_max
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.settings.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
