//! What one node asks another, and what it answers: JSON both ways, for a cluster may have nodes of different versions for a while.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

use super::Desk;
use super::reply::Problem;
use super::trace::Wanted;
use crate::broker::Broker;
use crate::broker::order::Order;
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::packet::subscribe::{RetainHandling, SubscriptionOptions};
use crate::store::cluster::NodeId;
use crate::store::redis::cluster::Cluster;
use crate::store::redis::cluster::asks::Answers;
use crate::subscription::Selector;

/// How often a node looks whether it is another member by now.
const MEMBERSHIP_LOOK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Question {
    /// How is it?
    Node,
    /// The first so many of its clients, in the order of their identifiers, and how many there are.
    Clients {
        filter: Filter,
        reach: usize,
    },
    Client {
        id: String,
    },
    /// The first so many messages that wait in memory for this client.
    Mailbox {
        id: String,
        limit: usize,
    },
    Kick {
        id: String,
    },
    /// Subscribe for this client.
    Subscribe {
        id: String,
        wanted: Vec<NewSubscription>,
    },
    /// Unsubscribe for it.
    Unsubscribe {
        id: String,
        topics: Vec<String>,
    },
    Subscriptions {
        filter: Filter,
        reach: usize,
    },
    /// The first so many of its requests that wait for their answer, and how many there are.
    Requests {
        filter: Filter,
        reach: usize,
    },
    /// How many connections come from each address.
    Addresses,
    /// Let go of your clients, or do not.
    Drain {
        off: bool,
    },
    /// Send so many clients away, to nodes that have more room.
    MakeRoom {
        clients: usize,
    },
    /// What has become of messages that concern these, since this was last asked? It begins to be noted with the first time.
    Trace {
        id: String,
        wanted: Wanted,
    },
}

/// What of a list is wanted. Everything that is named has to hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Filter {
    pub clientid: Option<String>,
    /// A part of it.
    pub like_clientid: Option<String>,
    pub username: Option<String>,
    pub like_username: Option<String>,
    pub ip_address: Option<IpAddr>,
    /// 3, 4 or 5.
    pub proto_ver: Option<u8>,
    /// Only those for which messages wait.
    pub slow: Option<bool>,
    /// Only of this node, by its configured name.
    pub node: Option<String>,
    /// A Topic Filter, exactly as it was subscribed to; of a request its Topic Name.
    pub topic: Option<String>,
    /// A Topic Name that it matches.
    pub match_topic: Option<String>,
}

/// A subscription that is made for a client, in the names of its options that MQTT and others have.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSubscription {
    pub topic: String,
    #[serde(default)]
    pub qos: u8,
    /// No Local.
    #[serde(default)]
    pub nl: u8,
    /// Retain As Published.
    #[serde(default)]
    pub rap: u8,
    /// Retain Handling.
    #[serde(default)]
    pub rh: u8,
}

impl NewSubscription {
    pub(super) fn options(&self) -> Option<SubscriptionOptions> {
        let is_flag = |bit: u8| bit <= 1;
        let retain_handling = match self.rh {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        let qos = QoS::from_bits(self.qos).filter(|_| is_flag(self.nl) && is_flag(self.rap))?;
        Some(SubscriptionOptions { qos, no_local: self.nl == 1, retain_as_published: self.rap == 1, retain_handling })
    }

    /// Whoever asks has looked that it is right.
    fn read(&self) -> (String, SubscriptionOptions) {
        (self.topic.clone(), self.options().unwrap_or_default())
    }
}

/// Answers what other nodes ask, for as long as it is polled.
pub(super) async fn answer_others(desk: Arc<Desk>) {
    if !desk.broker.store().is_shared() {
        return;
    }
    let mut looks = tokio::time::interval(MEMBERSHIP_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(cluster) = desk.broker.store().cluster() else { continue };
        let answering = cluster.answer({
            let desk = desk.clone();
            move |question| answered(desk.clone(), question)
        });
        let is_member = || desk.broker.store().cluster().is_some_and(|now| now.node() == cluster.node());
        let until_it_parts = async {
            while is_member() {
                looks.tick().await;
            }
        };
        tokio::select! {
            () = answering => {}
            () = until_it_parts => {}
        }
    }
}

/// A question that this version does not know has no answer.
async fn answered(desk: Arc<Desk>, question: Vec<u8>) -> Vec<u8> {
    let answer = match serde_json::from_slice(&question) {
        Ok(question) => desk.answer(&question).await,
        Err(_) => Value::Null,
    };
    answer.to_string().into_bytes()
}

/// What all nodes said.
pub(super) struct Said {
    pub answers: Vec<Value>,
    /// Names of those who said nothing.
    pub missing: Vec<String>,
}

/// What became of a Client that was to be disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kicked {
    Told,
    /// No node has it.
    Absent,
    /// No node that answers has it; these did not answer.
    Unknown(Vec<String>),
}

