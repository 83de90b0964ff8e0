//! Requests that workers answer: a PUBLISH with a Response Topic goes to a worker, in this process or behind Redis, and exactly one answer
//! comes back, or a word why there is none. Mounted on [`Requests`](hook::Requests); the broker below knows nothing of it.
//!
//! | task | what it does |
//! |---|---|
//! | [`ear`] | hears answers on the channel, and what other nodes say |
//! | [`reader`] | reads the stream of answers, and what other nodes left in it |
//! | [`watch`] | looks for requests whose time has come, for workers, and for what is to be trimmed |
//!
//! A request is kept before its PUBACK. Whoever ends it (an answer, a deadline, a cancel) claims it first, forwards, and then removes it: a node
//! that dies in between leaves it to another, which at worst says twice that it has ended. That window is counted.

mod answers;
pub mod context;
mod ear;
mod here;
pub mod json_rpc;
mod reader;
pub mod waiting;
mod watch;

use std::fmt;
use std::sync::{Arc, RwLock, Weak};

use mcp_worker_sdk::Routes;
use mcp_worker_sdk::wire::WorkerMessage;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::hook::client::Client;
use crate::hook::request::{self as hook, Admission, Asked, CANCEL, Refusal, Wait};
use crate::mcp::context::{Context, Trouble};
use crate::mcp::json_rpc::Rpc;
use crate::mcp::waiting::{Bounds, Cancel, Entry, Waiting};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::packet::reason::Reason;
use crate::store::StoreError;
use crate::store::redis::requests::{Claim, Heard, Lanes, NewRequest, Requests};
use crate::time::{Span, Time};
use crate::topic::filter::TopicFilter;

/// How long after its deadline a context is kept: somebody has to say that it has passed, also when Redis or a node is away for a while.
const KEPT_AFTER: Span = Span::seconds(120);

/// How long a node may take to forward what it claimed, before another one does it.
const CLAIM: Span = Span::seconds(5);

/// Requests whose answers wait for parts that other nodes forward, beside those that are worked on.
const EARLY_MAX: usize = 1024;

/// What the configuration says of requests.
#[derive(Clone, Debug)]
pub struct Settings {
    pub request_filters: Vec<TopicFilter>,
    /// Requests also go to those who subscribe to their Topic Names.
    pub route_to_subscribers: bool,
    pub lanes: Lanes,
    /// Nobody is there to answer: the requester is told at once, not at its deadline.
    pub no_worker_is_error: bool,
    pub timeout: Span,
    pub payload_bytes_max: usize,
    pub bounds: Bounds,
}

/// The requests of a node.
pub struct Mcp {
    settings: Settings,
    /// Whoever holds it holds this too.
    broker: Weak<Broker>,
    /// Handlers in this process; they come before workers.
    routes: Routes,
    /// Workers are asked by way of Redis, whenever that is joined.
    shared: bool,
    waiting: Waiting,
    workers: RwLock<Vec<WorkerMessage>>,
    /// Places for answers that wait for what comes before them.
    early: Arc<Semaphore>,
}

impl fmt::Debug for Mcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp").field("settings", &self.settings).field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// Answers the requests of this broker from now on; `routes` are handlers within this process. The tasks end with the returned set.
/// Without Redis and without handlers a request is a message as any other.
pub fn start(broker: &Arc<Broker>, settings: Settings, routes: Routes) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let shared = broker.store().is_shared() && !settings.request_filters.is_empty();
    if !shared && routes.is_empty() {
        return tasks;
    }
    let waiting = Waiting::new(settings.bounds);
    let (broker_of, workers, early) = (Arc::downgrade(broker), RwLock::default(), Arc::new(Semaphore::new(EARLY_MAX)));
    let mcp = Arc::new(Mcp { settings, broker: broker_of, routes, shared, waiting, workers, early });
    tasks.spawn(watch::run(mcp.clone()));
    if shared {
        tasks.spawn(ear::run(mcp.clone()));
        if mcp.settings.lanes.stream {
            tasks.spawn(reader::run(mcp.clone()));
        }
    }
    // A second one is refused: the first goes on.
    let _ = broker.requests.set(Arc::new(Mounted(mcp)));
    tasks
}

/// The tasks of a request need a share in it.
#[derive(Debug)]
struct Mounted(Arc<Mcp>);

