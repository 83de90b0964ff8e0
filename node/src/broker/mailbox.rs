//! Where the broker leaves what a connection is to send, and wakes it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytestring::ByteString;

use crate::broker::order::Ordered;
use crate::broker::presence::Presence;
use crate::hook::client::Client;
use crate::message::Message;
use crate::packet::reason::Reason;
use crate::session::Fault;
use crate::session::outbound::Delivery;
use crate::session::state::Epoch;
use crate::subscription::Grant;

/// How much may wait for one connection.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub messages_max: usize,
    pub bytes_max: usize,
}

/// A mailbox with more than this is crowded: those who fill it are held back, for a moment, from reading more.
const CROWDED_MESSAGES: usize = 8192;
const CROWDED_BYTES: usize = 4 * 1024 * 1024;

/// When so many runs pile up, each is taken out of the read that it came in: a small message must not hold a large buffer for long.
const PILE: usize = 64;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Taken,
    /// Added, and the publisher should wait for [`Mailbox::poll_room`] before it reads more.
    Crowded,
    /// The bound is reached: nothing was added.
    Full,
    /// No connection is there to take it.
    Offline,
}

/// Of the Sessions that a node knows in a cluster most were never connected to it: for those this is a pointer to nothing.
#[derive(Debug, Default)]
pub struct Mailbox(OnceLock<Box<Opened>>);

/// A mailbox that a connection has, or had.
#[derive(Debug, Default)]
struct Opened {
    online: AtomicBool,
    state: Mutex<State>,
}

/// Whose Session it is, as far as this node knows.
#[derive(Clone, Debug, Default)]
pub(super) enum Owner {
    #[default]
    Unknown,
    Here(Arc<Client>),
    /// It was here, and had this User Name.
    Left(Option<ByteString>),
}

#[derive(Debug, Default)]
struct State {
    /// The epoch of the connection that may take the mail.
    epoch: Epoch,
    owner: Owner,
    deliveries: VecDeque<Delivery>,
    messages: usize,
    bytes: usize,
    news: bool,
    reconsider: bool,
    orders: Vec<Ordered>,
    kicked: Option<Fault>,
    /// The Store has lost the Session of this epoch.
    lost: Option<Epoch>,
    /// Who the connection of this epoch is.
    presence: Option<Arc<Presence>>,
    waker: Option<Waker>,
    /// Publishers that wait for room.
    waiting: Vec<Waker>,
    /// One of them waited in vain: nobody waits again before mail is taken.
    hopeless: bool,
}

impl State {
    fn is_crowded(&self) -> bool {
        self.messages > CROWDED_MESSAGES || self.bytes > CROWDED_BYTES
    }
}

/// What a connection finds in its mailbox.
#[derive(Debug, Default)]
pub struct Mail {
    pub deliveries: VecDeque<Delivery>,
    /// The Store has something new in the queue of this Session.
    pub news: bool,
    /// What this Client may do has changed.
    pub reconsider: bool,
    /// The connection must end.
    pub kicked: Option<Fault>,
}

pub(super) const TAKEN_OVER: Fault = Fault::new(Reason::SESSION_TAKEN_OVER, "another connection uses this Client Identifier");

impl Mailbox {
    pub fn is_online(&self) -> bool {
        self.0.get().is_some_and(|opened| opened.online.load(Ordering::Acquire))
    }

    /// Whether a connection has the mailbox that is not about to be ended.
    pub fn is_welcoming(&self) -> bool {
        self.is_online() && self.lock().is_some_and(|state| state.kicked.is_none())
    }

    /// Of the connection that has the mailbox, or had it last; 0: none had.
    pub fn epoch(&self) -> Epoch {
        self.lock().map_or(0, |state| state.epoch)
    }

    /// Whether the connection that has the mailbox has this epoch or a later one.
    pub fn is_online_since(&self, epoch: Epoch) -> bool {
        self.lock().is_some_and(|state| self.is_online() && state.epoch >= epoch)
    }

    pub(super) fn owner(&self) -> Owner {
        self.lock().map_or(Owner::Unknown, |state| state.owner.clone())
    }

    /// Gives the mailbox to the connection of this epoch; an earlier one finds that it was taken over. False when a later one has it.
    pub fn attach(&self, epoch: Epoch, client: Arc<Client>) -> bool {
        let opened = self.0.get_or_init(Box::default);
        let mut state = opened.lock();
        if state.epoch > epoch {
            return false;
        }
        let earlier = std::mem::replace(&mut *state, State { epoch, owner: Owner::Here(client), ..State::default() });
        opened.online.store(true, Ordering::Release);
        drop(state);
        earlier.waker.into_iter().chain(earlier.waiting).for_each(Waker::wake);
        true
    }

    /// The connection of this epoch has ended; what it did not take is returned.
    pub fn detach(&self, epoch: Epoch) -> VecDeque<Delivery> {
        let Some(opened) = self.0.get() else { return VecDeque::new() };
        let mut state = opened.lock();
        if state.epoch != epoch {
            return VecDeque::new();
        }
        let owner = match &state.owner {
            Owner::Here(client) => Owner::Left(client.user.clone()),
            other => other.clone(),
        };
        opened.online.store(false, Ordering::Release);
        let earlier = std::mem::replace(&mut *state, State { epoch, owner, ..State::default() });
        drop(state);
        earlier.waiting.into_iter().for_each(Waker::wake);
        earlier.deliveries
    }