/// Disconnects a Client with 0x98 Administrative action, on whatever node it is. Its Session stays, and it may come back.
pub async fn kick(broker: &Broker, id: &str) -> Kicked {
    if broker.kick_here(&ClientId::new(id)) {
        return Kicked::Told;
    }
    let Some(cluster) = broker.store().cluster() else { return Kicked::Absent };
    let said = cluster.ask(None, json!(Question::Kick { id: id.to_owned() }).to_string().as_bytes()).await;
    if said.answers.iter().any(|(_, answer)| understood(answer) == Some(Value::Bool(true))) {
        return Kicked::Told;
    }
    match said.missing.as_slice() {
        [] => Kicked::Absent,
        nodes => Kicked::Unknown(nodes.iter().map(|node| name_of(node).to_owned()).collect()),
    }
}

impl Desk {
    /// Asks every node, this one first.
    pub(super) async fn ask_all(self: &Arc<Desk>, question: &Question) -> Said {
        let others = async {
            match self.broker.store().cluster() {
                Some(cluster) => cluster.ask(None, json!(question).to_string().as_bytes()).await,
                None => Answers::default(),
            }
        };
        let (own, said) = tokio::join!(self.answer(question), others);
        let mut answers = vec![own];
        answers.extend(said.answers.iter().filter_map(|(_, answer)| understood(answer)));
        Said { answers, missing: said.missing.iter().map(|node| name_of(node).to_owned()).collect() }
    }

    /// Asks the node of this name.
    pub(super) async fn ask_node(self: &Arc<Desk>, name: &str, question: &Question) -> Result<Value, Problem> {
        if name == self.settings.node {
            return Ok(self.answer(question).await);
        }
        let cluster = self.broker.store().cluster();
        let is_it = |cluster: &Cluster| cluster.live().into_iter().find(|node| name_of(node) == name && node != cluster.node());
        let Some((cluster, node)) = cluster.and_then(|cluster| is_it(&cluster).map(|node| (cluster, node))) else {
            return Err(Problem::not_found(format!("there is no node {name:?}; GET nodes lists them")));
        };
        let said = cluster.ask(Some(&node), json!(question).to_string().as_bytes()).await;
        let said = said.answers.first().and_then(|(_, answer)| understood(answer));
        said.ok_or_else(|| Problem::unavailable(format!("node {name:?} does not answer")))
    }

    /// What concerns everybody is looked up on a thread that may take its time.
    pub(super) async fn answer(self: &Arc<Desk>, question: &Question) -> Value {
        match question {
            Question::Node
            | Question::Clients { .. }
            | Question::Subscriptions { .. }
            | Question::Requests { .. }
            | Question::Addresses => {
                let (desk, question) = (self.clone(), question.clone());
                aside(move || desk.walk(&question)).await
            }
            Question::Client { id } => {
                let seen = self.broker.present_as(&ClientId::new(id));
                seen.map_or(Value::Null, |seen| self.client(&seen))
            }
            Question::Mailbox { id, limit } => self.mailbox(&ClientId::new(id), *limit),
            Question::Kick { id } => json!(self.broker.kick_here(&ClientId::new(id))),
            Question::Subscribe { id, wanted } => {
                self.order(id, Order::Subscribe(wanted.iter().map(NewSubscription::read).collect())).await
            }
            Question::Unsubscribe { id, topics } => {
                self.order(id, Order::Unsubscribe(topics.iter().filter_map(|topic| Selector::parse(topic)).collect())).await
            }
            Question::Drain { off: true } => {
                self.broker.call_off_drain();
                self.walk(&Question::Node)
            }
            Question::Drain { off: false } => {
                // Begun when it is answered: whoever calls it off next comes after it.
                if self.broker.begin_drain() {
                    let broker = self.broker.clone();
                    tokio::spawn(async move { broker.drain().await });
                }
                self.walk(&Question::Node)
            }
            Question::MakeRoom { clients } => json!(if self.broker.begin_to_make_room(*clients) { *clients } else { 0 }),
            Question::Trace { id, wanted } => self.noted(id, wanted),
        }
    }

    /// What came of an order to a connection: Reason Codes; null when it is not here, nothing when it ended meanwhile.
    async fn order(&self, id: &str, order: Order) -> Value {
        let Some(told) = self.broker.order(&ClientId::new(id), order) else { return Value::Null };
        let reasons = told.await.unwrap_or_default();
        json!({ "node": self.settings.node, "reasons": reasons.iter().map(|reason| reason.0).collect::<Vec<_>>() })
    }
}

/// What takes its time, where nobody else has to wait for it.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// The configured name of an incarnation.
pub(super) fn name_of(node: &NodeId) -> &str {
    node.as_str().rsplit_once('.').map_or(node.as_str(), |(name, _)| name)
}

fn understood(answer: &[u8]) -> Option<Value> {
    serde_json::from_slice(answer).ok().filter(|answer: &Value| !answer.is_null())
}
