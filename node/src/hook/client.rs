//! Who is at the other end of a Network Connection. No I/O.

use core::net::SocketAddr; // plain data, for all its name
use std::sync::Arc;

use bytestring::ByteString;

use crate::packet::Version;
use crate::packet::connect::ClientId;
use crate::time::Time;

/// What carries the bytes of a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
    Quic,
}

impl Transport {
    /// The scheme of a listener's URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::WebSocket => "ws",
            Transport::SecureWebSocket => "wss",
            Transport::Quic => "quic",
        }
    }
}

/// The listener that a Network Connection came in by, with what it has of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// For logs and metrics; its URL when it has none.
    pub name: String,
    /// Whether Clients without a User Name come in here; `None`: as everywhere.
    pub anonymous: Option<bool>,
    /// What a Client can be believed by here, named as in `auth.order`; `None`: by all that there is.
    pub mechanisms: Option<Vec<&'static str>>,
}

/// Where a Network Connection comes from, known before its first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Of the Client itself, also behind a balancer that tells it (the PROXY protocol).
    pub address: SocketAddr,
    pub transport: Transport,
    pub listener: Arc<Listener>,
    /// The name in its certificate, if it showed one that our authorities signed.
    pub certificate_name: Option<Arc<str>>,
    /// When that certificate expires; `None`: a balancer told the name, and not until when.
    pub certificate_until: Option<Time>,
}

impl Peer {
    pub fn tcp(address: SocketAddr) -> Peer {
        Peer { address, transport: Transport::Tcp, listener: Arc::default(), certificate_name: None, certificate_until: None }
    }
}

/// A Client that said who it is and was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub id: ClientId,
    /// The User Name that it was believed by.
    pub user: Option<ByteString>,
    pub peer: Arc<Peer>,
    pub version: Version,
    pub proof: Proof,
    /// As the Client asked for it.
    pub keep_alive_s: u16,
    pub clean_start: bool,
}

/// What a Client was believed by, so that it can be asked later whether that still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The mechanism, as in `auth.order`; empty for a Client without a User Name.
    pub by: &'static str,
    /// Of the password or key on record: another one means that the Client has to prove itself again.
    pub stamp: u64,
    /// When it is worth nothing any more, and the connection ends; `None`: never by itself.
    pub until: Option<Time>,
    /// How many changes of what this was asked of had been seen when it was asked.
    pub changes: u64,
}
