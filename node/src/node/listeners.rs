//! What the configuration says of listeners, and their sockets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::at;
use crate::auth::policy::Mechanism;
use crate::config::listener::TlsVersion;
use crate::config::{CertificateName, ClientCertificates, Config, ListenUrl, Listener, Scheme};
use crate::connection::Patience;
use crate::connection::places::Places;
use crate::hook::client::{self, Transport};
use crate::listener::faults::{Faults, Source};
use crate::listener::tls::{Files, Identity};
use crate::listener::{Bound, Rate, Settings, websocket};
use crate::store::bans::Network;

/// Binds everything that is configured, in its order: `listen`, then `[[listener]]`.
///
/// # Errors
/// An address that cannot be resolved or bound, and no listener at all.
pub(super) async fn bind(config: &Config) -> io::Result<Vec<Bound>> {
    let plain = config.listen.iter().cloned().map(Listener::new);
    let listeners: Vec<Listener> = plain.chain(config.listener.0.iter().cloned()).collect();
    if let Some(source) = faults(config) {
        let faults = source.read()?;
        tracing::warn!(?faults, file = ?source.file, "THIS BROKER DOES WRONG ON PURPOSE ([faults]): it is for testing clients, and for nothing else");
    }
    let mut bound = Vec::new();
    for listener in &listeners {
        let settings = Arc::new(settings(config, listener)?);
        for address in resolve(&listener.url).await? {
            let place = format!("{}://{address}", listener.url.scheme.name());
            bound.push(Bound::bind(address, settings.clone()).map_err(|error| at(&place, &error))?);
        }
    }
    if bound.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is nothing to listen on: `listen` is empty"));
    }
    Ok(bound)
}

fn settings(config: &Config, listener: &Listener) -> io::Result<Settings> {
    let connect_timeout_s = listener.connect_timeout_s.unwrap_or(config.limits.connect_timeout_s);
    let patience = Patience {
        connect: Duration::from_secs(connect_timeout_s.into()),
        write: Duration::from_secs(config.limits.write_timeout_s.into()),
        connections_max: config.limits.connections_max,
        places: Places::new(listener.connections_max),
        beyond: None,
    };
    Ok(Settings {
        about: Arc::new(about(listener)?),
        transport: transport(listener.url.scheme),
        patience,
        proxy_protocol: listener.proxy_protocol,
        proxy_from: networks(listener)?,
        identity: identity(config, listener)?,
        faults: faults(config),
        websocket: listener.url.scheme.is_websocket().then(|| websocket::Settings {
            path: listener.url.path.clone(),
            origins: listener.origins.clone().unwrap_or_else(|| config.websocket.origins.clone()),
        }),
        rate: Rate::new(listener.connections_per_second_max.unwrap_or(config.limits.connections_per_second_max)),
    })
}

/// What its Clients are known to have come by.
fn about(listener: &Listener) -> io::Result<client::Listener> {
    let named = |names: &Vec<String>| names.iter().map(|name| name.parse().map(Mechanism::name)).collect::<Result<Vec<_>, String>>();
    let mechanisms = listener.auth.as_ref().map(named).transpose().map_err(|error| of(listener, error))?;
    Ok(client::Listener { name: listener.title(), anonymous: listener.anonymous, mechanisms })
}

/// Who may send headers of the PROXY protocol.
fn networks(listener: &Listener) -> io::Result<Vec<Network>> {
    listener.proxy_from.iter().map(|text| text.parse()).collect::<Result<_, String>>().map_err(|error| of(listener, error))
}

fn of(listener: &Listener, error: String) -> io::Error {
    at(&listener.url, &io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// What is to be done wrong on purpose; `None` when nothing is said of it.
fn faults(config: &Config) -> Option<Source> {
    let said = &config.faults;
    let fixed = Faults {
        version: said.version,
        publish_before_suback: said.publish_before_suback,
        short_publish: said.short_publish,
        error_connack: said.error_connack,
        excessive_remaining: said.excessive_remaining,
        testnum: said.testnum,
    };
    let source = Source { file: said.file.as_ref().map(PathBuf::from), fixed };
    (source.file.is_some() || source.fixed != Faults::default()).then_some(source)
}

/// The certificates of a listener that needs some.
fn identity(config: &Config, listener: &Listener) -> io::Result<Option<Arc<Identity>>> {
    if !listener.url.scheme.is_tls() {
        return Ok(None);
    }
    let tls = &config.tls;
    let paths = |paths: &[String]| paths.iter().map(PathBuf::from).collect();
    let required = listener.client_certificates.unwrap_or(tls.client_certificates) == ClientCertificates::Required;
    let files = Files {
        certificates: paths(listener.certificates.as_ref().unwrap_or(&tls.certificates)),
        keys: paths(listener.keys.as_ref().unwrap_or(&tls.keys)),
        client_ca: listener.client_ca.as_ref().or(tls.client_ca.as_ref()).map(PathBuf::from),
        client_required: required,
        client_name_is_alternative: tls.client_name == CertificateName::AlternativeName,
        only_1_3: tls.version_min == TlsVersion::V1_3,
    };
    Identity::load(files).map(|identity| Some(Arc::new(identity))).map_err(|error| at(&listener.url, &error))
}

/// Whether everything that listeners need to begin with is right, without binding them.
pub(super) fn check(config: &Config) -> io::Result<()> {
    let plain = config.listen.iter().cloned().map(Listener::new);
    faults(config).map_or(Ok(()), |source| source.read().map(drop))?;
    plain.chain(config.listener.0.iter().cloned()).try_for_each(|listener| {
        about(&listener)?;
        networks(&listener)?;
        identity(config, &listener).map(drop)
    })
}

fn transport(scheme: Scheme) -> Transport {
    match scheme {
        Scheme::Tcp => Transport::Tcp,
        Scheme::Tls => Transport::Tls,
        Scheme::Ws => Transport::WebSocket,
        Scheme::Wss => Transport::SecureWebSocket,
        Scheme::Quic => Transport::Quic,
    }
}

/// A host may have several addresses; no host is every address of the machine.
pub(super) async fn resolve(url: &ListenUrl) -> io::Result<Vec<SocketAddr>> {
    if url.host.is_empty() {
        let ipv4 = SocketAddr::from(([0, 0, 0, 0], url.port));
        let ipv6 = SocketAddr::from(([0u16; 8], url.port));
        // A machine without IPv6 has only the one; and two listeners cannot share a port that the system picks.
        let both = url.port != 0 && std::net::TcpListener::bind(ipv6.to_string().replace(&format!(":{}", url.port), ":0")).is_ok();
        return Ok(if both { vec![ipv4, ipv6] } else { vec![ipv4] });
    }
    let host = url.host.trim_matches(['[', ']']);
    let addresses: Vec<_> = tokio::net::lookup_host((host, url.port)).await.map_err(|error| at(&url, &error))?.collect();
    // `localhost` may be named for both families; with a port that the system picks only the first can be meant.
    Ok(if url.port == 0 { addresses.into_iter().take(1).collect() } else { addresses })
}
