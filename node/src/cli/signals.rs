//! SIGTERM and SIGINT, which ask for a clean end; SIGHUP, and SIGUSR1.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn catch() -> Result<Signals, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::Runtime(format!("signals: {error}")));
        Ok(Signals { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    /// SIGHUP, which asks for files to be read again. From now on it does not end the process.
    pub(super) fn hangups() -> Result<Signal, Failure> {
        signal(SignalKind::hangup()).map_err(|error| Failure::Runtime(format!("signals: {error}")))
    }

    /// SIGUSR1, which asks for a line in the log of how the node is. From now on it does not end the process.
    pub(super) fn questions() -> Result<Signal, Failure> {
        signal(SignalKind::user_defined1()).map_err(|error| Failure::Runtime(format!("signals: {error}")))
    }

    /// Waits for the next signal and says its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