    /// Shows who the connection of this epoch is, until it has left.
    pub fn show(&self, epoch: Epoch, presence: Arc<Presence>) {
        if let Some(mut state) = self.lock().filter(|state| state.epoch == epoch && self.is_online()) {
            state.presence = Some(presence);
        }
    }

    /// Who is connected, and how many messages and bytes wait for it here.
    pub fn presence(&self) -> Option<(Arc<Presence>, usize, usize)> {
        let state = self.lock()?;
        Some((state.presence.clone()?, state.messages, state.bytes))
    }

    pub fn push(&self, mut delivery: Delivery, bounds: Bounds) -> Pushed {
        let Some(mut state) = self.lock().filter(|_| self.is_online()) else { return Pushed::Offline };
        let messages = state.messages + delivery.run.messages().len();
        let bytes = state.bytes + delivery.run.bytes();
        // One run always fits, however large: the bound is on what piles up.
        if (messages > bounds.messages_max || bytes > bounds.bytes_max) && !state.deliveries.is_empty() {
            return Pushed::Full;
        }
        (state.messages, state.bytes) = (messages, bytes);
        if state.deliveries.len() >= PILE {
            delivery.run = Arc::new(delivery.run.compact());
        }
        state.deliveries.push_back(delivery);
        let pushed = if state.is_crowded() && !state.hopeless { Pushed::Crowded } else { Pushed::Taken };
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        pushed
    }

    /// Ready when no connection has the mailbox.
    pub fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut state) = self.lock().filter(|_| self.is_online()) else { return Poll::Ready(()) };
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// A publisher waited long enough.
    pub fn give_up(&self) {
        self.tell_quietly(|state| state.hopeless = true);
    }

    /// Ready when the mailbox is not crowded (any more).
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut state) = self.lock().filter(|state| state.is_crowded()) else { return Poll::Ready(()) };
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Says that the Store has news for the Session.
    pub fn ring(&self) {
        self.tell(|state| state.news = true);
    }

    /// Says that what the Client may do has changed.
    pub fn reconsider(&self) {
        self.tell(|state| state.reconsider = true);
    }

    /// Something for the connection to do for its Client; it looks when it reconsiders.
    pub fn order(&self, order: Ordered) {
        self.tell(|state| {
            state.orders.push(order);
            state.reconsider = true;
        });
    }

    /// What the connection of this epoch is to do.
    pub fn take_orders(&self, epoch: Epoch) -> Vec<Ordered> {
        let state = self.lock().filter(|state| state.epoch == epoch);
        state.map(|mut state| std::mem::take(&mut state.orders)).unwrap_or_default()
    }

    /// The first messages that wait, each with what it is granted.
    pub fn first(&self, limit: usize) -> Vec<(Message, Grant)> {
        let Some(state) = self.lock() else { return Vec::new() };
        let messages = |delivery: &Delivery| {
            let grant = delivery.grant.clone();
            delivery.run.messages().iter().take(limit).map(move |message| (message.clone(), grant.clone())).collect::<Vec<_>>()
        };
        state.deliveries.iter().flat_map(messages).take(limit).collect()
    }

    /// Ends the connection that has the mailbox. The first reason is the one that it is told.
    pub fn kick(&self, fault: Fault) {
        self.tell(|state| {
            state.kicked.get_or_insert(fault);
        });
    }

    /// Ends the connection that has the mailbox if its epoch is older than this.
    pub fn kick_before(&self, epoch: Epoch) {
        self.tell(|state| {
            if state.epoch < epoch {
                state.kicked.get_or_insert(TAKEN_OVER);
            }
        });
    }

    /// Ends the connection of this epoch, if it still has the mailbox.
    pub fn kick_at(&self, epoch: Epoch, fault: Fault) {
        self.tell(|state| {
            if state.epoch == epoch {
                state.kicked.get_or_insert(fault);
            }
        });
    }

    /// The same because the Store has lost the Session of this epoch.
    pub(super) fn lose(&self, epoch: Epoch, fault: Fault) {
        self.tell_quietly(|state| state.lost = Some(epoch));
        self.kick_at(epoch, fault);
    }

    pub(super) fn is_lost(&self, epoch: Epoch) -> bool {
        self.lock().is_some_and(|state| state.lost == Some(epoch))
    }

    fn tell_quietly(&self, change: impl FnOnce(&mut State)) {
        if let Some(mut state) = self.lock() {
            change(&mut state);
        }
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let Some(mut state) = self.lock() else { return };
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ready when there is something for the connection of this epoch. `open` is false while it can take no deliveries.
    pub fn poll_ready(&self, epoch: Epoch, open: bool, context: &mut Context<'_>) -> Poll<()> {
        let Some(mut state) = self.lock() else { return Poll::Pending };
        if state.epoch != epoch || state.kicked.is_some() || state.news || state.reconsider || (open && !state.deliveries.is_empty()) {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Takes what is there; deliveries only when `open`.
    pub fn take(&self, epoch: Epoch, open: bool) -> Mail {
        let Some(mut state) = self.lock().filter(|state| state.epoch == epoch) else {
            return Mail { kicked: Some(TAKEN_OVER), ..Mail::default() };
        };
        let mut mail = Mail {
            news: std::mem::take(&mut state.news),
            reconsider: std::mem::take(&mut state.reconsider),
            kicked: state.kicked,
            ..Mail::default()
        };
        if open {
            mail.deliveries = std::mem::take(&mut state.deliveries);
            (state.messages, state.bytes, state.hopeless) = (0, 0, false);
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
        mail
    }

    /// Nothing where no connection ever was.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.0.get().map(|opened| opened.lock())
    }
}

impl Opened {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
