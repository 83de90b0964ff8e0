//! MQTT over QUIC: ALPN `mqtt`, TLS 1.3, and a bidirectional stream in the place of a socket.
//!
//! The first stream of a connection is the *control stream*: it carries CONNECT and everything that a TCP connection would. When the Client
//! is in, it may open more, *data streams*, as with EMQX: each carries PUBLISH, SUBSCRIBE and their like without a CONNECT, has its own
//! Packet Identifiers, and gets the acknowledgements of what was sent on it and the messages of what was subscribed on it. What is lost
//! on one of them holds up no other. They end with the control stream.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, ServerConfig, TransportConfig, VarInt};
use rustls_pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::hall::{Hall, Ticket};
use super::{House, Settings, admit, tcp};
use crate::broker::rate::Bucket;
use crate::connection::{self, Entrance, Patience};
use crate::hook::client::Peer;
use crate::metrics::Metrics;
use crate::time::Span;

pub const ALPN: &[u8] = b"mqtt";

/// Streams that a Client may have open at a time, the control stream among them.
const STREAMS_MAX: u32 = 64;

/// Data streams that a Client may open in a second, so many of them at once.
const STREAMS_PER_SECOND_MAX: u64 = 64;

/// What a Client may send before we have read it: on one stream, and on all.
const STREAM_WINDOW: u32 = 256 * 1024;
const WINDOW: u32 = 1024 * 1024;

/// What we send before it is acknowledged.
const SEND_WINDOW: u64 = 1024 * 1024;

/// A peer that is silent for so long is asked: the other end of a QUIC connection gives up by itself, most after 30 s, and so do the NATs on the
/// way. The Keep Alive of MQTT is longer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// As for TCP: one that says nothing to that is given up after so long.
const IDLE_MAX: Duration = Duration::from_secs(3 * tcp::KEEP_ALIVE.as_secs());

/// Buffers of the socket, as far as the system allows: datagrams of all connections wait there.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Above this many in the hall an address must first show that it is not made up (Retry, RFC 9000 section 8.1.2).
const RETRY_ABOVE: usize = 256;

/// Application error codes of CONNECTION_CLOSE; what it is about was said in an MQTT packet before.
const CLOSED: VarInt = VarInt::from_u32(0);
const REFUSED: VarInt = VarInt::from_u32(1);

/// Binds one address.
pub fn bind(address: SocketAddr, tls: &rustls::ServerConfig) -> io::Result<Endpoint> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // What the system grants is enough; it says nothing when that is less.
    let _ = (socket.set_recv_buffer_size(SOCKET_BYTES), socket.set_send_buffer_size(SOCKET_BYTES));
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let socket: UdpSocket = socket.into();
    Endpoint::new(EndpointConfig::default(), Some(config(tls)?), socket, Arc::new(quinn::TokioRuntime))
}

/// What new connections begin with; set again when the certificates have changed.
pub fn config(tls: &rustls::ServerConfig) -> io::Result<ServerConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // 0-RTT stays off: whoever sends a CONNECT or a PUBLISH again could do so with what was recorded.
    tls.max_early_data_size = 0;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(0u8.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_MAX.as_millis() as u32).into()));
    config.transport_config(Arc::new(transport)).migration(true);
    Ok(config)
}

/// Accepts until `stop` changes.
pub(super) async fn run(endpoint: Endpoint, settings: Arc<Settings>, house: House, mut stop: watch::Receiver<bool>) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = stop.changed() => break,
        };
        let Some(incoming) = incoming else { break };
        let Some(ticket) = Hall::enter(&house.hall, &house.broker, Some(incoming.remote_address().ip())) else {
            incoming.refuse();
            continue;
        };
        // Where addresses are counted nobody is to be counted for one that is made up.
        let must_show = ticket.number() > RETRY_ABOVE || house.broker.addresses.counts_them();
        if must_show && !incoming.remote_address_validated() && incoming.may_retry() {
            Metrics::add(&house.broker.metrics.quic_retries, 1);
            let _ = incoming.retry();
            continue;
        }
        tokio::spawn(serve(incoming, settings.clone(), house.clone(), ticket));
    }
    // Who is connected says goodbye; the socket stays open for that.
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

