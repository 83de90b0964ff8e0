//! Other transports for the kit's client: it speaks to one end of a pair of sockets, and a task carries the bytes between the other end
//! and the broker over TLS, WebSocket or QUIC. So every dialogue runs over every transport, and none of them knows.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mqttd::hook::client::Transport;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::certificates::{Authority, Certificate, client_config};

/// How to reach a broker at an address.
#[derive(Clone)]
pub struct Way {
    pub transport: Transport,
    /// In PEM.
    pub authority: String,
    pub certificate: Option<Certificate>,
}

impl Way {
    pub fn new(transport: Transport) -> Way {
        Way { transport, authority: Authority::shared().pem.clone(), certificate: None }
    }
}

/// Every transport that there is.
pub const ALL: [Transport; 5] = [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket, Transport::Quic];

/// The transport that `MQTTD_TEST_TRANSPORT` names for all dialogues that say nothing of it.
pub fn asked_for() -> Transport {
    match std::env::var("MQTTD_TEST_TRANSPORT") {
        Err(_) => Transport::Tcp,
        Ok(name) => {
            ALL.into_iter().find(|transport| transport.scheme() == name).expect("MQTTD_TEST_TRANSPORT is tcp, tls, ws, wss or quic")
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

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

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

    pub fn set_nonblocking(&self) -> io::Result<()> {
        either!(self, stream => stream.set_nonblocking(true))
    }

    /// As a stream of the runtime that this is called in.
    pub fn into_tokio(self) -> io::Result<Box<dyn Duplex>> {
        self.set_nonblocking()?;
        Ok(match self {
            Wire::Tcp(stream) => Box::new(TcpStream::from_std(stream)?),
            Wire::Pair(stream) => Box::new(tokio::net::UnixStream::from_std(stream)?),
        })
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
    let opened =
        runtime().block_on(async { tokio::spawn(async move { carry(tokio::net::UnixStream::from_std(far)?, address, way).await }).await });
    opened.map_err(io::Error::other)??;
    Ok(near)
}

/// Does what comes before MQTT, and leaves the rest to a task.
async fn carry(near: tokio::net::UnixStream, address: SocketAddr, way: Way) -> io::Result<()> {
    match way.transport {
        Transport::Tcp => drop(tokio::spawn(pipe(near, tcp(address).await?))),
        Transport::Tls => drop(tokio::spawn(pipe(near, tls(address, &way).await?))),
        Transport::WebSocket => drop(tokio::spawn(pipe(near, websocket("ws", tcp(address).await?).await?))),
        Transport::SecureWebSocket => drop(tokio::spawn(pipe(near, websocket("wss", tls(address, &way).await?).await?))),
        Transport::Quic => {
            let (endpoint, connection) = quic(address, &way).await?;
            let (send, receive) = connection.open_bi().await?;
            tokio::spawn(async move {
                pipe(near, tokio::io::join(receive, send)).await;
                connection.close(0u8.into(), b"");
                endpoint.wait_idle().await;
            });
        }
    }
    Ok(())
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub async fn tls(address: SocketAddr, way: &Way) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(client_config(&way.authority, way.certificate.as_ref())));
    connector.connect(ServerName::try_from("localhost").expect("a name"), tcp(address).await?).await
}

/// A QUIC connection of its own endpoint, which has to live as long.
pub async fn quic(address: SocketAddr, way: &Way) -> io::Result<(quinn::Endpoint, quinn::Connection)> {
    let mut tls = client_config(&way.authority, way.certificate.as_ref());
    tls.alpn_protocols = vec![b"mqtt".to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    // On a busy machine a silent broker is no dead one.
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(None);
    config.transport_config(Arc::new(transport));
    let connection = endpoint.connect_with(config, address, "localhost").map_err(io::Error::other)?.await?;
    Ok((endpoint, connection))
}

/// A WebSocket as bytes: two tasks with a pipe between them and the caller.
async fn websocket<S>(scheme: &str, stream: S) -> io::Result<tokio::io::DuplexStream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = format!("{scheme}://localhost/mqtt").into_client_request().map_err(io::Error::other)?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().expect("a header"));
    let (socket, response) = tokio_tungstenite::client_async(request, stream).await.map_err(io::Error::other)?;
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(frames(socket, far));
    Ok(near)
}

async fn frames<S: AsyncRead + AsyncWrite + Unpin>(mut socket: tokio_tungstenite::WebSocketStream<S>, mut far: tokio::io::DuplexStream) {
    use futures_util::{SinkExt, StreamExt};
    let mut buffer = vec![0; 16 * 1024];
    let mut open = true;
    loop {
        tokio::select! {
            read = far.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => {
                    open = false;
                    let _ = socket.close(None).await;
                }
                Ok(count) => {
                    if socket.send(Message::binary(buffer[..count].to_vec())).await.is_err() {
                        return;
                    }
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if far.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// Carries bytes both ways. When one side is gone, so is the other.
async fn pipe(near: tokio::net::UnixStream, far: impl AsyncRead + AsyncWrite) {
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
