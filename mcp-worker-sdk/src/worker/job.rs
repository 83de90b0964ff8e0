//! One request on its way through a handler.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Pipeline, cmd};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::reply::{Failure, Reply};
use crate::request::{Control, Courier, Request, Sending};
use crate::wire::{ErrorMessage, FIELD, RequestMessage, ResponseMessage, decode, encode};
use crate::worker::{Core, Delivery};

/// When nobody said until when.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// What runs, by correlation id.
#[derive(Debug, Default)]
pub(crate) struct Running {
    jobs: Mutex<HashMap<String, Job>>,
    /// The worker ends: what is called off from now on is wanted all the same, only not from this worker.
    is_handing_back: AtomicBool,
}

#[derive(Debug)]
struct Job {
    /// The entry of the stream that it came from.
    entry: Option<String>,
    cancel: watch::Sender<bool>,
    task: Option<AbortHandle>,
}

impl Running {
    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs().len()
    }

    /// The entries of what runs.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.jobs().values().filter_map(|job| job.entry.clone()).collect()
    }

    /// False: nothing of it runs here.
    pub(crate) fn call_off(&self, correlation_id: &str) -> bool {
        self.jobs().get(correlation_id).is_some_and(|job| job.cancel.send(true).is_ok())
    }

    /// The worker ends, and others shall do what is left.
    pub(crate) fn hand_back_all(&self) {
        self.is_handing_back.store(true, Relaxed);
        self.jobs().values().for_each(|job| _ = job.cancel.send(true));
    }

    pub(crate) fn is_handing_back(&self) -> bool {
        self.is_handing_back.load(Relaxed)
    }

    pub(crate) fn abort_all(&self) {
        self.jobs().values().filter_map(|job| job.task.as_ref()).for_each(AbortHandle::abort);
    }
}

/// How the answer leaves, and what is done with the request then.
pub(crate) struct Sender {
    core: Arc<Core>,
    correlation_id: String,
    parts: AtomicU32,
    /// Until when the handler may take.
    until: watch::Sender<Instant>,
}

impl Sender {
    fn response(&self) -> ResponseMessage {
        ResponseMessage::of(&self.correlation_id)
    }

    fn add(&self, pipeline: &mut Pipeline, response: &ResponseMessage) {
        let json = serde_json::to_string(response).unwrap_or_default();
        let names = &self.core.settings.names;
        match self.core.settings.delivery {
            Delivery::Stream => pipeline.add_command(cmd("XADD").arg(names.responses_stream()).arg("*").arg(FIELD).arg(json).take()),
            Delivery::Channel => pipeline.add_command(cmd("PUBLISH").arg(names.responses()).arg(json).take()),
        };
    }
}

fn fill(response: &mut ResponseMessage, reply: Reply) {
    response.drop = reply.is_none;
    response.payload_b64 = (!reply.is_none).then(|| encode(&reply.payload));
    response.content_type = reply.content_type;
    response.user_properties = reply.user_properties;
}

impl Courier for Sender {
    fn part(&self, part: Reply) -> Sending<'_, ()> {
        Box::pin(async move {
            let mut response = self.response();
            fill(&mut response, part);
            response.is_final = false;
            response.part = Some(self.parts.fetch_add(1, Relaxed) + 1);
            let mut pipeline = redis::pipe();
            self.add(&mut pipeline, &response);
            self.core.line.send::<Vec<redis::Value>>(&pipeline).await.map(drop).map_err(Failure::from)
        })
    }

    fn extend(&self, by: Duration) -> Sending<'_, ()> {
        Box::pin(async move {
            self.until.send_modify(|until| *until = (*until).max(Instant::now() + by));
            if self.core.settings.delivery == Delivery::Channel {
                let names = &self.core.settings.names;
                let extend = cmd("PEXPIRE").arg(names.claim(&self.correlation_id)).arg(by.as_millis() as u64).arg("GT").take();
                self.core.line.ask::<redis::Value>(extend).await.map_err(Failure::from)?;
            }
            Ok(())
        })
    }
}

/// How a request ended.
enum Ended {
    Answered(Result<Reply, Failure>),
    /// No route of this worker matches; another group may have one.
    NotOurs,
    /// Nobody waits any more.
    Cancelled,
    /// The worker ends, and somebody still waits.
    HandedBack,
    /// The handler took longer than it may.
    TooLong,
}

/// Where a request came from in the stream, and how often it was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) attempt: u32,
}

/// Has a request answered in a task of its own, and sends the answer. One that is worked on already is handed out again when its worker was not
/// heard of for a while, and handing it out has renewed its lease: the one that runs answers.
pub(crate) fn start(core: &Arc<Core>, wire: RequestMessage, entry: Option<Entry>, permit: OwnedSemaphorePermit) {
    let (cancel, cancelled) = watch::channel(false);
    let correlation_id = wire.correlation_id.clone();
    let job = Job { entry: entry.as_ref().map(|entry| entry.id.clone()), cancel, task: None };
    match core.running.jobs().entry(correlation_id.clone()) {
        Place::Vacant(place) => _ = place.insert(job),
        Place::Occupied(_) => return,
    }
    let task = tokio::spawn(work(core.clone(), wire, entry, cancelled, permit));
    if let Some(job) = core.running.jobs().get_mut(&correlation_id) {
        job.task = Some(task.abort_handle());
    }
}

