//! How a node lets go of its clients: it is not ready any more, takes no more connections, then sends everybody away, a few at a time; or only some, because
//! others have more room.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::broker::Broker;
use crate::broker::roster::Subscriber;
use crate::metrics::Metrics;
use crate::packet::reason::Reason;
use crate::session::Fault;
use crate::time::Span;

/// Between two handfuls of clients that are sent away.
const TICK: Duration = Duration::from_millis(100);

/// At least so many leave with each tick, however long the drain may take: for a few there is nothing to spread.
const HANDFUL: usize = 20;

/// How long clients that were told may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a node is drained.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// It says that it is not ready, and still takes connections.
    pub grace: Duration,
    /// Its clients are sent away over this time.
    pub time: Duration,
    /// A will whose Session can go on elsewhere waits at least so long.
    pub wills_wait: Span,
    /// Clients are told that the Server has moved for good.
    pub moved: bool,
}

/// What a node is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Running,
    /// Not ready: whoever sends clients here shall stop. They are still taken.
    Leaving,
    /// Clients are sent away, and no more are taken.
    Draining,
    /// Nobody is left.
    Drained,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Running => "running",
            Stage::Leaving => "leaving",
            Stage::Draining => "draining",
            Stage::Drained => "drained",
        }
    }
}

#[derive(Debug)]
pub struct Life {
    settings: Settings,
    stage: watch::Sender<Stage>,
    hurry: watch::Sender<bool>,
    /// One drain at a time; the next finds nobody.
    drains: Arc<Mutex<()>>,
}

impl Life {
    pub fn new(settings: Settings) -> Life {
        Life { settings, stage: watch::Sender::new(Stage::Running), hurry: watch::Sender::new(false), drains: Arc::default() }
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    pub fn takes_connections(&self) -> bool {
        self.stage() < Stage::Draining
    }

    /// From now on nothing is spread over time.
    pub fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// The grace is over, or somebody is in a hurry, or the drain was called off.
    async fn grace(&self) {
        let (mut hurry, mut stage) = (self.hurry.subscribe(), self.stage.subscribe());
        let _ = tokio::time::timeout(self.settings.grace, async {
            tokio::select! {
                _ = hurry.wait_for(|hurry| *hurry) => (),
                _ = stage.wait_for(|stage| *stage != Stage::Leaving) => (),
            }
        })
        .await;
    }

    /// Moves on unless the drain was called off.
    fn advance(&self, from: Stage, to: Stage) -> bool {
        self.stage.send_if_modified(|stage| {
            let goes_on = *stage == from;
            if goes_on {
                *stage = to;
            }
            goes_on
        })
    }
}

impl Broker {
    /// How long a will has to wait at the end of a connection that ended for this reason: the client of a Session that can go on at
    /// another node was sent away, and is not lost before it had time to come there (section 3.1.2.5 lets a Server defer it).
    pub fn will_waits(&self, sent_away: bool) -> Span {
        let can_go_on = sent_away && self.store().is_shared();
        if can_go_on { self.life.settings.wills_wait } else { Span(0) }
    }

    /// Why clients are sent away.
    pub fn farewell(&self) -> Fault {
        match (&self.settings.server_reference, self.life.settings.moved) {
            (None, _) => Fault::new(Reason::SERVER_SHUTTING_DOWN, "this Server is shutting down"),
            (Some(_), false) => Fault::new(Reason::USE_ANOTHER_SERVER, "this Server is shutting down; another one is there"),
            (Some(_), true) => Fault::new(Reason::SERVER_MOVED, "this Server has moved"),
        }
    }

    /// Not ready from now on. False: somebody else has begun.
    pub fn begin_drain(&self) -> bool {
        let begins = self.life.advance(Stage::Running, Stage::Leaving);
        if begins {
            tracing::info!(grace_s = self.life.settings.grace.as_secs(), "not ready any more");
        }
        begins
    }

    /// Not ready, for the grace; then no connection is taken any more. False: it was called off meanwhile.
    pub async fn leave(&self) -> bool {
        self.begin_drain();
        self.life.grace().await;
        self.life.advance(Stage::Leaving, Stage::Draining) || self.life.stage() > Stage::Leaving
    }

    /// Sends everybody away, a few at a time, and comes back when all have gone or were given up. False: it was called off meanwhile.
    pub async fn send_away(&self) -> bool {
        let _one = self.life.drains.lock().await;
        if !self.tell(self.roster.online(), self.farewell(), |stage| stage >= Stage::Draining).await {
            return false;
        }
        let mut tick = ticks();
        let left = tokio::time::timeout(PATIENCE, async {
            // Also those that were in the middle of their CONNECT.
            loop {
                let online = self.roster.online();
                if online.is_empty() || self.life.stage() < Stage::Draining {
                    return;
                }
                online.iter().for_each(|subscriber| subscriber.mailbox.kick(self.farewell()));
                tick.tick().await;
            }
        });
        if left.await.is_err() {
            tracing::warn!(connections = self.roster.online().len(), "clients did not leave in time");
        }
        self.life.advance(Stage::Draining, Stage::Drained) || self.life.stage() == Stage::Drained
    }

    /// Tells these clients to leave, a few at a time. False: the stage is none any more at which they are to.
    async fn tell(&self, mut waiting: Vec<Arc<Subscriber>>, why: Fault, goes_on: impl Fn(Stage) -> bool) -> bool {
        let handfuls = (self.life.settings.time.as_millis() / TICK.as_millis()).max(1) as usize;
        let handful = waiting.len().div_ceil(handfuls).max(HANDFUL);
        if !waiting.is_empty() {
            tracing::info!(connections = waiting.len(), seconds = waiting.len().div_ceil(handful) as f64 / 10.0, "sending clients away");
        }
        let mut tick = ticks();
        while !waiting.is_empty() {
            tick.tick().await;
            if !goes_on(self.life.stage()) {
                return false;
            }
            let now = if *self.life.hurry.borrow() { waiting.len() } else { handful.min(waiting.len()) };
            let told = waiting.split_off(waiting.len() - now);
            Metrics::add(&self.metrics.clients_sent_away, told.len() as u64);
            told.iter().for_each(|subscriber| subscriber.mailbox.kick(why));
        }
        true
    }

    /// Begins to send so many clients away, though others are taken: other nodes have more room. False: it sends clients away already.
    pub fn begin_to_make_room(self: &Arc<Broker>, clients: usize) -> bool {
        let Ok(one) = self.life.drains.clone().try_lock_owned() else { return false };
        let broker = self.clone();
        tokio::spawn(async move {
            let mut surplus = broker.roster.online();
            surplus.truncate(clients);
            let why = Fault::new(Reason::USE_ANOTHER_SERVER, "other nodes have more room");
            broker.tell(surplus, why, |stage| stage == Stage::Running).await;
            drop(one);
        });
        true
    }

    /// Both, for a node that stays. False: it was called off.
    pub async fn drain(&self) -> bool {
        self.leave().await && self.send_away().await
    }

    /// Takes connections again.
    pub fn call_off_drain(&self) {
        self.life.stage.send_replace(Stage::Running);
        tracing::info!("taking connections again");
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether a connection that ended for this reason was sent to another node.
pub fn sends_away(reason: Reason) -> bool {
    [Reason::SERVER_SHUTTING_DOWN, Reason::USE_ANOTHER_SERVER, Reason::SERVER_MOVED].contains(&reason)
}
