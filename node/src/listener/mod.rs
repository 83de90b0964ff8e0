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
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::broker::addresses::{Addresses, Beyond, Pace, Turned, Visit};
use crate::connection::{self, Entrance, Patience};
use crate::hook::client::{Listener, Peer, Transport};
use crate::metrics::Metrics;
use crate::store::bans::Network;
use crate::time::Time;
use hall::{Hall, Ticket};
use proxy_protocol::Told;
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
    /// Who may send one; empty is everybody.
    pub proxy_from: Vec<Network>,
    /// Of `tls`, `wss` and `quic`.
    pub identity: Option<Arc<Identity>>,
    /// What is done wrong on purpose.
    pub faults: Option<faults::Source>,
    /// Of `ws` and `wss`.
    pub websocket: Option<websocket::Settings>,
    pub rate: Rate,
}

/// How many may come in a second; so many may come at once. `None` is no bound.
#[derive(Debug)]
pub struct Rate(Option<Mutex<Pace>>);

impl Rate {
    /// Zero is no bound.
    pub fn new(per_second_max: u32) -> Rate {
        // Full at the first look, whatever time it is then.
        Rate((per_second_max > 0).then(|| Mutex::new(Pace::new(per_second_max, Time(0)))))
    }

    /// Whether one more may come.
    fn turns(&self, now: Time) -> Option<Turned> {
        let mut pace = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        (!pace.takes_one(now)).then(|| pace.turn(Beyond::ListenerRate, now))
    }
}

impl Settings {
    fn peer(&self, address: SocketAddr) -> Peer {
        Peer { address, transport: self.transport, listener: self.about.clone(), certificate_name: None, certificate_until: None }
    }

    /// Whose a socket is, if that is known before its first byte.
    fn address_of(&self, from: SocketAddr) -> Option<IpAddr> {
        (!self.proxy_protocol).then(|| from.ip())
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
            Transport::Quic => Socket::Quic(quic::bind(address, &settings.identity()?.config())?),
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

    pub fn settings(&self) -> &Settings {
        &self.settings
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
        match self.renew(in_any_case) {
            Ok(true) => tracing::info!(listener = self.name, "certificates were read again"),
            Ok(false) => {}
            Err(error) => tracing::error!(listener = self.name, %error, "certificates cannot be renewed; the old ones stay"),
        }
    }

    /// Shows the new ones when everything that is to show them can.
    fn renew(&self, in_any_case: bool) -> io::Result<bool> {
        let Some(config) = self.identity.read_again(in_any_case)? else { return Ok(false) };
        let over_quic = self.endpoint.as_ref().map(|endpoint| Ok::<_, io::Error>((endpoint, quic::config(&config)?))).transpose()?;
        self.identity.show(config);
        if let Some((endpoint, config)) = over_quic {
            endpoint.set_server_config(Some(config));
        }
        Ok(true)
    }
}

/// Keeps the certificates up to date: when their files change, and whenever `asked` says so.
pub async fn renew(renewals: Vec<Renewal>, asked: Arc<tokio::sync::Notify>) {
    let renewals = Arc::new(renewals);
    loop {
        let in_any_case = tokio::time::timeout(tls::LOOK, asked.notified()).await.is_ok();
        let renewals = renewals.clone();
        // Files are read, and keys with them: not on a thread that moves packets.
        let looked = tokio::task::spawn_blocking(move || renewals.iter().for_each(|renewal| renewal.look(in_any_case)));
        looked.await.unwrap_or_else(|error| tracing::error!(%error, "certificates could not be looked at"));
    }
}

async fn run(socket: TcpListener, settings: Arc<Settings>, house: House, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => match Hall::enter(&house.hall, &house.broker, settings.address_of(address)) {
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
async fn serve(mut socket: TcpStream, address: SocketAddr, settings: Arc<Settings>, house: House, mut ticket: Ticket) {
    let begun = Instant::now();
    let told = tokio::time::timeout(settings.patience.connect, tell(&mut socket, address, &settings, &house.broker.metrics)).await;
    let told = match told {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "closed before CONNECT"),
        Err(_) => return late(address, &house.broker),
    };
    let peer = Peer { certificate_name: told.certificate_name, ..settings.peer(told.address.unwrap_or(address)) };
    if settings.proxy_protocol && !ticket.is_from(peer.address.ip()) {
        return tracing::debug!(%address, peer = %peer.address, "closed: too many connect at a time from there");
    }
    let Some((visit, beyond)) = admit(&settings, peer.address.ip(), &house.broker) else {
        return tracing::debug!(%address, peer = %peer.address, "closed: too many come from there, or too fast");
    };
    let patience = ticket.patience(&settings.patience, beyond);
    // In a box of its own: what it needs is given back when the stream is open.
    let opened = Box::pin(open(socket, peer, &settings, &house.broker.metrics));
    let opened = tokio::time::timeout(patience.connect.saturating_sub(begun.elapsed()), opened).await;
    match opened {
        Ok(Ok((stream, peer))) => {
            let connect = patience.connect.saturating_sub(begun.elapsed());
            let is_in = move |_: Option<&Entrance>| drop(ticket);
            let stream = settings.worsen(stream);
            connection::serve(stream, peer, house.broker, Patience { connect, ..patience }, is_in).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "closed before CONNECT"),
        Err(_) => late(address, &house.broker),
    }
    drop(visit);
    drop(house.open);
}

fn late(address: SocketAddr, broker: &Broker) {
    Metrics::add(&broker.metrics.connects_late, 1);
    tracing::debug!(%address, "closed: no CONNECT in time");
}

/// Counts a newcomer for its address and its listener, before anything is done for it. Of those beyond a bound some go on, to be told; `None`: it
/// is not one of them.
fn admit(settings: &Settings, address: IpAddr, broker: &Broker) -> Option<(Option<Visit>, Option<Beyond>)> {
    let now = broker.clock.now();
    let of_listener = settings.rate.turns(now);
    let (visit, of_address) = match Addresses::enter(&broker.addresses, address, now) {
        Ok(visit) => (Some(visit), None),
        Err(turned) => (None, Some(turned)),
    };
    let Some(turned) = of_address.or(of_listener) else { return Some((visit, None)) };
    if !turned.told {
        connection::count_turned(turned.beyond, broker);
        return None;
    }
    Some((visit, Some(turned.beyond)))
}

/// What a balancer says of the Client, where there is one.
async fn tell(socket: &mut TcpStream, address: SocketAddr, settings: &Settings, metrics: &Metrics) -> io::Result<Told> {
    if !settings.proxy_protocol {
        return Ok(Told::default());
    }
    let known = settings.proxy_from.is_empty() || settings.proxy_from.iter().any(|network| network.has(address.ip()));
    let told = match known {
        true => proxy_protocol::read(socket).await,
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "no header of the PROXY protocol is taken from there (proxy_from)")),
    };
    counted(told, &metrics.proxy_headers_failed)
}

/// What the transport asks for before MQTT can begin.
async fn open(socket: TcpStream, mut peer: Peer, settings: &Settings, metrics: &Metrics) -> io::Result<(Stream, Peer)> {
    let stream = match &settings.identity {
        None => {
            let Some(websocket) = &settings.websocket else { return Ok((Stream::Tcp(socket), peer)) };
            let accepted = websocket::accept(socket, websocket).await;
            Stream::WebSocket(Box::new(counted(accepted, &metrics.websockets_failed)?))
        }
        Some(identity) => {
            let tls = counted(identity.accept(socket).await, &metrics.tls_failed)?;
            identity.files.name_peer(&mut peer, tls.get_ref().1.peer_certificates());
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
