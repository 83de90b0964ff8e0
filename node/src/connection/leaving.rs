//! The end of a connection: the Client is told why, what is left is written, and the Session is given back.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::broker::Broker;
use crate::broker::life::sends_away;
use crate::connection::{Connection, End, handshake};
use crate::hook::client::Client;
use crate::hook::hooks::Why;
use crate::packet::reason::Reason;

/// How long the end of a connection may take: to write what is left, and to see the Client close.
pub(super) const LINGER: Duration = Duration::from_secs(2);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Says why, writes what is left, gives the Session back.
    pub(super) async fn leave(mut self, end: Result<(), End>) {
        let (peer, listener) = (self.client.peer.address, &self.client.peer.listener.name);
        let now = self.broker.clock.now();
        let client_id = self.session.client_id().clone();
        let reason = reason(&end);
        let sent_away = matches!(&end, Err(End::Fault(fault)) if sends_away(fault.reason));
        match end {
            Ok(()) | Err(End::Client("DISCONNECT")) => tracing::info!(%client_id, %peer, %listener, reason_code = reason.0, "disconnected"),
            Err(End::Client(how)) => tracing::info!(%client_id, %peer, %listener, reason_code = reason.0, how, "disconnected"),
            Err(End::Io(error)) => tracing::info!(%client_id, %peer, %listener, reason_code = reason.0, %error, "connection lost"),
            Err(End::Fault(fault)) => {
                let (code, text) = (fault.reason.0, fault.text);
                tracing::info!(%client_id, %peer, %listener, reason_code = code, reason = %fault.reason, text, "connection ended by the Server");
                self.session.send_disconnect(fault);
            }
        }
        self.session.note_end(now);
        self.tell_fates();
        let mail = std::mem::take(&mut self.mail);
        if let Err(error) = self.broker.close(&mut self.member, &mut self.session, mail, sent_away, now).await {
            tracing::warn!(%client_id, ?error, "the Session could not be given back to the Store");
        }
        let _ = tokio::time::timeout(LINGER, handshake::finish(&mut self.framing, self.session.outgoing())).await;
        self.count();
        // What has not come by CONNECT, a stream beside one, was not told of either; its Client goes on.
        if self.counted.is_some() {
            if self.broker.tells_of_clients {
                Box::pin(self.broker.tell_disconnected(&self.presence, reason, now)).await;
            }
            Box::pin(tell_disconnected(&self.broker, &self.client, reason)).await;
        }
    }
}

/// A Client that `on_connect` let in is gone.
pub(super) async fn tell_disconnected(broker: &Broker, client: &Arc<Client>, reason: Reason) {
    if !broker.hooks.asks_for_disconnect() {
        return;
    }
    let told = broker.watched(client, "on_disconnect", broker.hooks.disconnected(client, reason));
    match tokio::time::timeout(broker.hooks.deadline, told).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => broker.count_failure(client, "on_disconnect", Why::Panic),
        Err(_) => broker.count_failure(client, "on_disconnect", Why::Deadline),
    }
}

/// The Reason Code of the end of a connection, as handlers of `on_disconnect` are told it.
fn reason(end: &Result<(), End>) -> Reason {
    end.as_ref().map_or_else(End::reason, |()| Reason::SUCCESS)
}

impl End {
    pub(super) fn reason(&self) -> Reason {
        match self {
            End::Client("DISCONNECT") => Reason::SUCCESS,
            End::Fault(fault) => fault.reason,
            End::Client(_) | End::Io(_) => Reason::UNSPECIFIED_ERROR,
        }
    }
}