impl hook::Requests for Mounted {
    fn admit(&self, client: &Arc<Client>, message: &Message, now: Time) -> Admission {
        let Mcp { settings, routes, shared, waiting, .. } = &*self.0;
        let here = routes.matches(message.topic.as_str());
        let away = *shared && settings.request_filters.iter().any(|filter| filter.matches(&message.topic));
        if !here && !away {
            return Admission::Pass;
        }
        if is_request(message) && message.qos > QoS::AtMostOnce {
            // At QoS 0 nobody would hear of it: there it becomes an error reply.
            if let Err(reason) = waiting.admits(&client.id, now) {
                self.0.count(|metrics| Metrics::add(&metrics.mcp_requests_refused, 1));
                return Admission::Refuse(reason);
            }
        }
        Admission::Take { route: settings.route_to_subscribers }
    }

    fn take<'a>(&'a self, asked: Vec<Asked>, now: Time) -> Wait<'a, Vec<Result<(), Refusal>>> {
        Box::pin(self.0.take(asked, now))
    }

    fn waiting(&self, wanted: &dyn Fn(&hook::Waiting) -> bool, reach: usize) -> (usize, Vec<hook::Waiting>) {
        self.0.waiting.list(wanted, reach)
    }

    fn workers(&self) -> Vec<hook::Worker> {
        let workers = self.0.workers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut workers: Vec<_> = workers.iter().cloned().map(seen).collect();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        workers
    }
}

fn seen(worker: WorkerMessage) -> hook::Worker {
    let WorkerMessage { name, group, filters, lane, concurrency, running, answered, failed } = worker;
    hook::Worker { name, group, filters, lane, concurrency, running, answered, failed }
}

fn is_request(message: &Message) -> bool {
    message.properties.as_deref().is_some_and(|properties| properties.response_topic.is_some()) && !has_cancel(message)
}

fn has_cancel(message: &Message) -> bool {
    let properties = message.properties.as_deref();
    properties.is_some_and(|properties| properties.user_properties.iter().any(|(name, value)| name == CANCEL && value == "1"))
}

impl Mcp {
    fn count(&self, count: impl FnOnce(&Metrics)) {
        if let Some(broker) = self.broker.upgrade() {
            count(&broker.metrics);
        }
    }

    fn now(&self) -> Time {
        self.broker.upgrade().map_or(Time(0), |broker| broker.clock.now())
    }

    /// `None`: not joined now, or never.
    fn redis(&self) -> Option<Requests> {
        self.broker.upgrade().filter(|_| self.shared)?.store().requests()
    }

    /// Whether these are of an incarnation that is over.
    fn is_over(&self, redis: &Requests) -> bool {
        self.redis().is_none_or(|now| now.node() != redis.node())
    }

    /// Keeps all of them in one batch, and tells workers.
    async fn take(self: &Arc<Self>, asked: Vec<Asked>, now: Time) -> Vec<Result<(), Refusal>> {
        let mut outcomes = vec![Ok(()); asked.len()];
        let redis = self.redis();
        let node = redis.as_ref().map_or("", Requests::node);
        let mut new = Vec::new();
        for (at, asked) in asked.into_iter().enumerate() {
            let (rpc, takes_back) = json_rpc::look(&asked.message.payload);
            if has_cancel(&asked.message) || takes_back.is_some() {
                outcomes[at] = self.cancel(&asked, takes_back, now).await;
            } else if is_request(&asked.message) {
                match self.enter(&asked, rpc, node, now) {
                    Ok(Some(request)) => new.push((at, request)),
                    Ok(None) => {}
                    Err(reason) => outcomes[at] = Err(Refusal::Because(reason)),
                }
            }
        }
        if new.is_empty() {
            return outcomes;
        }
        let (at, (requests, contexts)): (Vec<_>, (Vec<_>, Vec<_>)) = new.into_iter().unzip();
        let added = match &redis {
            Some(redis) => redis.add(&requests, self.settings.lanes, now).await,
            None => Err(StoreError::Unavailable),
        };
        let added = added.unwrap_or_else(|error| vec![Err(error); requests.len()]);
        for (((at, request), context), added) in at.into_iter().zip(requests).zip(contexts).zip(added) {
            match added {
                Ok(heard) => self.has_heard(request.id, context, heard),
                Err(error) => {
                    self.waiting.remove(&request.id);
                    let refusal = if error == StoreError::Full { Refusal::Because(Reason::QUOTA_EXCEEDED) } else { Refusal::Unavailable };
                    outcomes[at] = Err(refusal);
                }
            }
        }
        outcomes
    }

