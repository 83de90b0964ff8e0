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
//! that dies in between, or does not hear in time that this was done, leaves it to another, which at worst says twice that it has ended. That
//! is counted.

mod answers;
pub mod context;
mod ear;
mod ending;
mod here;
pub mod json_rpc;
mod reader;
pub mod waiting;
mod watch;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock, Weak};

use futures_util::future::join_all;
use mcp_worker_sdk::Routes;
use mcp_worker_sdk::wire::WorkerMessage;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::hook::client::Client;
use crate::hook::request::{self as hook, Admission, Asked, CANCEL, Refusal, Wait};
use crate::mcp::context::{Context, Trouble};
use crate::mcp::json_rpc::Rpc;
use crate::mcp::waiting::{Bounds, Entry, Waiting};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::packet::QoS;
use crate::packet::reason::Reason;
use crate::store::StoreError;
use crate::store::redis::requests::{Heard, Lanes, NewRequest, Requests};
use crate::time::{Span, Time};
use crate::topic::filter::TopicFilter;

/// How long after its deadline a context is kept: somebody has to say that it has passed, also when Redis or a node is away for a while.
const KEPT_AFTER: Span = Span::seconds(120);

/// How long a node may take to forward what it claimed, before another one does it.
const CLAIM: Span = Span::seconds(5);

/// Requests whose answers wait for parts that other nodes forward, or for the Store, beside those that are worked on.
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
    /// It was not heard of all that other nodes ended.
    has_missed: AtomicBool,
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
    let mcp = Arc::new(Mcp { settings, broker: broker_of, routes, shared, waiting, workers, early, has_missed: AtomicBool::new(false) });
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
            if let Err(reason) = waiting.admits(&client.id, message.payload.len(), now) {
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

/// What is to be done with a request.
enum Entered {
    /// It goes to workers.
    New(NewRequest, Context),
    /// It is answered within this process.
    Here,
    /// Its requester is told this.
    Ended(Context, Trouble),
    Refused(Reason),
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

    /// Keeps all of them in one batch, and tells workers. What ends at once has its error reply before its publisher is told that it was received.
    async fn take(self: &Arc<Self>, asked: Vec<Asked>, now: Time) -> Vec<Result<(), Refusal>> {
        let mut outcomes = vec![Ok(()); asked.len()];
        let redis = self.redis();
        let node = redis.as_ref().map_or("", Requests::node);
        let (mut new, mut ended) = (Vec::new(), Vec::new());
        for (at, asked) in asked.into_iter().enumerate() {
            let (rpc, takes_back) = json_rpc::look(&asked.message.payload);
            if has_cancel(&asked.message) || takes_back.is_some() {
                outcomes[at] = self.cancel(&asked, takes_back, now).await;
            } else if is_request(&asked.message) {
                match self.enter(&asked, rpc, node, now) {
                    Entered::New(request, context) => new.push((at, (request, context))),
                    Entered::Here => {}
                    Entered::Ended(context, trouble) => ended.push((at, context, trouble)),
                    Entered::Refused(reason) => outcomes[at] = Err(Refusal::Because(reason)),
                }
            }
        }
        let (places, (requests, contexts)): (Vec<_>, (Vec<_>, Vec<_>)) = new.into_iter().unzip();
        let added = self.add(redis.as_ref(), &requests, now).await;
        let mut left = Vec::new();
        for (((at, request), context), added) in places.into_iter().zip(requests).zip(contexts).zip(added) {
            match added {
                Ok(heard) if self.waiting.keep(&request.id, heard.entry.as_ref()) => self.has_heard(request.id, context, heard),
                Ok(heard) => left.extend(heard.entry),
                Err(error) => {
                    self.waiting.remove(&request.id);
                    match error {
                        StoreError::Unavailable => outcomes[at] = Err(Refusal::Unavailable),
                        // At QoS 0 nobody hears of a refusal.
                        StoreError::Full if context.qos == 0 => ended.push((at, context, Trouble::Unavailable)),
                        StoreError::Full => outcomes[at] = Err(Refusal::Because(Reason::QUOTA_EXCEEDED)),
                    }
                }
            }
        }
        if let Some(redis) = redis {
            let _ = redis.remove_entries(&left).await; // they are trimmed
        }
        let told = join_all(ended.iter().map(|(_, context, trouble)| self.tell(context, *trouble))).await;
        for ((at, ..), told) in ended.into_iter().zip(told) {
            outcomes[at] = told.map_err(|error| match error {
                StoreError::Full => Refusal::Because(Reason::QUOTA_EXCEEDED),
                StoreError::Unavailable => Refusal::Unavailable,
            });
        }
        outcomes
    }

    async fn add(&self, redis: Option<&Requests>, requests: &[NewRequest], now: Time) -> Vec<Result<Heard, StoreError>> {
        let cluster = self.broker.upgrade().and_then(|broker| broker.store().cluster());
        let added = match redis {
            Some(_) if cluster.is_some_and(|cluster| cluster.is_full()) => Err(StoreError::Full),
            Some(redis) => redis.add(requests, self.settings.lanes, now).await,
            None => Err(StoreError::Unavailable),
        };
        added.unwrap_or_else(|error| vec![Err(error); requests.len()])
    }

    /// Enters a request here.
    fn enter(self: &Arc<Self>, asked: &Asked, rpc: Rpc, node: &str, now: Time) -> Entered {
        let Asked { client, message, matched } = asked;
        self.count(|metrics| Metrics::add(&metrics.mcp_requests, 1));
        let deadline = context::deadline(message, self.settings.timeout, now);
        let context = Context::new(client, message, rpc, deadline, node, *matched);
        let bytes = message.payload.len();
        if bytes > self.settings.payload_bytes_max {
            return Entered::Ended(context, Trouble::TooLarge);
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
            bytes,
            is_kept: false,
            in_stream: None,
            cancel: here.then_some(cancel),
        };
        // At QoS 0 it was not refused before: nobody would have heard of it.
        let is_refused = message.qos == QoS::AtMostOnce && self.waiting.admits(&client.id, bytes, now).is_err();
        if is_refused || !self.waiting.enter(&id, entry) {
            self.count(|metrics| Metrics::add(&metrics.mcp_requests_refused, 1));
            return match message.qos {
                QoS::AtMostOnce => Entered::Ended(context, Trouble::Unavailable),
                _ => Entered::Refused(Reason::QUOTA_EXCEEDED),
            };
        }
        let wire = context::request_message(&id, client, message, deadline);
        if here {
            tokio::spawn(here::answer(self.clone(), id, wire, message.payload.clone(), context, cancelled));
            return Entered::Here;
        }
        let json = serde_json::to_string(&wire).unwrap_or_default();
        let ttl = deadline.since(now) + KEPT_AFTER;
        Entered::New(NewRequest { id: id.to_string(), context: context.encode(), deadline, ttl, json }, context)
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
            if let Err(error) = mcp.end(&redis, &id, Trouble::NoWorker, mcp.now()).await {
                tracing::debug!(?error, "that no worker is there could not be told yet");
            }
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
}

/// After something went wrong, before it is tried again.
async fn pause() {
    sleep(std::time::Duration::from_millis(50)).await;
}

#[allow(clippy::disallowed_methods, reason = "what is waited for is time")]
async fn sleep(span: std::time::Duration) {
    tokio::time::sleep(span).await;
}
