//! A store on Redis that is joined, lost and joined again: each time as another incarnation of this node, with connections of its own.
//!
//! While it is not joined every verb fails: what an incarnation owned is another's by now, or nobody's.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::link::start::StartError;
use super::{Redis, Settings};
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId};
use crate::store::health::StoreHealth;

pub struct Joining {
    /// `None`: it was joined by who made it, and is never joined again.
    settings: Option<Settings>,
    now: RwLock<Option<Arc<Redis>>>,
    apart: Mutex<Apart>,
}

/// What is kept while the node is not joined.
#[derive(Debug)]
struct Apart {
    since: Instant,
    /// Why the last attempt failed.
    error: Option<String>,
    /// The incarnation that was lost last: what it has left is to be cleaned up.
    lost: Option<NodeId>,
}

impl Joining {
    /// Not joined yet.
    pub fn new(settings: Settings) -> Joining {
        Joining { settings: Some(settings), now: RwLock::default(), apart: Mutex::new(Apart::begin(None)) }
    }

    /// One attempt. What the other nodes have for this one comes from the returned receiver.
    pub async fn join(&self) -> Result<mpsc::Receiver<News>, StartError> {
        let never = || StartError::NotReady("it was joined once and for all".to_owned());
        let settings = self.settings.clone().ok_or_else(never)?;
        let joined = Redis::connect(settings).await;
        let joined = joined.inspect_err(|error| self.apart().error = Some(error.to_string()))?;
        let lost = self.apart().lost.clone();
        if let Some(lost) = lost {
            let disowned = joined.cluster().disown(&lost).await;
            disowned.map_err(|error| StartError::NotReady(format!("what was lost cannot be given up: {error:?}")))?;
        }
        let news = joined.take_news().ok_or_else(never)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(joined));
        Ok(news)
    }

    /// This incarnation is over.
    pub fn part(&self) {
        let joined = self.now.write().unwrap_or_else(PoisonError::into_inner).take();
        *self.apart() = Apart::begin(joined.map(|joined| joined.cluster().node().clone()));
    }

    pub(in crate::store) fn now(&self) -> Result<Arc<Redis>, StoreError> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Unavailable)
    }

    /// `None`: not joined.
    pub fn cluster(&self) -> Option<Cluster> {
        self.now().ok().map(|redis| redis.cluster().clone())
    }

    pub fn health(&self) -> StoreHealth {
        match self.now() {
            Ok(redis) => redis.health(),
            Err(_) => {
                let apart = self.apart();
                StoreHealth { down_for: Some(apart.since.elapsed()), last_error: apart.error.clone(), ..StoreHealth::default() }
            }
        }
    }

    fn apart(&self) -> MutexGuard<'_, Apart> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Apart {
    fn begin(lost: Option<NodeId>) -> Apart {
        Apart { since: Instant::now(), error: None, lost }
    }
}

impl From<Redis> for Joining {
    fn from(redis: Redis) -> Joining {
        Joining { settings: None, now: RwLock::new(Some(Arc::new(redis))), apart: Mutex::new(Apart::begin(None)) }
    }
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joining").field("now", &self.now().ok()).finish_non_exhaustive()
    }
}
