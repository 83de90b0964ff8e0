//! Who the Client is: by user name and password, or by an enhanced authentication (section 4.12), which may be repeated while the connection lasts.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::io::{AsyncRead, AsyncWrite};

use super::End;
use super::framing::{FrameError, Framing};
use crate::broker::Broker;
use crate::hook::client::Peer;
use crate::hook::{Admitted, Exchange, Progress};
use crate::metrics::Metrics;
use crate::packet::auth::Auth;
use crate::packet::connect::{ClientId, Connect};
use crate::packet::outgoing::Outgoing;
use crate::packet::reason::Reason;
use crate::packet::{Packet, Version};
use crate::session::Fault;

/// An enhanced authentication that may be repeated while the connection lasts.
pub(super) struct Authentication {
    pub(super) method: ByteString,
    exchange: Box<dyn Exchange>,
    /// A re-authentication has begun and awaits the Client.
    running: bool,
}

/// Asks who the Client is: by user name and password, or by the method that it names.
pub(super) async fn authenticate<S>(
    framing: &mut Framing<S>,
    connect: &mut Connect,
    client_id: &ClientId,
    peer: &Arc<Peer>,
    broker: &Arc<Broker>,
) -> Result<(Admitted, Option<(Authentication, Option<Bytes>)>), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(method) = connect.properties.authentication_method.clone() else {
        let admitted = broker.guard.connect(connect, client_id, peer).await;
        let refused = |reason| Fault::new(reason, "who the Client says it is was not accepted");
        return Ok((admitted.map_err(refused)?, None));
    };
    let exchange = broker.guard.authentication(&method, peer);
    let mut exchange =
        exchange.ok_or(Fault::new(Reason::BAD_AUTHENTICATION_METHOD, "this Server does not offer that Authentication Method"))?;
    let mut data = connect.properties.authentication_data.take();
    loop {
        let step = exchange.step(data.as_deref().unwrap_or_default());
        match step.map_err(|reason| Fault::new(reason, "authentication failed"))? {
            Progress::Done(last, admitted) => {
                let authentication = Authentication { method, exchange, running: false };
                return Ok((admitted, Some((authentication, (!last.is_empty()).then(|| last.into())))));
            }
            Progress::Continue(challenge) => {
                let mut outgoing = Outgoing::default();
                auth(Reason::CONTINUE_AUTHENTICATION, &method, challenge).encode(Version::V5, outgoing.tail());
                framing.flush(&mut outgoing).await.map_err(End::Io)?;
                Metrics::add(&broker.metrics.packets_sent, 1);
                data = answer(framing, &method).await?.data;
            }
        }
    }
}

/// The next packet of an authentication must be an AUTH that goes on with the same method `[MQTT-4.12.0-5]`.
async fn answer<S>(framing: &mut Framing<S>, method: &ByteString) -> Result<Auth, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = match framing.next_frame().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(End::Client("closed during authentication")),
        Err(FrameError::Io(error)) => return Err(End::Io(error)),
        Err(FrameError::Decode(error)) => return Err(Fault::from(error).into()),
    };
    match Packet::decode(Version::V5, frame).map_err(Fault::from)? {
        Packet::Auth(auth) if auth.reason == Reason::CONTINUE_AUTHENTICATION && auth.method.as_ref() == Some(method) => Ok(*auth),
        Packet::Disconnect(_) => Err(End::Client("DISCONNECT during authentication")),
        _ => Err(Fault::new(Reason::PROTOCOL_ERROR, "only AUTH with the method of CONNECT goes on with an authentication").into()),
    }
}

impl Authentication {
    /// A step of a re-authentication (section 4.12.1).
    pub(super) fn again(&mut self, request: &Auth) -> Result<Packet, Fault> {
        if request.method.as_ref() != Some(&self.method) {
            return Err(Fault::new(Reason::PROTOCOL_ERROR, "re-authentication with another method")); // [MQTT-4.12.1-1]
        }
        match (request.reason, self.running) {
            (Reason::RE_AUTHENTICATE, _) => self.exchange.restart(),
            (Reason::CONTINUE_AUTHENTICATION, true) => {}
            _ => return Err(Fault::new(Reason::PROTOCOL_ERROR, "AUTH without an authentication")),
        }
        let step = self.exchange.step(request.data.as_deref().unwrap_or_default());
        match step.map_err(|reason| Fault::new(reason, "re-authentication failed"))? {
            Progress::Done(last, _) => {
                self.running = false;
                Ok(auth(Reason::SUCCESS, &self.method, last))
            }
            Progress::Continue(challenge) => {
                self.running = true;
                Ok(auth(Reason::CONTINUE_AUTHENTICATION, &self.method, challenge))
            }
        }
    }
}

fn auth(reason: Reason, method: &ByteString, data: Vec<u8>) -> Packet {
    let data = (!data.is_empty()).then(|| data.into());
    Packet::Auth(Box::new(Auth { reason, method: Some(method.clone()), data, reason_string: None, user_properties: Vec::new() }))
}
