//! One Session as the store holds it, and what the steps of its life make of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::queue::Queue;
use crate::packet::PacketId;
use crate::packet::subscribe::SubscriptionOptions;
use crate::session::state::{Epoch, Sequence, State, Will};
use crate::store::{Close, Lease, Open};
use crate::subscription::{Selector, Subscription};
use crate::time::{Span, Time};

/// Small when the Session ends with its connection: most of them do.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) epoch: Epoch,
    pub(super) hold: Hold,
    /// Session Expiry Interval of the present or last connection; `None`: never.
    pub(super) expiry: Option<Span>,
    pub(super) will: Option<Box<Will>>,
    /// `None` when the Session was new with an expiry of zero.
    pub(super) durable: Option<Box<Durable>>,
}

/// In whose hands a Session is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hold {
    /// It has ended, or not begun: whoever still holds the record must leave it alone.
    Gone,
    Owned,
    Offline(Waiting),
}

/// The times of a Session without a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// When the Session expires; `None`: never.
    pub(super) ends_at: Option<Time>,
    /// When its will is due; `None` when there is none.
    pub(super) will_at: Option<Time>,
    /// Where the index of what is due has them: later than the above while somebody has a lease on them.
    pub(super) end_key: Option<Time>,
    /// `None` too when the will goes with the end of the Session.
    pub(super) will_key: Option<Time>,
}

/// What outlives a Network Connection.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) subscriptions: BTreeMap<Selector, (SubscriptionOptions, Option<u32>)>,
    pub(super) queue: Queue,
    /// The last sequence that was given to a message.
    pub(super) last: Sequence,
    /// The last sequence that an earlier connection may have sent.
    pub(super) sent: Sequence,
    /// The last sequence that was read from the queue: a connection that is taken over may have sent all of them.
    pub(super) handed: Sequence,
    pub(super) received: BTreeSet<PacketId>,
    /// In the order of their PUBREC.
    pub(super) released: VecDeque<Sequence>,
}

/// What an `open` finds.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) resumed: bool,
    pub(super) was_owned: bool,
    pub(super) due_will: Option<Will>,
    /// What was left of the Session that ended by it.
    pub(super) ended: Option<Box<Durable>>,
}

impl Record {
    pub(super) fn new() -> Record {
        Record { epoch: 0, hold: Hold::Gone, expiry: None, will: None, durable: None }
    }

    pub(super) fn is_owned_by(&self, lease: &Lease) -> bool {
        self.epoch == lease.epoch && matches!(self.hold, Hold::Owned)
    }

    /// Takes the record for a new connection. `base` is below every sequence of a Session that begins by this.
    pub(super) fn take(&mut self, open: Open, epoch: Epoch, base: Sequence, now: Time) -> Taken {
        let before = std::mem::replace(&mut self.hold, Hold::Owned);
        let resumed = match before {
            Hold::Gone => false,
            // A Session with an expiry of zero ends with its connection, which ends here.
            Hold::Owned => !open.clean_start && self.expiry != Some(Span(0)),
            Hold::Offline(waiting) => !open.clean_start && !waiting.has_ended(now),
        };
        let due_will = self.will.take().filter(|will| match before {
            Hold::Gone => false,
            // A delayed will is void when the Session goes on, for the new connection comes before the delay has passed.
            Hold::Owned => !resumed || will.delay == Span(0),
            Hold::Offline(waiting) => !resumed || waiting.will_at.is_some_and(|at| at <= now),
        });
        let was_owned = matches!(before, Hold::Owned);
        let mut ended = None;
        if resumed {
            self.durable.iter_mut().for_each(|durable| durable.take_over(was_owned));
        } else {
            ended = self.durable.take();
            self.durable = (open.expiry != Some(Span(0))).then(|| Box::new(Durable::new(base)));
        }
        self.epoch = epoch;
        self.expiry = open.expiry;
        // A copy, for a will is a slice of the buffer that its CONNECT was read into.
        self.will = open.will.map(|will| Box::new(Will { message: will.message.compact(), ..will }));
        Taken { resumed, was_owned, due_will: due_will.map(|will| *will), ended }
    }

    /// Lets go of the record at the end of a connection; the will when it is due at once. `hold` says whether the Session has ended.
    pub(super) fn let_go(&mut self, close: Close, now: Time) -> Option<Will> {
        // What began with an expiry of zero cannot be made to last at its end (section 3.14.2.2.2).
        let expiry = if self.expiry == Some(Span(0)) || self.durable.is_none() { Some(Span(0)) } else { close.expiry };
        let will = self.will.take().filter(|_| close.keep_will);
        let delay = |will: &Will| will.delay.max(close.will_waits);
        if expiry == Some(Span(0)) {
            self.hold = Hold::Gone;
            return will.map(|will| *will);
        }
        self.expiry = expiry;
        if let Some(durable) = &mut self.durable {
            durable.sent = durable.sent.max(close.sent.min(durable.last));
        }
        let ends_at = expiry.map(|expiry| now + expiry);
        let mut waiting = Waiting { ends_at, will_at: None, end_key: ends_at, will_key: None };
        let (later, at_once) = will.into_iter().partition::<Vec<_>, _>(|will| delay(will) > Span(0));
        if let Some(will) = later.into_iter().next() {
            let at = now + delay(&will);
            waiting.will_key = Some(at).filter(|at| ends_at.is_none_or(|end| *at < end));
            waiting.will_at = waiting.will_key.or(ends_at);
            self.will = Some(will);
        }
        self.hold = Hold::Offline(waiting);
        at_once.into_iter().next().map(|will| *will)
    }

    /// What takes messages at this moment: nothing once the Session has expired, even if nobody has purged it yet.
    pub(super) fn durable_at(&mut self, now: Time) -> Option<&mut Durable> {
        match self.hold {
            Hold::Gone => None,
            Hold::Offline(waiting) if waiting.has_ended(now) => None,
            _ => self.durable.as_deref_mut(),
        }
    }
}

impl Waiting {
    pub(super) fn has_ended(&self, now: Time) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }
}

impl Durable {
    fn new(base: Sequence) -> Durable {
        Durable {
            subscriptions: BTreeMap::new(),
            queue: Queue::default(),
            last: base,
            sent: base,
            handed: base,
            received: BTreeSet::new(),
            released: VecDeque::new(),
        }
    }

    fn take_over(&mut self, was_owned: bool) {
        if was_owned {
            self.sent = self.sent.max(self.handed);
        }
        self.handed = self.sent;
    }

    pub(super) fn state(&self) -> State {
        let subscription = |(selector, (options, id)): (&Selector, &(SubscriptionOptions, Option<u32>))| Subscription {
            selector: selector.clone(),
            options: *options,
            id: *id,
        };
        State {
            subscriptions: self.subscriptions.iter().map(subscription).collect(),
            received: self.received.iter().copied().collect(),
            released: self.released.iter().copied().collect(),
            sent: self.sent,
        }
    }

    pub(super) fn selectors(&self) -> Vec<Selector> {
        self.subscriptions.keys().cloned().collect()
    }
}
