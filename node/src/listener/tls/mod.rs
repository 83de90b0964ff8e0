//! TLS 1.2 and 1.3, with rustls: who we are, who the Client is, and certificates that change while we run.

pub mod certificate;
mod files;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use files::Files;

/// How often the files are looked at.
pub const LOOK: Duration = Duration::from_secs(10);

/// What a listener shows, as it is now. A connection keeps what it began with.
#[derive(Debug)]
pub struct Identity {
    pub files: Files,
    config: ArcSwap<ServerConfig>,
    stamps: Mutex<Vec<Stamp>>,
}

/// What tells that a file is another one: Kubernetes swaps a symlink, so the time alone is not enough.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Identity {
    /// # Errors
    /// As [`Files::read`].
    pub fn load(files: Files) -> io::Result<Identity> {
        let stamps = stamps(&files);
        let config = ArcSwap::from_pointee(files.read()?);
        Ok(Identity { files, config, stamps: Mutex::new(stamps) })
    }

    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Reads the files again if they have changed, or in any case. What they say is shown from [`Identity::show`] on.
    pub fn read_again(&self, in_any_case: bool) -> io::Result<Option<Arc<ServerConfig>>> {
        let now = stamps(&self.files);
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        if *stamps == now && !in_any_case {
            return Ok(None);
        }
        // Also when it fails: what is wrong is said once, and tried again when it changes.
        *stamps = now;
        self.files.read().map(|config| Some(Arc::new(config)))
    }

    /// To those who come from now on.
    pub fn show(&self, config: Arc<ServerConfig>) {
        self.config.store(config);
    }

    /// The Server's side of a handshake.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        TlsAcceptor::from(self.config()).accept(stream).await
    }
}

fn stamps(files: &Files) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    files.paths().map(|path| stamp(path)).collect()
}
