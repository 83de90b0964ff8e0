//! From an address to byte streams, one connection task for each.

pub mod faults;
pub mod hall;
pub mod proxy_protocol;
pub mod quic;
pub mod stream;
pub mod tcp;
pub mod tls;
pub mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::broker::addresses::Beyond;
use crate::broker::rate::Bucket;
use crate::connection::{self, Entrance, Patience};
use crate::hook::client::{Listener, Peer, Transport};
use crate::metrics::Metrics;
use crate::time::{Span, Time};
use hall::{Hall, Ticket};
use stream::Stream;
use tls::Identity;

/// How long a listener rests when the machine has no more sockets for it.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What one listener does with those who come.
#[derive(Debug)]
pub struct Settings {
    pub about: Arc<Listener>,
    pub transport: Transport,
    pub patience: Patience,
    /// Every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Of `tls`, `wss` and `quic`.
    pub identity: Option<Arc<Identity>>,
    /// What is done wrong on purpose.
    pub faults: Option<faults::Source>,
    /// Of `ws` and `wss`.
    pub websocket: Option<websocket::Settings>,
    /// Network Connections of this listener at a time; 0 is no limit.
    pub connections_max: usize,
    /// Those that there are.
    pub connections: AtomicUsize,
    pub rate: Rate,
}

/// How many may come in a second; so many may come at once.
#[derive(Debug)]
pub struct Rate(Option<Mutex<Bucket>>);

impl Rate {
    /// Zero is no bound.
    pub fn new(per_second_max: u32) -> Rate {
        // Full at the first look, whatever time it is then.
        Rate(Bucket::new(per_second_max.into(), Span::seconds(1), Time(0)).map(Mutex::new))
    }

    fn takes_one(&self, now: Time) -> bool {
        self.0.as_ref().is_none_or(|bucket| bucket.lock().unwrap_or_else(PoisonError::into_inner).take(now))
    }
}

impl Settings {
    fn peer(&self, address: SocketAddr) -> Peer {
        Peer { address, transport: self.transport, listener: self.about.clone(), certificate_name: None }
    }

    fn worsen(&self, stream: Stream) -> Stream {
        match &self.faults {
            Some(faults) => faults.onto(stream),
            None => stream,
        }
    }

    fn identity(&self) -> io::Result<&Arc<Identity>> {
        self.identity.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a listener without certificates"))
    }
}

/// A listener that is bound and not yet running.
pub struct Bound {
    settings: Arc<Settings>,
    socket: Socket,
}

enum Socket {
    Tcp(TcpListener),
    Quic(quinn::Endpoint),
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
        let socket = match settings.transport {
            Transport::Quic => Socket::Quic(quic::bind(address, settings.identity()?)?),
            _ => Socket::Tcp(tcp::bind(address)?),
        };
        Ok(Bound { settings, socket })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr(),
            Socket::Quic(endpoint) => endpoint.local_addr(),
        }
    }

    pub fn transport(&self) -> Transport {
        self.settings.transport
    }

    /// What keeps the certificates of this listener up to date.
    pub fn renewal(&self) -> Option<Renewal> {
        let endpoint = match &self.socket {
            Socket::Tcp(_) => None,
            Socket::Quic(endpoint) => Some(endpoint.clone()),
        };
        self.settings.identity.clone().map(|identity| Renewal { identity, endpoint, name: self.settings.about.name.clone() })
    }

    /// Accepts until `stop` changes.
    pub async fn run(self, house: House, stop: watch::Receiver<bool>) {
        match self.socket {
            Socket::Tcp(socket) => run(socket, self.settings, house, stop).await,
            Socket::Quic(endpoint) => quic::run(endpoint, self.settings, house, stop).await,
        }
    }
}

/// The certificates of one listener.
pub struct Renewal {
    identity: Arc<Identity>,
    endpoint: Option<quinn::Endpoint>,
    name: String,
}