/// Takes the job off the list however its task ends.
struct Listed<'a>(&'a Core, &'a str);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.running.jobs().remove(self.1);
    }
}

async fn work(core: Arc<Core>, wire: RequestMessage, entry: Option<Entry>, cancelled: watch::Receiver<bool>, permit: OwnedSemaphorePermit) {
    let correlation_id = wire.correlation_id.clone();
    let _listed = Listed(&core, &correlation_id);
    let topic = wire.topic.clone();
    let own = core.settings.request_timeout.map(|timeout| Instant::now() + timeout);
    let deadline = wire.deadline_ms.map(|deadline| core.clock.instant(deadline));
    let (until, mut times) = watch::channel(own.unwrap_or_else(|| Instant::now() + FOR_EVER));
    let sender = Arc::new(Sender { core: core.clone(), correlation_id: correlation_id.clone(), parts: AtomicU32::new(0), until });
    let ended = match decode(&wire.payload_b64) {
        Some(payload) => {
            let mut request = Request::new(wire.topic, payload);
            request.content_type = wire.content_type;
            request.user_properties = wire.user_properties;
            request.client_id = wire.client_id;
            request.correlation_id = wire.correlation_id;
            request.response_topic = wire.response_topic;
            request.qos = wire.qos;
            request.attempt = entry.as_ref().map_or(wire.attempt, |entry| entry.attempt);
            request.deadline = deadline;
            request.traceparent = wire.traceparent;
            request.control = Control { cancelled: cancelled.clone(), courier: sender.clone() };
            let late = async { tokio::time::sleep_until(deadline.unwrap_or_else(|| Instant::now() + FOR_EVER)).await };
            tokio::select! {
                answered = core.settings.routes.answer(request) => answered.map_or(Ended::NotOurs, Ended::Answered),
                () = called_off(cancelled) => if core.running.is_handing_back() { Ended::HandedBack } else { Ended::Cancelled },
                () = too_long(&mut times) => Ended::TooLong,
                () = late => Ended::Cancelled, // the requester was told by a node
            }
        }
        None => Ended::Answered(Err(Failure::new("the payload is no base64"))),
    };
    finish(&core, &sender, &topic, ended, entry).await;
    drop(permit);
}

/// Comes back a moment after the request was called off: its handler may want to notice.
async fn called_off(mut cancelled: watch::Receiver<bool>) {
    let fired = cancelled.wait_for(|cancelled| *cancelled).await.is_ok();
    match fired {
        true => crate::worker::line::sleep(crate::worker::NOTICE).await,
        false => std::future::pending().await,
    }
}

async fn too_long(times: &mut watch::Receiver<Instant>) {
    loop {
        let until = *times.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            Ok(()) = times.changed() => {}
        }
    }
}

async fn finish(core: &Core, sender: &Sender, topic: &str, ended: Ended, entry: Option<Entry>) {
    let counts = &core.counts;
    let mut response = sender.response();
    let parts = sender.parts.load(Relaxed);
    response.part = (parts > 0).then_some(parts);
    let mut pipeline = redis::pipe();
    let failed = |response: &mut ResponseMessage, code: &str, failure: Failure| {
        counts.failed.fetch_add(1, Relaxed);
        if let Some(told) = &core.settings.on_error {
            told(topic, &failure);
        }
        response.error = Some(ErrorMessage { code: code.to_owned(), message: failure.message });
    };
    match ended {
        Ended::Answered(Ok(reply)) => {
            counts.answered.fetch_add(1, Relaxed);
            fill(&mut response, reply);
        }
        // A handler that was called off had no other way to end: it is no failure.
        Ended::Answered(Err(_)) if entry.is_some() && core.running.is_handing_back() => {
            if let Some(entry) = &entry {
                super::stream::give_back(core, entry).await;
            }
            return;
        }
        Ended::Answered(Err(failure)) => match &entry {
            Some(entry) if failure.retry && entry.attempt < core.settings.max_attempts => {
                counts.retried.fetch_add(1, Relaxed);
                return super::stream::hand_back(core, entry).await;
            }
            Some(entry) if failure.retry => {
                super::stream::bury(core, &mut pipeline, entry, &failure.message);
                failed(&mut response, "worker-failed", failure);
            }
            _ => failed(&mut response, "worker-failed", failure),
        },
        Ended::TooLong => failed(&mut response, "timeout", Failure::new("the handler took too long")),
        Ended::Cancelled => {
            counts.cancelled.fetch_add(1, Relaxed);
            response.drop = true;
        }
        Ended::HandedBack => match &entry {
            Some(entry) => return super::stream::give_back(core, entry).await,
            // What was on the channel is not heard again.
            None => failed(&mut response, "worker-failed", Failure::new("the worker has ended")),
        },
        Ended::NotOurs => {
            if let Some(entry) = entry {
                super::stream::skip(core, &entry.id).await;
            }
            return;
        }
    }
    sender.add(&mut pipeline, &response);
    let claim = async {
        if entry.is_none() {
            super::channel::let_go(core, &sender.correlation_id).await;
        }
    };
    if let Some(entry) = &entry {
        super::stream::done(core, &mut pipeline, &entry.id);
    }
    // Beside each other: in a Cluster they may be in two places.
    let (sent, ()) = tokio::join!(core.line.insist(&pipeline), claim);
    if let Err(error) = sent {
        tracing::warn!(%error, topic, "an answer was refused");
    }
}
