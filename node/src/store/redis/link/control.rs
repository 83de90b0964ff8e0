//! The connection for functions and reads: each command by itself, in whatever order they come.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{LinkError, is_read_only};
use super::lane::NotDone;
use super::target::Target;
use super::wire::Wire;

/// The callers' side.
#[derive(Debug)]
pub(super) struct Control {
    line: watch::Receiver<Option<Line>>,
    target: Arc<Target>,
}

/// The connection as callers see it.
#[derive(Clone, Debug)]
struct Line {
    redis: MultiplexedConnection,
    /// A caller rings when this connection is of no use any more; of its own, so that nobody complains of the next one.
    suspected: Arc<Notify>,
}

impl Control {
    /// Gives the connection to a task that makes it again whenever it is lost, until every `Control` is gone.
    /// Without a connection it begins by making one.
    pub(super) fn start(wire: Option<Wire>, target: Arc<Target>) -> Control {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(keep(wire, sender, target.clone()));
        Control { line: receiver, target }
    }

    /// One reply or refusal, in twice the deadline at most. `asking`: also if the slot is only about to come to this primary.
    pub(super) async fn call(&self, cmd: &Cmd, asking: bool) -> Result<Result<Value, RedisError>, NotDone> {
        let deadline = self.target.settings().deadline;
        let mut line = self.line.clone();
        let line = match timeout(deadline, line.wait_for(Option::is_some)).await {
            Ok(Ok(line)) => line.clone(),
            Ok(Err(_)) => return Err(NotDone::Retired),
            Err(_) => None,
        };
        let Some(Line { mut redis, suspected }) = line else { return Err(NotDone::Link(LinkError::Unavailable)) };
        let durability = self.target.settings().durability;
        let send = async {
            if !asking {
                return Ok((redis.send_packed_command(cmd).await?, true));
            }
            let mut pipeline = Pipeline::with_capacity(3);
            pipeline.add_command(redis::cmd("ASKING")).add_command(cmd.clone());
            if let Some(wait) = durability.wait() {
                pipeline.add_command(wait);
            }
            let mut replies = redis.send_packed_commands(&pipeline, 0, pipeline.len()).await?.into_iter().skip(1);
            let reply = replies.next().unwrap_or_default();
            Ok((reply, replies.all(|found| matches!(found, Value::Int(found) if found as u64 >= durability.replicas()))))
        };
        let Ok(reply) = timeout(deadline, send).await else {
            suspected.notify_one();
            return Err(NotDone::Link(LinkError::Unknown));
        };
        let reply = match reply {
            Ok((_, false)) => return Err(NotDone::Link(LinkError::NotReplicated)),
            Ok((reply, true)) => reply.extract_error(),
            Err(error) => Err(error),
        };
        if reply.as_ref().is_err_and(is_read_only) {
            suspected.notify_one();
        }
        Ok(reply)
    }
}

impl Line {
    fn new(wire: &Wire) -> Line {
        Line { redis: wire.redis.clone(), suspected: Arc::default() }
    }
}

async fn keep(mut wire: Option<Wire>, lines: watch::Sender<Option<Line>>, target: Arc<Target>) {
    if wire.is_none() {
        target.health.wanted();
    }
    loop {
        let mut standing = match wire.take() {
            Some(wire) => wire,
            None => tokio::select! {
                wire = target.redial() => match wire {
                    Some(wire) => wire,
                    None => return,
                },
                () = lines.closed() => return target.health.gained(),
            },
        };
        let line = Line::new(&standing);
        lines.send_replace(Some(line.clone()));
        let why = tokio::select! {
            why = watch_over(&mut standing, &line, &target) => why,
            () = lines.closed() => return,
        };
        lines.send_replace(None);
        drop(standing); // who waits for a reply on it is told now
        target.lost(why);
    }
}

/// Returns when the connection is of no use any more, and says why.
async fn watch_over(wire: &mut Wire, line: &Line, target: &Target) -> &'static str {
    let mut redis = wire.redis.clone();
    loop {
        let ping_at = Instant::now() + target.settings().ping_after;
        tokio::select! {
            () = wire.closed() => return "the connection was closed",
            () = line.suspected.notified() => return "no answer in time, or it is a replica now",
            () = tokio::time::sleep_until(ping_at) => {}
        }
        match timeout_at(Instant::now() + target.settings().deadline, redis.send_packed_command(&cmd("PING"))).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return "the connection was closed",
            Err(_) => return "no answer in time",
        }
    }
}
