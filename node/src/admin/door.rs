//! The door for HTTP: only so many come in at a time, and who says nothing has to go.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at a time. The next one waits in the backlog of the system.
const CONNECTIONS_MAX: usize = 256;

/// A connection on which nothing moves for so long is closed. Streams of events say something more often.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long the door rests when the machine has no more sockets for it.
const ACCEPT_REST: Duration = Duration::from_millis(100);

pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

/// Where a caller comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct From(pub SocketAddr);

impl Door {
    pub(super) fn new(listener: TcpListener) -> Door {
        Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("nobody closes it");
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let silence = Box::pin(tokio::time::sleep_until(Instant::now() + SILENCE_MAX));
                    return (Guest { stream, silence, _place: place }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for the administration could not be accepted");
                    #[allow(clippy::disallowed_methods, reason = "no event tells when the machine has sockets again")]
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for From {
    fn connect_info(stream: IncomingStream<'_, Door>) -> From {
        From(*stream.remote_addr())
    }
}

/// A connection that has a place.
pub(super) struct Guest {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn moved(&mut self) {
        self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => {
                self.check(context)?;
                Poll::Pending
            }
            ready => {
                self.moved();
                ready
            }
        }
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => {
                self.check(context)?;
                Poll::Pending
            }
            ready => {
                self.moved();
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        Poll::Ready(closed)
    }
}