impl Renewal {
    /// Reads them again if they have changed, or in any case. What goes wrong is told, and the old ones stay.
    fn look(&self, in_any_case: bool) {
        let renewed = self.identity.reload(in_any_case).and_then(|renewed| match &self.endpoint {
            Some(endpoint) if renewed => quic::config(&self.identity).map(|config| {
                endpoint.set_server_config(Some(config));
                true
            }),
            _ => Ok(renewed),
        });
        match renewed {
            Ok(true) => tracing::info!(listener = self.name, "certificates were read again"),
            Ok(false) => {}
            Err(error) => tracing::error!(listener = self.name, %error, "certificates cannot be renewed; the old ones stay"),
        }
    }
}

/// Keeps the certificates up to date: when their files change, and whenever `asked` says so.
pub async fn renew(renewals: Vec<Renewal>, asked: Arc<tokio::sync::Notify>) {
    loop {
        let in_any_case = tokio::time::timeout(tls::LOOK, asked.notified()).await.is_ok();
        renewals.iter().for_each(|renewal| renewal.look(in_any_case));
    }
}

async fn run(socket: TcpListener, settings: Arc<Settings>, house: House, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => match Hall::enter(&house.hall, &house.broker) {
                Some(ticket) => drop(tokio::spawn(serve(stream, address, settings.clone(), house.clone(), ticket))),
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

/// One socket, from what its transport asks for to its end.
async fn serve(socket: TcpStream, address: SocketAddr, settings: Arc<Settings>, house: House, ticket: Ticket) {
    let place = Place::take(&settings, &house.broker);
    let patience = ticket.patience(settings.patience, place.beyond);
    let begun = Instant::now();
    // In a box of its own: what it needs is given back when the stream is open.
    let opened = tokio::time::timeout(patience.connect, Box::pin(open(socket, address, &settings, &house.broker.metrics))).await;
    match opened {
        Ok(Ok((stream, peer))) => {
            let connect = patience.connect.saturating_sub(begun.elapsed());
            let is_in = move |_: Option<&Entrance>| drop(ticket);
            let stream = settings.worsen(stream);
            connection::serve(stream, peer, house.broker, Patience { connect, ..patience }, is_in).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "closed before CONNECT"),
        Err(_) => {
            Metrics::add(&house.broker.metrics.connects_late, 1);
            tracing::debug!(%address, "closed: no CONNECT in time");
        }
    }
    drop(place);
    drop(house.open);
}

/// What the transport asks for before MQTT can begin.
async fn open(mut socket: TcpStream, address: SocketAddr, settings: &Settings, metrics: &Metrics) -> io::Result<(Stream, Peer)> {
    let mut peer = settings.peer(address);
    if settings.proxy_protocol {
        let told = counted(proxy_protocol::read(&mut socket).await, &metrics.proxy_headers_failed)?;
        peer.address = told.address.unwrap_or(address);
        peer.certificate_name = told.certificate_name;
    }
    let stream = match &settings.identity {
        None => {
            let Some(websocket) = &settings.websocket else { return Ok((Stream::Tcp(socket), peer)) };
            let accepted = websocket::accept(socket, websocket).await;
            Stream::WebSocket(Box::new(counted(accepted, &metrics.websockets_failed)?))
        }
        Some(identity) => {
            let tls = counted(identity.accept(socket).await, &metrics.tls_failed)?;
            peer.certificate_name = identity.files.name(tls.get_ref().1.peer_certificates()).or(peer.certificate_name);
            match &settings.websocket {
                None => Stream::Tls(Box::new(tls)),
                Some(websocket) => {
                    let accepted = websocket::accept(tls, websocket).await;
                    Stream::SecureWebSocket(Box::new(counted(accepted, &metrics.websockets_failed)?))
                }
            }
        }
    };
    Ok((stream, peer))
}

fn counted<T>(result: io::Result<T>, failures: &AtomicU64) -> io::Result<T> {
    result.inspect_err(|_| Metrics::add(failures, 1))
}

/// One of the connections of a listener.
struct Place {
    settings: Arc<Settings>,
    beyond: Option<Beyond>,
}

impl Place {
    fn take(settings: &Arc<Settings>, broker: &Broker) -> Place {
        let before = settings.connections.fetch_add(1, Ordering::Relaxed);
        let beyond = if !settings.rate.takes_one(broker.clock.now()) {
            Some(Beyond::Rate)
        } else {
            (settings.connections_max > 0 && before >= settings.connections_max).then_some(Beyond::Count)
        };
        Place { settings: settings.clone(), beyond }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.settings.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
