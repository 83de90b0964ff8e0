//! The PROXY protocol, versions 1 and 2: what a balancer says of a Client before the Client's own first byte.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The shortest header is `PROXY UNKNOWN` with its line end; reading less than that takes no byte that is not part of one.
const FIRST_READ: usize = 13;

/// The longest line of version 1, with its end.
const V1_BYTES_MAX: usize = 107;

const V2_HEAD_BYTES: usize = 16;

/// Addresses and TLVs of version 2. The format has room for 64 KiB; what balancers say of a Client fits into this.
const V2_BODY_BYTES_MAX: usize = 4096;

/// What the balancer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Of the Client; `None` when the balancer speaks for itself, as in a health check.
    pub address: Option<SocketAddr>,
    /// The Common Name of the certificate that the Client showed to the balancer and that it verified.
    pub certificate_name: Option<Arc<str>>,
}

/// Reads the header, and nothing behind it.
///
/// # Errors
/// Anything else than a header within its bounds: `InvalidData`.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Told> {
    let mut header = Vec::with_capacity(V1_BYTES_MAX);
    more(stream, &mut header, FIRST_READ).await?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        more(stream, &mut header, V2_HEAD_BYTES - FIRST_READ).await?;
        let body = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if body > V2_BODY_BYTES_MAX {
            return Err(wrong("a header of version 2 that is too long"));
        }
        more(stream, &mut header, body).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        // Byte by byte, for what comes after the line end is not ours to read.
        while !header.ends_with(b"\r\n") {
            if header.len() == V1_BYTES_MAX {
                return Err(wrong("a header of version 1 without an end"));
            }
            more(stream, &mut header, 1).await?;
        }
    }
    told(&header)
}

async fn more(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    let start = header.len();
    header.resize(start + bytes, 0);
    stream.read_exact(&mut header[start..]).await.map(|_| ())
}

/// A whole header, and what it says.
pub fn told(header: &[u8]) -> io::Result<Told> {
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        let header = v2::Header::try_from(header).map_err(wrong)?;
        if header.command == v2::Command::Local {
            return Ok(Told::default());
        }
        let address = match header.addresses {
            v2::Addresses::IPv4(pair) => Some(SocketAddr::from((pair.source_address, pair.source_port))),
            v2::Addresses::IPv6(pair) => Some(SocketAddr::from((pair.source_address, pair.source_port))),
            v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        };
        return Ok(Told { address, certificate_name: certificate_name(&header) });
    }
    let header = v1::Header::try_from(header).map_err(wrong)?;
    let address = match header.addresses {
        v1::Addresses::Tcp4(pair) => Some(SocketAddr::from((pair.source_address, pair.source_port))),
        v1::Addresses::Tcp6(pair) => Some(SocketAddr::from((pair.source_address, pair.source_port))),
        v1::Addresses::Unknown => None,
    };
    Ok(Told { address, certificate_name: None })
}

/// PP2_TYPE_SSL: a byte of flags, the result of the verification (0 is good), then TLVs of its own, one of them the Common Name.
fn certificate_name(header: &v2::Header<'_>) -> Option<Arc<str>> {
    const CERTIFICATE_ON_CONNECTION: u8 = 0x02;
    const CERTIFICATE_IN_SESSION: u8 = 0x04;
    let ssl = header.tlvs().flatten().find(|tlv| tlv.kind == u8::from(v2::Type::SSL))?;
    let (flags, rest) = ssl.value.split_first()?;
    let (verified, mut rest) = rest.split_first_chunk::<4>()?;
    if flags & (CERTIFICATE_ON_CONNECTION | CERTIFICATE_IN_SESSION) == 0 || *verified != [0; 4] {
        return None;
    }
    while let Some(([kind, high, low], more)) = rest.split_first_chunk::<3>() {
        let (value, next) = more.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *kind == u8::from(v2::Type::SSLCommonName) {
            return std::str::from_utf8(value).ok().filter(|name| !name.is_empty()).map(Arc::from);
        }
        rest = next;
    }
    None
}

fn wrong(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no PROXY header: {error}"))
}
