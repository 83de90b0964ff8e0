//! What this node has for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::roster::{Place, Subscriber};
use crate::fate::Step;
use crate::message::{Message, Run};
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::packet::reason::Reason;
use crate::session::Outcome;
use crate::session::outbound::Delivery;
use crate::store::StoreError;
use crate::store::cluster::{NodeId, Post};
use crate::subscription::{Grant, ShareGroup};

/// Messages for other nodes, until the batch is flushed.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    posts: BTreeMap<NodeId, Posts>,
}

#[derive(Debug, Default)]
struct Posts {
    /// At QoS 0.
    fast: Vec<Post>,
    /// Those that are acknowledged to their publisher, and the commands that they belong to.
    sure: Vec<Post>,
    origins: Vec<usize>,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// How many posts there are that must arrive.
    pub(super) fn len(&self) -> usize {
        self.posts.values().map(|posts| posts.sure.len()).sum()
    }

    /// Adds what a node, or a Session there, is to have. A node that wants only QoS 0 has the rest from its Sessions' queues.
    /// `origin`: the command that it belongs to.
    pub(super) fn add(
        &mut self,
        to: &Subscriber,
        run: &Arc<Run>,
        grant: &Grant,
        only_qos_0: bool,
        publisher: Option<&ClientId>,
        origin: usize,
    ) {
        let (node, member) = match &to.place {
            Place::Here => return,
            Place::Node(node) => (node, None),
            Place::Member(node) => (node, Some((to.client_id.clone(), grant.clone()))),
        };
        if only_qos_0 && run.messages().iter().all(|message| message.qos > QoS::AtMostOnce) {
            return;
        }
        let Posts { fast, sure, origins } = self.posts.entry(node.clone()).or_default();
        let post = |run: Arc<Run>| Post { run, to: member.clone(), publisher: publisher.cloned() };
        if run.highest_qos().min(grant.qos) == QoS::AtMostOnce {
            fast.push(post(run.clone()));
        } else if run.messages().iter().all(|message| message.qos > QoS::AtMostOnce) {
            sure.push(post(run.clone()));
        } else {
            // Apart, so that all of one QoS go the same way: the order of those is the publisher's.
            let is_fast = |place: usize| run.messages()[place].qos == QoS::AtMostOnce;
            fast.extend(run.part(is_fast).map(|run| post(Arc::new(run))));
            sure.extend(run.part(|place| !is_fast(place)).map(|run| post(Arc::new(run))));
        }
        origins.resize(sure.len(), origin);
    }
}

impl Broker {
    /// Sends what is for other nodes. What was acknowledged by then is in their inboxes; what was for members of share groups on nodes that are
    /// no more is `left`. What an inbox has no room for, because Redis has no memory left, is refused to its publisher, though others may have it.
    pub(super) async fn send(
        &self,
        outbox: &mut Outbox,
        left: &mut Vec<(Message, Arc<ShareGroup>)>,
        outcomes: &mut [Outcome],
    ) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        for (node, Posts { fast, sure, origins }) in std::mem::take(&mut outbox.posts) {
            self.note_posts(&sure, &node);
            self.note_posts(&fast, &node);
            if !sure.is_empty() {
                let members = sure.iter().filter_map(|post| Some((post.run.clone(), post.to.as_ref()?.1.clone())));
                let members: Vec<_> = members.map(|(run, grant)| Delivery { run, grant }).collect();
                match cluster.post(&node, sure, true).await {
                    Ok(true) => {}
                    Ok(false) => {
                        let shared = members.iter().flat_map(Delivery::shared);
                        left.extend(shared.map(|(message, group)| (message.message().clone(), group)));
                    }
                    Err(StoreError::Full) if origins.iter().all(|origin| *origin < outcomes.len()) => {
                        origins.iter().for_each(|origin| outcomes[*origin] = Outcome::Refused(Reason::QUOTA_EXCEEDED));
                    }
                    Err(error) => return Err(error),
                }
            }
            if !fast.is_empty() {
                cluster.post(&node, fast, false).await?;
            }
        }
        Ok(())
    }

    fn note_posts(&self, posts: &[Post], node: &NodeId) {
        if self.fates.is_on() {
            let step = Step::Posted(node.as_str().into());
            posts.iter().for_each(|Post { run, to, publisher }| {
                self.note_run(run, publisher.as_ref(), to.as_ref().map(|(client_id, _)| client_id), &step);
            });
        }
    }

    /// Tells Sessions that are connected to other nodes that something is in their queues.
    pub(super) async fn ring_away(&self, rings: &[Arc<Subscriber>]) -> Result<(), StoreError> {
        let Some(cluster) = self.cluster()? else { return Ok(()) };
        let away = rings.iter().filter(|subscriber| !subscriber.mailbox.is_online());
        let away: Vec<_> = away.map(|subscriber| subscriber.client_id.clone()).collect();
        if !away.is_empty() {
            cluster.bell(away).await?;
        }
        Ok(())
    }
}
