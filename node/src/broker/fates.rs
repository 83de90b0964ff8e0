//! Traces: somebody wants to know what becomes of messages. A flag says whether anybody does; nothing else is looked at when nobody does.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::Broker;
use crate::broker::mailbox::Pushed;
use crate::broker::roster::Subscriber;
use crate::fate::{Note, Step, Subject, Trace, Watch, Watches, Why};
use crate::message::{Message, Run};
use crate::packet::QoS;
use crate::packet::connect::ClientId;
use crate::session::outbound::Delivery;
use crate::store::{Write, Written};
use crate::time::{Span, Time};

/// Traces that a node keeps at a time.
pub const TRACES_MAX: usize = 16;

/// A trace that nobody asks for any more ends after this time.
const LEASE: Span = Span::seconds(10);

#[derive(Debug, Default)]
pub struct Fates {
    on: AtomicBool,
    traces: Mutex<Vec<Trace>>,
}

/// What was noted since the last time.
#[derive(Debug)]
pub struct Noted {
    pub notes: Vec<Note>,
    /// Beyond the bound; they are only counted.
    pub lost: u64,
}

impl Fates {
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// What is followed, if anything is. What nobody has asked for lately ends here.
    pub fn watches(&self, now: Time) -> Option<Watches> {
        if !self.is_on() {
            return None;
        }
        let mut traces = self.traces();
        traces.retain(|trace| trace.until > now);
        self.on.store(!traces.is_empty(), Relaxed);
        (!traces.is_empty()).then(|| traces.iter().map(|trace| trace.watch.clone()).collect())
    }

    /// Begins the trace of this name, or goes on with it: whoever follows it comes back in less than ten seconds. `None`: as many as may be
    /// are followed already.
    pub fn follow(&self, id: &str, watch: &Watch, now: Time) -> Option<Noted> {
        let mut traces = self.traces();
        traces.retain(|trace| trace.until > now || trace.id == id);
        if let Some(trace) = traces.iter_mut().find(|trace| trace.id == id) {
            trace.until = now + LEASE;
            let (notes, lost) = trace.take();
            return Some(Noted { notes, lost });
        }
        if traces.len() >= TRACES_MAX {
            return None;
        }
        traces.push(Trace::new(id.to_owned(), watch.clone(), now + LEASE));
        self.on.store(true, Relaxed);
        Some(Noted { notes: Vec::new(), lost: 0 })
    }

    /// For those who follow what these are about.
    pub fn add(&self, notes: &[Note]) {
        for trace in self.traces().iter_mut() {
            notes.iter().for_each(|note| trace.add(note));
        }
    }

    fn traces(&self) -> std::sync::MutexGuard<'_, Vec<Trace>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs that are to be appended to queues: for notes of what came of it.
pub(super) type Appends = Vec<Option<(ClientId, Arc<Run>)>>;

/// A delivery that is about to be handed over, and when that began.
pub(super) type Handing = Option<(Delivery, Time)>;

impl Broker {
    /// That all messages of a run came so far.
    #[inline]
    pub(super) fn note_run(&self, run: &Run, publisher: Option<&ClientId>, recipient: Option<&ClientId>, step: &Step) {
        if self.fates.is_on() {
            let now = self.clock.now();
            run.messages().iter().for_each(|message| self.note(message, publisher, recipient, step, now));
        }
    }

    pub(super) fn note(&self, message: &Message, publisher: Option<&ClientId>, recipient: Option<&ClientId>, step: &Step, at: Time) {
        let concerns = |watch: &Watch| watch.concerns([publisher, recipient], &message.topic);
        if !self.fates.watches(at).is_some_and(|watches| watches.iter().any(concerns)) {
            return;
        }
        let subject = Subject::new(&message.topic, message.qos, &message.payload, message.expires_at);
        let (publisher, recipient) = (publisher.cloned(), recipient.cloned());
        self.fates.add(&[Note { at, step: step.clone(), subject, publisher, recipient, packet_id: None }]);
    }

    /// What is about to be appended; nothing when nobody wants to know.
    pub(super) fn appends(&self, writes: &[Write]) -> Appends {
        let append = |write: &Write| match write {
            Write::Append { to, run, .. } => Some((to.clone(), run.clone())),
            _ => None,
        };
        if self.fates.is_on() { writes.iter().map(append).collect() } else { Vec::new() }
    }

    /// Of a run that found a queue nearly full some messages may be in it all the same: then they are sent.
    pub(super) fn note_appended(&self, appends: &Appends, written: &[Written], publisher: Option<&ClientId>, at: Time) {
        for (append, written) in appends.iter().zip(written) {
            let Some((to, run)) = append else { continue };
            let step = match written {
                Written::Done => Step::Queued,
                Written::QueueFull => Step::Dropped(Why::QueueFull),
                Written::StoreFull => Step::Dropped(Why::StoreFull),
                Written::NoSession => Step::Dropped(Why::NoSession),
            };
            let above = run.messages().iter().filter(|message| message.qos > QoS::AtMostOnce);
            above.for_each(|message| self.note(message, publisher, Some(to), &step, at));
        }
    }

    /// What is about to be put into a mailbox; nothing when nobody wants to know.
    pub(super) fn handing(&self, delivery: &Delivery) -> Handing {
        self.fates.is_on().then(|| (delivery.clone(), self.clock.now()))
    }

    pub(super) fn note_handed(&self, handing: Handing, pushed: Pushed, publisher: Option<&ClientId>, to: &Subscriber) {
        let Some((Delivery { run, grant }, at)) = handing else { return };
        let step = match pushed {
            Pushed::Taken | Pushed::Crowded => Step::Handed,
            Pushed::Full => Step::Dropped(Why::MailboxFull),
            Pushed::Offline => Step::Dropped(Why::Away),
        };
        // What a queue in the Store has too is noted there.
        let from_here = run.messages().iter().filter(|message| !to.is_durable() || message.qos.min(grant.qos) == QoS::AtMostOnce);
        from_here.for_each(|message| self.note(message, publisher, Some(&to.client_id), &step, at));
    }
}
