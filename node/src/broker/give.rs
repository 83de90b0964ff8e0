//! Messages for one Client alone, whatever it subscribes to.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::batch::Batch;
use crate::broker::roster::{Place, Subscriber};
use crate::broker::routes::RouteCache;
use crate::fate::Step;
use crate::message::{Message, Run};
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::session::Outcome;
use crate::store::cluster::Post;
use crate::store::{StoreError, Write, Written};
use crate::subscription::Grant;
use crate::time::Time;

/// How long a publisher is held back for a subscriber that does not keep up, as a Client would be.
const HOLD: Duration = Duration::from_millis(50);

/// What became of a message for one Client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// It is connected or will be: at QoS 0 the message is on its way, above it is in the queue of the Session or on its way.
    Taken,
    /// It has a Session and is away: a message at QoS 0 is not kept for it.
    Away,
    /// Its queue, or the Store, has no room.
    Full,
    /// There is no such Session.
    Unknown,
}

impl Batch {
    /// Waits for a subscriber that cannot keep up, as long as a publisher that is no Client is held back.
    pub(super) async fn hold(&self) {
        let Some(crowded) = self.crowded.as_ref() else { return };
        let room = std::future::poll_fn(|context| crowded.mailbox.poll_room(context));
        if tokio::time::timeout(HOLD, room).await.is_err() {
            crowded.mailbox.give_up();
        }
    }
}

impl Broker {
    /// Gives a message to a Session of this node, granted at most this QoS.
    pub(crate) async fn give(&self, to: &Arc<Subscriber>, message: Message, qos: QoS, now: Time) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.deliver(to, &Arc::new(Run::from(message)), &alone(qos), 0);
        self.flush(&mut batch, &mut [], now).await
    }

    /// Publishes a message of the program that this node is part of. A subscriber that cannot keep up holds it back for a moment.
    pub async fn publish_held(&self, message: Message, now: Time) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let run = Arc::new(Run::from(message));
        self.promise().await?;
        self.note_run(&run, None, None, &Step::Received);
        if !self.stage(&mut RouteCache::default(), None, &run, &mut batch, now).await? {
            self.note_run(&run, None, None, &Step::NoSubscribers);
        }
        let mut outcomes = [Outcome::Done];
        self.flush(&mut batch, &mut outcomes, now).await?;
        if matches!(outcomes, [Outcome::Refused(_)]) {
            return Err(StoreError::Full);
        }
        if run.highest_qos() > QoS::AtMostOnce {
            self.promise().await?;
        }
        batch.hold().await;
        Ok(())
    }

    /// Gives a message to a Client by its name, on whatever node it is.
    pub async fn publish_to_client(&self, client_id: &ClientId, message: Message, now: Time) -> Result<Given, StoreError> {
        self.promise().await?;
        let qos = message.qos;
        let run = Arc::new(Run::from(message));
        let here = self.roster.get(client_id).filter(|subscriber| subscriber.place == Place::Here);
        let online = here.as_ref().is_some_and(|subscriber| subscriber.mailbox.is_online());
        let durable = here.as_ref().is_some_and(|subscriber| subscriber.is_durable());
        if let Some(here) = here.as_ref().filter(|_| online && (!durable || qos == QoS::AtMostOnce)) {
            let mut batch = Batch::default();
            batch.deliver(here, &run, &alone(qos), 0);
            self.flush(&mut batch, &mut [], now).await?;
            return Ok(Given::Taken);
        }
        if qos > QoS::AtMostOnce {
            let writes = vec![Write::Append { to: client_id.clone(), run: run.clone(), grant: alone(qos) }];
            let appends = self.appends(&writes);
            let written = self.store.write(writes, now).await?;
            self.note_appended(&appends, &written, None, now);
            match written.first() {
                Some(Written::Done) => {
                    here.iter().for_each(|here| here.mailbox.ring());
                    if let Some(cluster) = self.store.cluster().filter(|_| !online) {
                        cluster.bell(vec![client_id.clone()]).await?;
                    }
                    return Ok(Given::Taken);
                }
                Some(Written::QueueFull | Written::StoreFull) => return Ok(Given::Full),
                Some(Written::NoSession) | None => {}
            }
        }
        self.post_to_client(client_id, &run, qos, here.is_some()).await
    }

    /// Wherever a Session is connected that has no queue, or for what is not queued: the node that has it is told.
    async fn post_to_client(&self, client_id: &ClientId, run: &Arc<Run>, qos: QoS, known: bool) -> Result<Given, StoreError> {
        let Some(cluster) = self.store.cluster() else { return Ok(if known { Given::Away } else { Given::Unknown }) };
        let Some(owner) = self.store.owner(client_id).await? else { return Ok(Given::Unknown) };
        // Who has it here has just left; who has it at a node that is dead is about to.
        let Some(node) = owner.filter(|node| node != cluster.node() && cluster.is_live(node)) else { return Ok(Given::Away) };
        let post = Post { run: run.clone(), to: Some((client_id.clone(), alone(qos))), publisher: None };
        cluster.post(&node, vec![post], qos > QoS::AtMostOnce).await?;
        Ok(Given::Taken)
    }
}

/// What one Client is granted for a message that no subscription of its own brings.
fn alone(qos: QoS) -> Grant {
    Grant { qos, retain_as_published: true, ids: None, group: None }
}
