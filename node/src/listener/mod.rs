//! From an address to byte streams, one connection task for each.

pub mod tcp;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::broker::Broker;
use crate::connection::{self, Patience};
use crate::hook::client::Peer;

/// How long a listener rests when the machine has no more sockets for it.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Something that brings byte streams.
pub trait Accept: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&mut self) -> impl Future<Output = std::io::Result<(Self::Stream, Peer)>> + Send;
}

/// Accepts until `stop` changes. Every connection holds a clone of `open` for as long as it lives.
pub async fn run<A: Accept>(
    mut listener: A,
    broker: Arc<Broker>,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
    open: tokio::sync::mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (broker, open) = (broker.clone(), open.clone());
                tokio::spawn(async move {
                    connection::serve(stream, peer, broker, patience).await;
                    drop(open);
                });
            }
            Err(error) => {
                // Of one socket that was reset it says nothing about the next; of too many open files it says to wait.
                tracing::warn!(%error, "a connection could not be accepted");
                #[allow(clippy::disallowed_methods, reason = "no event tells when the machine has sockets again")]
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}
