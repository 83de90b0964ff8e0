//! Group commit: one task gathers what many callers write, and sends it in batches over a connection of its own.
//!
//! What one caller hands over in one call stays together, and all calls of a lane are done in the order in which they came: batches are
//! written one after the other, and Redis does what one connection says in its order. Nothing is ever sent twice.

use std::future::Future;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::batch::{Answer, Batch, Group};
use super::error::{LinkError, is_read_only, is_redirect};
use super::settings::BATCHES_OUT_MIN;
use super::target::Target;
use super::wire::Wire;

/// A reply or a refusal for each command, in their order.
pub type Replies = Vec<Result<Value, RedisError>>;

/// What became of the commands of one call.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) replies: Replies,
    /// Those that another server has to do, by their places: they were not done here.
    pub(super) redirected: Vec<(usize, Cmd)>,
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum NotDone {
    Link(LinkError),
    /// Nothing of it was sent, and it has to go to another primary.
    Back(Vec<Cmd>),
    /// The same of a single command.
    Retired,
}

/// The callers' side.
#[derive(Debug)]
pub(super) struct Lane {
    groups: mpsc::Sender<Group>,
    target: Arc<Target>,
}

impl Lane {
    /// Gives the connection to a task that ends when every `Lane` is gone and what they wrote is done. Without one it begins by making one.
    pub(super) fn start(wire: Option<Wire>, target: Arc<Target>) -> Lane {
        let (sender, groups) = mpsc::channel(target.settings().queue_max);
        let runner = Runner { groups, waiting: Batch::default(), is_closed: false, target: target.clone() };
        tokio::spawn(runner.run(wire));
        Lane { groups: sender, target }
    }

    /// From the moment it first waits for the reply, this goes on whether or not anybody waits for it.
    /// With a generation: only while Redis is the one of that generation.
    pub(super) async fn write(&self, commands: Vec<Cmd>, generation: Option<u64>) -> Result<Answered, NotDone> {
        let deadline = Instant::now() + self.target.settings().deadline;
        let (answer, answered) = oneshot::channel();
        match timeout_at(deadline, self.groups.reserve()).await {
            Ok(Ok(place)) => place.send(Group::new(commands, deadline, generation, answer)),
            Ok(Err(_)) => return Err(NotDone::Back(commands)),
            Err(_) => return Err(NotDone::Link(LinkError::Unavailable)),
        }
        // A batch that is lost drops its callers without a word: it was sent, and nobody knows more.
        answered.await.unwrap_or(Err(NotDone::Link(LinkError::Unknown)))
    }
}

/// The lane's task.
struct Runner {
    groups: mpsc::Receiver<Group>,
    /// The batch that is being gathered.
    waiting: Batch,
    is_closed: bool,
    target: Arc<Target>,
}

