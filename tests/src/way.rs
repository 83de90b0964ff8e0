//! Ways to a broker: a byte stream over TCP, TLS, WebSocket or QUIC, for who speaks MQTT himself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use mqttd::hook::client::Transport;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};

use crate::certificates::{Authority, Certificate, client_config};

/// Every transport that there is.
pub const ALL: [Transport; 5] = [Transport::Tcp, Transport::Tls, Transport::WebSocket, Transport::SecureWebSocket, Transport::Quic];

/// How to reach a broker at an address.
#[derive(Clone)]
pub struct Way {
    pub transport: Transport,
    /// In PEM.
    pub authority: String,
    pub certificate: Option<Certificate>,
}

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

impl Way {
    pub fn new(transport: Transport) -> Way {
        Way { transport, authority: Authority::shared().pem.clone(), certificate: None }
    }

    /// Does all that comes before MQTT. What is written may wait for a flush.
    pub async fn open(&self, address: SocketAddr) -> io::Result<Box<dyn Duplex>> {
        Ok(match self.transport {
            Transport::Tcp => Box::new(tcp(address).await?),
            Transport::Tls => Box::new(self.tls(address).await?),
            Transport::WebSocket => Box::new(WebSocket::open("ws", tcp(address).await?).await?),
            Transport::SecureWebSocket => Box::new(WebSocket::open("wss", self.tls(address).await?).await?),
            Transport::Quic => {
                let (_endpoint, connection) = self.quic(address).await?;
                let (send, receive) = connection.open_bi().await?;
                Box::new(Quic { _endpoint, connection, send, receive })
            }
        })
    }

    async fn tls(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(client_config(&self.authority, self.certificate.as_ref())));
        connector.connect(ServerName::try_from("localhost").expect("a name"), tcp(address).await?).await
    }

    /// A QUIC connection of its own endpoint, which has to live as long.
    pub async fn quic(&self, address: SocketAddr) -> io::Result<(quinn::Endpoint, quinn::Connection)> {
        let mut tls = client_config(&self.authority, self.certificate.as_ref());
        tls.alpn_protocols = vec![b"mqtt".to_vec()];
        let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
        let any = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let endpoint = quinn::Endpoint::client(any.parse().expect("an address"))?;
        let mut config = quinn::ClientConfig::new(Arc::new(tls));
        // On a busy machine a silent broker is no dead one.
        let mut transport = quinn::TransportConfig::default();
        transport.max_idle_timeout(None);
        config.transport_config(Arc::new(transport));
        let connection = endpoint.connect_with(config, address, "localhost").map_err(io::Error::other)?.await?;
        Ok((endpoint, connection))
    }
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A stream, and the connection that ends with it.
struct Quic {
    _endpoint: quinn::Endpoint,
    connection: quinn::Connection,
    send: quinn::SendStream,
    receive: quinn::RecvStream,
}

impl Drop for Quic {
    fn drop(&mut self) {
        self.connection.close(0u8.into(), b"");
    }
}

impl AsyncRead for Quic {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.receive).poll_read(context, buffer)
    }
}

impl AsyncWrite for Quic {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.send), context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(context)
    }
}

/// The bytes in the messages of a WebSocket.
struct WebSocket<S> {
    socket: WebSocketStream<S>,
    came: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    async fn open(scheme: &str, stream: S) -> io::Result<WebSocket<S>> {
        let mut request = format!("{scheme}://localhost/mqtt").into_client_request().map_err(io::Error::other)?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().expect("a header"));
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.map_err(io::Error::other)?;
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
        Ok(WebSocket { socket, came: Bytes::new() })
    }

    fn sink(self: Pin<&mut Self>) -> Pin<&mut WebSocketStream<S>> {
        Pin::new(&mut self.get_mut().socket)
    }
}

fn failed<T>(poll: Poll<Result<T, tungstenite::Error>>) -> Poll<io::Result<T>> {
    poll.map_err(io::Error::other)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.came.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => this.came = bytes,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = this.came.len().min(buffer.remaining());
        buffer.put_slice(&this.came[..count]);
        this.came.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(failed(self.as_mut().sink().poll_ready(context)))?;
        self.sink().start_send(Message::binary(Bytes::copy_from_slice(bytes))).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        failed(self.sink().poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        failed(self.sink().poll_close(context))
    }
}