    /// Enters a request here. What is left to do for one that goes to workers: nothing when it is answered already, or within this process.
    fn enter(self: &Arc<Self>, asked: &Asked, rpc: Rpc, node: &str, now: Time) -> Result<Option<(NewRequest, Context)>, Reason> {
        let Asked { client, message, matched } = asked;
        self.count(|metrics| Metrics::add(&metrics.mcp_requests, 1));
        let deadline = context::deadline(message, self.settings.timeout, now);
        let context = Context::new(client, message, rpc, deadline, node, *matched);
        if message.payload.len() > self.settings.payload_bytes_max {
            self.spawn_trouble(context, Trouble::TooLarge);
            return Ok(None);
        }
        let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
        let here = self.routes.matches(message.topic.as_str());
        let (cancel, cancelled) = tokio::sync::watch::channel(false);
        let entry = Entry {
            client_id: client.id.clone(),
            topic: context.topic.clone(),
            correlation_data: message.properties.as_deref().and_then(|properties| properties.correlation_data.clone()),
            rpc: context.rpc.clone(),
            deadline,
            cancel: here.then_some(cancel),
        };
        if message.qos == QoS::AtMostOnce && self.waiting.admits(&client.id, now).is_err() || !self.waiting.enter(&id, entry) {
            self.count(|metrics| Metrics::add(&metrics.mcp_requests_refused, 1));
            if message.qos > QoS::AtMostOnce {
                return Err(Reason::QUOTA_EXCEEDED);
            }
            self.spawn_trouble(context, Trouble::Unavailable);
            return Ok(None);
        }
        let wire = context::request_message(&id, client, message, deadline);
        if here {
            tokio::spawn(here::answer(self.clone(), id, wire, message.payload.clone(), context, cancelled));
            return Ok(None);
        }
        let json = serde_json::to_string(&wire).unwrap_or_default();
        let ttl = deadline.since(now) + KEPT_AFTER;
        Ok(Some((NewRequest { id: id.to_string(), context: context.encode(), deadline, ttl, json }, context)))
    }

    /// A request is kept; if nobody can have heard of it, the requester is told.
    fn has_heard(self: &Arc<Self>, id: String, context: Context, heard: Heard) {
        if heard.channel > 0 || !self.settings.no_worker_is_error {
            return;
        }
        if heard.workers > 0 && self.somebody_answers(&context.topic) {
            return;
        }
        let mcp = self.clone();
        tokio::spawn(async move {
            let Some(redis) = mcp.redis() else { return };
            if heard.workers > 0 {
                // One that came since the last look may answer this topic.
                let Ok(workers) = redis.workers(mcp.now()).await else { return };
                mcp.set_workers(workers);
                if mcp.somebody_answers(&context.topic) {
                    return;
                }
            }
            if mcp.settings.lanes.channel && redis.is_heard_elsewhere().await {
                return;
            }
            mcp.end(&redis, &id, Trouble::NoWorker).await;
        });
    }

    fn set_workers(&self, workers: Vec<WorkerMessage>) {
        self.count(|metrics| metrics.mcp_workers.store(workers.len(), std::sync::atomic::Ordering::Relaxed));
        *self.workers.write().unwrap_or_else(std::sync::PoisonError::into_inner) = workers;
    }

    /// Whether a worker that was last heard of answers this Topic Name.
    fn somebody_answers(&self, topic: &str) -> bool {
        let Some(topic) = crate::topic::name::TopicName::new(topic.to_owned().into()) else { return false };
        let matches = |filter: &String| TopicFilter::new(filter).is_some_and(|filter| filter.matches(&topic));
        let workers = self.workers.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        workers.iter().any(|worker| worker.filters.is_empty() || worker.filters.iter().any(matches))
    }

