//! From files to what rustls needs, with an error that says which file and what is wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::clock::Clock;
use crate::hook::client::Peer;
use crate::time::Time;

use super::certificate::{Facts, date};

/// What a listener with TLS is told.
#[derive(Clone, Debug)]
pub struct Files {
    /// Chains, the certificate of this Server first.
    pub certificates: Vec<PathBuf>,
    /// Their keys, in the same order.
    pub keys: Vec<PathBuf>,
    pub client_ca: Option<PathBuf>,
    /// A Client must show a certificate that `client_ca` signed; otherwise it may.
    pub client_required: bool,
    /// The name of a Client is the first Subject Alternative Name of its certificate, and not the Common Name.
    pub client_name_is_alternative: bool,
    /// TLS 1.2 is not offered.
    pub only_1_3: bool,
}

impl Files {
    /// All that is read.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.certificates.iter().chain(&self.keys).chain(&self.client_ca)
    }

    /// Reads everything.
    ///
    /// # Errors
    /// A file that cannot be read, is no PEM of its kind, has expired, or does not belong to the other.
    pub fn read(&self) -> io::Result<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        if self.certificates.is_empty() || self.certificates.len() != self.keys.len() {
            let (certificates, keys) = (self.certificates.len(), self.keys.len());
            return Err(wrong(format!(
                "TLS needs tls.certificates and tls.keys, as many of the one as of the other; there are {certificates} and {keys}"
            )));
        }
        let pairs = self.certificates.iter().zip(&self.keys);
        let identities = pairs.map(|(chain, key)| identity(chain, key, &provider)).collect::<io::Result<_>>()?;
        let versions: &[&rustls::SupportedProtocolVersion] =
            if self.only_1_3 { &[&rustls::version::TLS13] } else { &[&rustls::version::TLS13, &rustls::version::TLS12] };
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).map_err(wrong)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path)?), provider);
                let verifier = if self.client_required { verifier } else { verifier.allow_unauthenticated() };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| at(path, error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName(identities)));
        // Without memory for each Client; what is read anew does not know the tickets of before, nor whom the old authorities let in.
        config.ticketer = ring::Ticketer::new().map_err(wrong)?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// Who a Client is, and until when, by the certificate that it showed, if it did.
    pub fn name_peer(&self, peer: &mut Peer, certificates: Option<&[CertificateDer<'_>]>) {
        let Some(facts) = certificates.and_then(|chain| Facts::read(chain.first()?)) else { return };
        let name = if self.client_name_is_alternative { facts.alternative_name } else { facts.common_name };
        let Some(name) = name else { return };
        peer.certificate_name = Some(name.into());
        peer.certificate_until = Some(Time(u64::try_from(facts.not_after).unwrap_or_default().saturating_mul(1000)));
    }
}

/// Several certificates: the one that has the name that the Client asks for, or else the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().filter(|_| self.0.len() > 1).and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().find(|identity| has_name(identity, &name)));
        named.or(self.0.first()).cloned()
    }
}

fn has_name(identity: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = identity.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

fn identity(chain: &Path, key: &Path, provider: &CryptoProvider) -> io::Result<Arc<CertifiedKey>> {
    let certificates = certificates(chain)?;
    in_time(chain, &certificates[0])?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| at(key, format!("no private key in PEM: {error}")))?;
    match CertifiedKey::from_der(certificates, private, provider) {
        Ok(identity) => Ok(Arc::new(identity)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(at(key, format!("is not the key of {}", chain.display()))),
        Err(error) => Err(at(key, error)),
    }
}

fn authorities(path: &Path) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| at(path, error))?;
    }
    Ok(store)
}

/// At least one.
fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| at(path, format!("no certificates in PEM: {error}")))?;
    if certificates.is_empty() { Err(at(path, "there is no certificate in it")) } else { Ok(certificates) }
}

fn in_time(path: &Path, certificate: &CertificateDer<'_>) -> io::Result<()> {
    let facts = Facts::read(certificate).ok_or_else(|| at(path, "is no X.509 certificate"))?;
    let now = (Clock::start().now().0 / 1000) as i64;
    match () {
        () if now > facts.not_after => Err(at(path, format!("has expired on {}", date(facts.not_after)))),
        () if now < facts.not_before => Err(at(path, format!("is not valid before {}", date(facts.not_before)))),
        () => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn at(path: &Path, error: impl std::fmt::Display) -> io::Error {
    wrong(format!("{}: {error}", path.display()))
}

fn wrong(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