/// One QUIC connection to its end.
async fn serve(incoming: Incoming, settings: Arc<Settings>, house: House, ticket: Ticket) {
    let address = incoming.remote_address();
    let Some((visit, beyond)) = admit(&settings, address.ip(), &house.broker) else {
        incoming.refuse();
        return tracing::debug!(%address, "closed: too many come from there, or too fast");
    };
    let patience = ticket.patience(&settings.patience, beyond);
    let begun = Instant::now();
    let opened = tokio::time::timeout(patience.connect, Box::pin(open(incoming, &settings))).await;
    let opened = opened.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no stream in time")));
    let (connection, stream, peer) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            Metrics::add(&house.broker.metrics.quic_failed, 1);
            return tracing::debug!(%address, %error, "closed before CONNECT");
        }
    };
    let patience = Patience { connect: patience.connect.saturating_sub(begun.elapsed()), ..patience };
    let (tell, told) = oneshot::channel();
    let is_in = move |entrance: Option<&Entrance>| {
        drop(ticket);
        // Nobody listens when the streams' task has ended already, with the connection.
        let _ = entrance.map(|entrance| tell.send(entrance.clone()));
    };
    let data = tokio::spawn(data_streams(connection.clone(), told, house.clone(), patience.clone()));
    connection::serve(settings.worsen(stream), peer, house.broker, patience, is_in).await;
    // What was said on the control stream has been acknowledged by now, see `poll_shutdown`.
    connection.close(CLOSED, b"");
    let _ = data.await;
    drop(visit);
}

/// The handshake, and the first stream.
async fn open(incoming: Incoming, settings: &Settings) -> io::Result<(quinn::Connection, super::Stream, Peer)> {
    let address = incoming.remote_address();
    let connection = incoming.accept()?.await?;
    let chain = connection.peer_identity().and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    let identity = settings.identity()?;
    let mut peer = settings.peer(address);
    identity.files.name_peer(&mut peer, chain.as_deref().map(Vec::as_slice));
    let (send, receive) = connection.accept_bi().await?;
    Ok((connection, super::Stream::Quic(Box::new(QuicStream::new(send, receive))), peer))
}

/// Takes data streams from the moment on at which the Client is in, until the connection ends.
async fn data_streams(connection: quinn::Connection, told: oneshot::Receiver<Entrance>, house: House, patience: Patience) {
    let Ok(entrance) = told.await else { return connection.close(REFUSED, b"") };
    let mut streams = tokio::task::JoinSet::new();
    let clock = &house.broker.clock;
    let mut pace = Bucket::new(STREAMS_PER_SECOND_MAX, Span::seconds(1), clock.now());
    while let Ok((send, receive)) = connection.accept_bi().await {
        while streams.try_join_next().is_some() {}
        // A Session is opened and closed for each: who is faster waits, and so do the streams behind it.
        if let Some(pace) = &mut pace {
            while !pace.take(clock.now()) {
                tokio::time::sleep_until(clock.instant(pace.has_at(1.0))).await;
            }
        }
        let stream = super::Stream::Quic(Box::new(QuicStream::new(send, receive)));
        streams.spawn(connection::serve_branch(stream, entrance.clone(), house.broker.clone(), patience.write));
    }
    while streams.join_next().await.is_some() {}
}

type Acknowledged = Pin<Box<dyn Future<Output = Result<Option<VarInt>, quinn::StoppedError>> + Send + Sync>>;

/// A bidirectional stream as a byte stream.
pub struct QuicStream {
    send: SendStream,
    receive: RecvStream,
    /// Our side has ended; it is waited for that the Client has it all.
    ended: Option<Acknowledged>,
    /// It has: nothing that it still says matters.
    over: bool,
}

impl QuicStream {
    pub fn new(send: SendStream, receive: RecvStream) -> QuicStream {
        QuicStream { send, receive, ended: None, over: false }
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over {
            return Poll::Ready(Ok(()));
        }
        AsyncRead::poll_read(Pin::new(&mut self.get_mut().receive), context, buffer)
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().send), context, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut total = 0;
        // quinn copies into what it keeps for sending again; a slice after the other is as good as all at once.
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            match AsyncWrite::poll_write(Pin::new(&mut this.send), context, slice) {
                Poll::Ready(Ok(written)) => {
                    total += written;
                    if written < slice.len() {
                        break;
                    }
                }
                Poll::Ready(Err(error)) if total == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if total == 0 => return Poll::Pending,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends our side and waits until the Client has all of it: closing the connection would overtake it.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ended = match &mut this.ended {
            Some(ended) => ended,
            None => {
                let _ = this.send.finish(); // it fails for one that was ended, which is as good
                this.ended.insert(Box::pin(this.send.stopped()))
            }
        };
        // However it ended: there is nobody left to wait for.
        if !this.over {
            let _ = ready!(ended.as_mut().poll(context));
            this.over = true;
        }
        Poll::Ready(Ok(()))
    }
}