    /// Ends a request without an answer of a worker, if nobody else does.
    async fn end(&self, redis: &Requests, id: &str, trouble: Trouble) {
        let now = self.now();
        let Ok(Claim::Yours(context)) = redis.claim(id, 0, now, now + CLAIM).await else { return };
        let Some(context) = Context::decode(&context) else { return };
        // Those who subscribe to the topic answer in the way of MQTT.
        let is_theirs = context.matched && trouble == Trouble::NoWorker;
        if !is_theirs {
            self.tell(&context, trouble).await;
        }
        let _ = redis.finish(id).await; // looked at again by whoever finds it due
        self.ended(redis, id, &context).await;
    }

    /// A request of this node is over; of another node: tells it.
    async fn ended(&self, redis: &Requests, id: &str, context: &Context) {
        if self.waiting.remove(id).is_none() && context.node != redis.node() {
            // When it is lost, the other node forgets the request at its deadline.
            let _ = redis.publish(vec![(redis.node_channel(&context.node), id.to_owned())]).await;
        }
    }

    fn spawn_trouble(self: &Arc<Self>, context: Context, trouble: Trouble) {
        let mcp = self.clone();
        tokio::spawn(async move { mcp.tell(&context, trouble).await });
    }

    /// Sends an error reply.
    async fn tell(&self, context: &Context, trouble: Trouble) {
        self.count(|metrics| {
            let counter = match trouble {
                Trouble::Unavailable => &metrics.mcp_errors_unavailable,
                Trouble::Timeout => &metrics.mcp_errors_timeout,
                Trouble::NoWorker => &metrics.mcp_errors_no_worker,
                Trouble::WorkerFailed => &metrics.mcp_errors_worker_failed,
                Trouble::TooLarge => &metrics.mcp_errors_too_large,
            };
            Metrics::add(counter, 1);
        });
        if let Some(message) = context.trouble(trouble, None, None) {
            let _ = self.forward(message).await; // tried again by whoever finds the request due
        }
    }

    async fn forward(&self, message: Message) -> Result<(), StoreError> {
        let Some(broker) = self.broker.upgrade() else { return Err(StoreError::Unavailable) };
        let now = broker.clock.now();
        Box::pin(broker.publish(message, now)).await
    }

    /// The requester takes a request back: nobody is told, but the worker.
    async fn cancel(self: &Arc<Self>, asked: &Asked, takes_back: Option<Value>, now: Time) -> Result<(), Refusal> {
        let data = asked.message.properties.as_deref().and_then(|properties| properties.correlation_data.as_deref());
        let cancel = Cancel {
            client_id: asked.client.id.as_str().to_owned(),
            correlation_data_b64: data.map(mcp_worker_sdk::wire::encode),
            rpc: takes_back.map(|id| (asked.message.topic.as_str().to_owned(), id)),
        };
        if self.cancel_here(&cancel, now).await.map_err(|_| Refusal::Unavailable)? {
            return Ok(());
        }
        // It may have been sent by way of another node.
        if !self.shared {
            return Ok(());
        }
        let redis = self.redis().ok_or(Refusal::Unavailable)?;
        let text = serde_json::to_string(&cancel).unwrap_or_default();
        redis.publish(vec![(redis.nodes_channel(), text)]).await.map_err(|_| Refusal::Unavailable)
    }

    /// Whether this node has the request.
    async fn cancel_here(&self, cancel: &Cancel, now: Time) -> Result<bool, StoreError> {
        let Some(id) = self.waiting.find(cancel) else { return Ok(false) };
        let is_here = self.routes.matches(&self.waiting.topic(&id).unwrap_or_default());
        if self.shared && !is_here {
            let redis = self.redis().ok_or(StoreError::Unavailable)?;
            if let Claim::Yours(_) = redis.claim(&id, 0, now, now + CLAIM).await? {
                redis.finish(&id).await?;
                let told = serde_json::json!({ "correlation_id": &*id }).to_string();
                redis.publish(vec![(redis.names().cancelled(), told)]).await?;
            }
        }
        if let Some(entry) = self.waiting.remove(&id) {
            self.count(|metrics| Metrics::add(&metrics.mcp_cancelled, 1));
            entry.cancel.map(|cancel| cancel.send(true));
        }
        Ok(true)
    }
}

/// After something went wrong, before it is tried again.
async fn pause() {
    sleep(std::time::Duration::from_millis(50)).await;
}

#[allow(clippy::disallowed_methods, reason = "what is waited for is time")]
async fn sleep(span: std::time::Duration) {
    tokio::time::sleep(span).await;
}
