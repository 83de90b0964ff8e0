//! What nodes tell each other by way of Redis.

pub mod settings;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::link::Link;
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId, Post, RouteChange, RouteVersion};
use crate::time::Time;
use settings::Settings;

/// A node's membership. Cheap to clone; its tasks end with the last clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    node: Arc<NodeId>,
}

#[allow(unused_variables, reason = "signatures first")]
impl Cluster {
    pub async fn join(link: Link, node_name: &str, settings: Settings) -> Result<(Cluster, mpsc::Receiver<News>), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub fn node(&self) -> &NodeId {
        &self.node
    }
    pub async fn load_routes(&self) -> Result<(RouteVersion, Vec<RouteChange>), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn route(&self, change: RouteChange, epoch: Epoch) -> Result<RouteVersion, StoreError> {
        Err(StoreError::Unavailable)
    }
    /// Not async: a task tells the others.
    pub fn applied(&self, version: RouteVersion) {}
    pub async fn visible(&self, version: RouteVersion) -> bool {
        false
    }
    pub async fn post(&self, to: &NodeId, posts: Vec<Post>, reliable: bool) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn bell(&self, clients: Vec<ClientId>) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn listen(&self, client_id: &ClientId) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn unlisten(&self, client_id: &ClientId) {}
    pub async fn kick(&self, client_id: &ClientId, epoch: Epoch) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn add_session(&self, client_id: &ClientId) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn remove_session(&self, client_id: &ClientId) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    /// Not all at once: those that were cleaned up are removed with `forget_session`, then asked for again until none is left.
    pub async fn sessions_of(&self, dead: &NodeId, limit: usize) -> Result<Vec<ClientId>, StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn forget_sessions(&self, dead: &NodeId, clients: &[ClientId]) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn bury(&self, dead: &NodeId) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub async fn leave(&self) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }
    pub fn may_promise(&self) -> bool {
        false
    }
    pub async fn time(&self) -> Result<Time, StoreError> {
        Err(StoreError::Unavailable)
    }
    /// Posts at QoS 0 that were dropped here, because the outbox or the news were full.
    pub fn dropped(&self) -> u64 {
        0
    }
}
