//! What a program does with a node that it has started.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use crate::admin::Health;
use crate::admin::{self, Kicked};
use crate::broker::Broker;
use crate::broker::give::Given;
use crate::message::Message;
use crate::metrics::Metrics;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::store::StoreError;

/// A node that runs, for the program around it. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) broker: Arc<Broker>,
    pub(super) connections_max: usize,
    pub(super) asked: Arc<watch::Sender<bool>>,
    pub(super) ended: watch::Receiver<bool>,
}

/// Why something that the program asked for was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleError(Cause);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Store(StoreError),
    Given(Given),
    /// A node does not answer.
    Silent,
}

impl HandleError {
    /// What a Client would be told of it.
    pub fn reason(&self) -> Reason {
        match self.0 {
            Cause::Store(StoreError::Unavailable) | Cause::Silent => Reason::SERVER_UNAVAILABLE,
            Cause::Store(StoreError::Full) | Cause::Given(Given::Full) => Reason::QUOTA_EXCEEDED,
            Cause::Given(_) => Reason::CLIENT_IDENTIFIER_NOT_VALID,
        }
    }

    /// There is no Session of that Client, or it is away and the message is at QoS 0.
    pub fn is_absent(&self) -> bool {
        matches!(self.0, Cause::Given(Given::Unknown | Given::Away))
    }
}

impl std::fmt::Display for HandleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Cause::Store(StoreError::Unavailable) => "the Store does not answer",
            Cause::Store(StoreError::Full) => "the Store is full",
            Cause::Silent => "that Client is not connected to any node that answers, and one does not answer",
            Cause::Given(Given::Full) => "the queue of that Client is full",
            Cause::Given(Given::Away) => "that Client is away, and a message at QoS 0 is not kept for it",
            Cause::Given(_) => "there is no Session of that Client",
        })
    }
}

impl std::error::Error for HandleError {}

impl From<StoreError> for HandleError {
    fn from(error: StoreError) -> HandleError {
        HandleError(Cause::Store(error))
    }
}

impl Handle {
    /// Publishes a message to all who subscribe to its topic, on all nodes. It is no Client's: handlers of `on_publish` do not see it, and
    /// rules for Clients do not hold for it. `Ok`: it is as safe as an acknowledged one. Subscribers that cannot keep up hold it back for a
    /// moment, as they do with a Client.
    ///
    /// # Errors
    /// The Store cannot be reached or is full: nobody knows who has got it.
    pub async fn publish(&self, message: Message) -> Result<(), HandleError> {
        Ok(self.broker.publish_held(message, self.broker.clock.now()).await?)
    }

    /// Gives a message to one Client, on whatever node it is and whatever it subscribes to, at the QoS of the message. Above QoS 0 a Session that
    /// is away gets it when it comes back.
    ///
    /// # Errors
    /// There is no such Session ([`HandleError::is_absent`]), its queue is full, or the Store cannot be reached.
    pub async fn publish_to_client(&self, client_id: &str, message: Message) -> Result<(), HandleError> {
        match self.broker.publish_to_client(&ClientId::new(client_id), message, self.broker.clock.now()).await? {
            Given::Taken => Ok(()),
            other => Err(HandleError(Cause::Given(other))),
        }
    }

    /// Ends the connection of a Client, on whatever node it is, with Administrative action (0x98). Its Session stays, and it may come back.
    /// False: it is not connected.
    ///
    /// # Errors
    /// A node does not answer, and no other one has the Client.
    pub async fn kick(&self, client_id: &str) -> Result<bool, HandleError> {
        match admin::kick(&self.broker, client_id).await {
            Kicked::Told => Ok(true),
            Kicked::Absent => Ok(false),
            Kicked::Unknown(_) => Err(HandleError(Cause::Silent)),
        }
    }

    /// Every counter of this node.
    pub fn metrics(&self) -> &Metrics {
        &self.broker.metrics
    }

    /// The state of this node at this moment.
    pub fn health(&self) -> Health {
        admin::health_of(&self.broker, self.connections_max)
    }

    /// Ends the node: clients are told, Sessions are given back, and it comes back when all that is done. What is left at the deadline is ended
    /// without taking its time. False: the node had not ended a few seconds after that.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        const LAST_WORDS: Duration = Duration::from_secs(10);
        self.asked.send_replace(true);
        let mut ended = self.ended.clone();
        if tokio::time::timeout(deadline, ended.wait_for(|ended| *ended)).await.is_err() {
            self.broker.life.hurry();
        }
        tokio::time::timeout(LAST_WORDS, ended.wait_for(|ended| *ended)).await.is_ok()
    }
}
