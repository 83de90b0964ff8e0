//! One connection for a few questions about keys of one slot, beside the Store: made when it is wanted, and made again when it was lost.
//! It asks nothing of the server but what its caller asks, so its user needs no other rights.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::address::{Address, Host, Place};
use super::error::is_redirect;
use super::slots::key_slot;
use super::wire::{DialError, Wire, login};
use super::{find, map};

/// Only for what may be asked twice: a question that a connection broke under is asked again on a new one.
#[derive(Debug)]
pub struct Single {
    address: Address,
    slot: u16,
    /// For one question, the way to the server included.
    deadline: Duration,
    wire: Mutex<Option<Wire>>,
}

impl Single {
    /// Connects to nothing yet. In a Redis Cluster all questions go to where this key is.
    pub fn new(address: Address, key: &str, deadline: Duration) -> Single {
        Single { address, slot: key_slot(key.as_bytes()), deadline, wire: Mutex::default() }
    }

    /// What the server says to it.
    ///
    /// # Errors
    /// Why there is no answer, in words without a secret.
    pub async fn ask<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, String> {
        let Ok(answered) = timeout(self.deadline, self.answer(cmd)).await else {
            self.forget().await;
            return Err(format!("no answer within {:?}", self.deadline));
        };
        redis::from_redis_value(answered?).map_err(|error| error.to_string())
    }

    async fn answer(&self, cmd: &Cmd) -> Result<Value, String> {
        let mut is_new = false;
        loop {
            let mut redis = self.connection(&mut is_new).await.map_err(|error| error.to_string())?;
            let error = match redis.send_packed_command(cmd).await.and_then(Value::extract_error) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            // It never came, or another server has to say it.
            let is_lost = error.code().is_none() || is_redirect(&error);
            if is_lost {
                self.forget().await;
            }
            if is_new || !is_lost {
                return Err(error.to_string());
            }
        }
    }

    /// The one that stands, or a new one.
    async fn connection(&self, is_new: &mut bool) -> Result<MultiplexedConnection, DialError> {
        let mut wire = self.wire.lock().await;
        *is_new = wire.is_none();
        if wire.is_none() {
            *wire = Some(self.dial().await?);
        }
        Ok(wire.as_ref().expect("it was just put there").redis.clone())
    }

    async fn dial(&self) -> Result<Wire, DialError> {
        let address = &self.address;
        let mut why = DialError::NotReady("nobody has the slot of these keys".to_owned());
        for host in self.hosts().await? {
            match Wire::open(&host, login(address), address.tls.as_ref()).await {
                Ok(wire) => return Ok(wire),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn hosts(&self) -> Result<Vec<Host>, DialError> {
        let Place::Cluster(seeds) = &self.address.place else { return find::primaries(&self.address, self.deadline / 2).await };
        let ranges = map::ask(&self.address, self.deadline / 2, seeds).await?;
        let has_slot = |(first, last, host): map::Range| (first..=last).contains(&self.slot).then_some(host);
        Ok(ranges.into_iter().find_map(has_slot).into_iter().collect())
    }

    async fn forget(&self) {
        *self.wire.lock().await = None;
    }
}