/// Why the connection is of no use any more.
struct Lost(&'static str);

impl Runner {
    async fn run(mut self, mut wire: Option<Wire>) {
        if wire.is_none() {
            self.target.health.wanted();
        }
        loop {
            let Some(standing) = (match wire.take() {
                Some(wire) => Some(wire),
                None => self.redial().await,
            }) else {
                return self.give_back();
            };
            let Err(Lost(why)) = self.serve(standing).await else { return };
            self.target.lost(why);
            // They were behind writes of which nobody knows the outcome: done now, they might overtake them.
            self.refuse_all();
        }
    }

    /// The primary serves nothing any more: what waits goes to others, in its order.
    fn give_back(&mut self) {
        self.groups.close();
        std::mem::take(&mut self.waiting).give_back();
        while let Ok(group) = self.groups.try_recv() {
            group.give_back();
        }
    }

    /// Sends batches until there is nobody left to send for, or the connection is lost. Batches that are out are dropped then.
    async fn serve(&mut self, mut wire: Wire) -> Result<(), Lost> {
        let mut out = FuturesOrdered::new();
        loop {
            self.gather();
            while self.is_time_to_send(out.len()) {
                let batch = std::mem::take(&mut self.waiting);
                out.push_back(self.send(batch, &wire));
            }
            if self.is_closed && out.is_empty() {
                return Ok(());
            }
            let ping_at = Instant::now() + self.target.settings().ping_after;
            tokio::select! {
                // Batches come first: each is in line on the connection as soon as it was polled once, and they are polled in their order.
                biased;
                Some(sent) = out.next() => self.settle(sent)?,
                group = self.groups.recv(), if !self.is_full() && !self.is_closed => self.take(group),
                () = wire.closed() => return Err(Lost("the connection was closed")),
                () = sleep_until(ping_at), if out.is_empty() => out.push_back(self.send(Batch::ping(), &wire)),
            }
        }
    }

    /// Takes what callers have queued, as much as fits.
    fn gather(&mut self) {
        while !self.is_full()
            && let Ok(group) = self.groups.try_recv()
        {
            self.waiting.push(group);
        }
    }

    fn take(&mut self, group: Option<Group>) {
        match group {
            Some(group) => self.waiting.push(group),
            None => self.is_closed = true,
        }
    }

    fn is_full(&self) -> bool {
        let settings = self.target.settings();
        self.waiting.len() >= settings.batch_commands_max || self.waiting.bytes() >= settings.batch_bytes_max
    }

    /// A small batch waits for company while others are on their way. A full one gains nothing by that: when Redis answers late
    /// (`appendfsync always`), more of them on their way are what keeps it busy.
    fn is_time_to_send(&self, out: usize) -> bool {
        let max = if self.is_full() { self.target.settings().batches_out_max } else { BATCHES_OUT_MIN };
        !self.waiting.is_empty() && out < max
    }

    fn send(&self, mut batch: Batch, wire: &Wire) -> impl Future<Output = Sent> + use<> {
        batch.refuse_late(Instant::now());
        // The generation was raised before this connection was handed over, if it leads to another Redis.
        batch.refuse_stale(self.target.health.generation());
        let deadline = Instant::now() + self.target.settings().deadline;
        let mut redis = wire.redis.clone();
        let wait = self.target.settings().durability.wait();
        // Without the runtime's allowance, which may run out between two batches and let the second pass the first.
        unconstrained(async move {
            let is_confirmed = wait.is_some() && !batch.is_empty();
            let (pipeline, callers) = batch.into_parts(wait);
            let replies = match pipeline.len() {
                0 => Ok(Vec::new()),
                count => match timeout_at(deadline, redis.send_packed_commands(&pipeline, 0, count)).await {
                    Ok(replies) => replies.map_err(|_| Lost("the connection was closed")),
                    Err(_) => Err(Lost("no answer in time")),
                },
            };
            Sent { callers, pipeline, replies, is_confirmed }
        })
    }

    /// Nothing of this was sent.
    fn refuse_all(&mut self) {
        std::mem::take(&mut self.waiting).refuse();
        while let Ok(group) = self.groups.try_recv() {
            group.refuse();
        }
    }

    /// Connects. Who comes meanwhile waits, but not longer than the deadline. `None`: there is nobody or nothing left to connect for.
    async fn redial(&mut self) -> Option<Wire> {
        let target = self.target.clone();
        let mut redialed = std::pin::pin!(target.redial());
        loop {
            if self.is_closed && self.waiting.is_empty() {
                target.health.gained();
                return None;
            }
            let late_at = self.waiting.deadline();
            tokio::select! {
                wire = &mut redialed => return wire,
                group = self.groups.recv(), if !self.is_full() && !self.is_closed => self.take(group),
                () = sleep_until(late_at.unwrap_or_else(Instant::now)), if late_at.is_some() => self.waiting.refuse_late(Instant::now()),
            }
        }
    }
}

/// A batch that was sent.
struct Sent {
    /// With the number of their commands.
    callers: Vec<(usize, Answer)>,
    pipeline: Pipeline,
    replies: Result<Vec<Value>, Lost>,
    /// The last reply tells how many replicas have all before it.
    is_confirmed: bool,
}

impl Runner {
    /// Gives every caller its own replies.
    fn settle(&self, sent: Sent) -> Result<(), Lost> {
        let mut replies = sent.replies?;
        let is_replicated = !sent.is_confirmed || self.is_replicated(&replies.pop().unwrap_or_default());
        let mut replies = replies.into_iter().map(Value::extract_error);
        let mut commands = sent.pipeline.cmd_iter();
        let mut is_replica = false;
        for (count, answer) in sent.callers {
            let replies: Replies = replies.by_ref().take(count).collect();
            is_replica |= replies.iter().any(|reply| reply.as_ref().is_err_and(is_read_only));
            let own = commands.by_ref().take(count).zip(&replies).enumerate();
            let redirected = own.filter(|(_, (_, reply))| reply.as_ref().is_err_and(is_redirect)).map(|(at, (cmd, _))| (at, cmd.clone()));
            let redirected = redirected.collect();
            let answered = if is_replicated { Ok(Answered { replies, redirected }) } else { Err(NotDone::Link(LinkError::NotReplicated)) };
            let _ = answer.send(answered); // the caller may have gone; what it asked for is done all the same
        }
        if is_replica { Err(Lost("it is a replica now")) } else { Ok(()) }
    }

    fn is_replicated(&self, reply: &Value) -> bool {
        let (found, wanted) = (if let Value::Int(count) = reply { *count as u64 } else { 0 }, self.target.settings().durability.replicas());
        self.target.health.note_replicas(found, wanted);
        found >= wanted
    }
}
