//! One primary: how its connections are made, and whether it is still the server it was.

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use super::address::Host;
use super::health::Health;
use super::settings::Settings;
use super::start;
use super::wire::{DialError, Server, Wire};

/// What the standing connections to one primary have in common.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) health: Arc<Health>,
    /// In a Redis Cluster the primary itself; else the address is asked at every connect.
    pub(super) host: Option<Host>,
    /// `run_id` and replication id of the server that was reached last.
    seen: Mutex<Option<(String, String)>>,
    /// In a Redis Cluster: no slot is served here any more.
    retired: watch::Sender<bool>,
    /// Rung when it may be that another primary serves the slots.
    doubt: Arc<Notify>,
}

impl Target {
    pub(super) fn new(health: Arc<Health>, host: Option<Host>, doubt: Arc<Notify>) -> Target {
        Target { health, host, seen: Mutex::default(), retired: watch::Sender::new(false), doubt }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.health.settings
    }

    /// One attempt.
    pub(super) async fn dial(&self) -> Result<Wire, DialError> {
        let (address, deadline) = (self.health.address(), self.settings().connect_deadline);
        let mut wire = match &self.host {
            Some(host) => Wire::dial_host(host, address, deadline).await?,
            None => Wire::dial(address, deadline).await?,
        };
        if self.recognise(&wire.server) {
            start::check_durability(&mut wire, self.settings().durability).await?;
        }
        Ok(wire)
    }

    /// Makes a standing connection that is lost or wanted. Returns when there is one, however long that takes; `None`: it is wanted no more.
    pub(super) async fn redial(&self) -> Option<Wire> {
        let mut retired = self.retired.subscribe();
        let mut delay = self.settings().backoff_min;
        let mut said = String::new();
        loop {
            match self.dial().await {
                Ok(wire) => {
                    self.health.gained();
                    return Some(wire);
                }
                Err(error @ (DialError::Weak(_) | DialError::Untrusted(_) | DialError::Denied(_))) if error.to_string() != said => {
                    said = error.to_string();
                    tracing::error!(address = %self.health.address(), why = said, "Redis is there, but of no use");
                }
                Err(error) => tracing::debug!(%error, "Redis cannot be reached yet"),
            }
            self.doubt.notify_one();
            #[allow(clippy::disallowed_methods, reason = "nothing tells when a server is worth another attempt")]
            let pause = tokio::time::sleep(delay);
            tokio::select! {
                () = pause => delay = (delay * 2).min(self.settings().backoff_max),
                Ok(_) = retired.wait_for(|retired| *retired) => {
                    self.health.gained();
                    return None;
                }
            }
        }
    }

    /// A standing connection is lost, for this reason.
    pub(super) fn lost(&self, why: &str) {
        self.health.lost(why);
        self.doubt.notify_one();
    }

    /// What has not been sent goes elsewhere.
    pub(super) fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// Whether it is another server than before.
    fn recognise(&self, server: &Server) -> bool {
        let mut seen = self.seen.lock().expect("nothing panics while it holds this");
        let found = (server.run_id.clone(), server.replication_id.clone());
        if seen.as_ref() == Some(&found) {
            return false;
        }
        if seen.replace(found).is_some() {
            let address = self.health.address();
            tracing::warn!(%address, "Redis was restarted or has another primary: what it confirmed last may be lost");
        }
        self.health.raise_generation();
        true
    }
}
