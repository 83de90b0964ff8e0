//! TLS to Redis (`rediss://`): whom this node trusts, and what it shows of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::Host;
use super::wire::DialError;

/// Files of PEM. They are read for every connection, so that renewed ones are used without a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that may have signed the server's certificate; `None`: those of this machine.
    pub ca: Option<PathBuf>,
    /// What the server is shown, the node's own certificate first.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// What the server's certificate has to be for; `None`: the host of the URL, or of the answer of a Sentinel or Cluster.
    pub server_name: Option<String>,
}

/// The bytes to and from a server, in TLS or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Tls {
    /// What is wrong with the files, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        self.connector().map(drop)
    }

    pub(super) async fn wrap(&self, host: &Host, stream: TcpStream) -> Result<Box<dyn Socket>, DialError> {
        let connector = self.connector().map_err(DialError::Untrusted)?;
        let name = self.server_name.as_deref().unwrap_or(&host.name);
        let server = ServerName::try_from(name.to_owned()).map_err(|_| DialError::Untrusted(format!("{name:?} is no name of a server")))?;
        match connector.connect(server, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(DialError::Untrusted(format!("{host}: {error}"))),
        }
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let builder = builder.with_root_certificates(self.authorities()?);
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
                let own = builder.with_client_auth_cert(certificates(certificate)?, key_der);
                own.map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return Err("a certificate of this node needs its key, and the key its certificate".to_owned()),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn authorities(&self) -> Result<RootCertStore, String> {
        let mut authorities = RootCertStore::empty();
        let Some(file) = &self.ca else {
            authorities.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if authorities.is_empty() { Err("this machine has no authorities of its own".to_owned()) } else { Ok(authorities) };
        };
        for certificate in certificates(file)? {
            authorities.add(certificate).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(authorities)
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| format!("{}: {error}", file.display()))?;
    if certificates.is_empty() { Err(format!("{}: there is no certificate in it", file.display())) } else { Ok(certificates) }
}
