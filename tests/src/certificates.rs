//! Authorities and certificates for a run: one authority, a certificate of `localhost`, certificates of clients.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::unique;

/// Something that signs, with its own certificate.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Certificate {
    pub pem: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// The one of this run.
    pub fn shared() -> &'static Authority {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(|| Authority::new("mqttd tests"))
    }

    /// A certificate for these DNS names and addresses.
    pub fn server(&self, names: &[&str]) -> Certificate {
        self.sign(names, |_| {})
    }

    /// A certificate of a client: its Common Name, and a DNS name as its first Subject Alternative Name.
    pub fn client(&self, common_name: &str, alternative_name: &str) -> Certificate {
        self.sign(&[alternative_name], |params| params.distinguished_name.push(DnType::CommonName, common_name))
    }

    pub fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).expect("good names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Certificate { pem, key: key.serialize_pem() }
    }
}

/// A certificate with a URI in place of a DNS name.
pub fn with_uri(params: &mut CertificateParams, uri: &str) {
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("a URI is ASCII"))];
}

/// Files that are gone when the value is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(stem: &str) -> Folder {
        let path = std::env::temp_dir().join(unique(&format!("mqttd-{stem}-")));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and says where it is.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the folder can be written to");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder of temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The files of a server for `localhost` and `127.0.0.1`, which clients of the kit trust: certificate and key.
pub fn localhost(folder: &Path) -> (String, String) {
    let Certificate { pem, key } = Authority::shared().server(&["localhost", "127.0.0.1", "::1"]);
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the folder can be written to");
        path.display().to_string()
    };
    (write("server.pem", &pem), write("server.key", &key))
}

/// What a client trusts and shows.
pub fn client_config(authority: &str, own: Option<&Certificate>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_slice(own.pem.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a certificate with its key")
        }
    }
}
