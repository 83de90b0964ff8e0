//! The connection for functions and reads: each command by itself, in whatever order they come.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value, cmd};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{LinkError, is_read_only};
use super::health::Health;
use super::wire::Wire;

/// The callers' side.
#[derive(Debug)]
pub(super) struct Control {
    line: watch::Receiver<Option<Line>>,
    health: Arc<Health>,
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
    pub(super) fn start(wire: Wire, health: Arc<Health>) -> Control {
        let line = Line::new(&wire);
        let (sender, receiver) = watch::channel(Some(line.clone()));
        tokio::spawn(keep(wire, line, sender, health.clone()));
        Control { line: receiver, health }
    }

    /// One reply, in twice the deadline at most.
    pub(super) async fn call(&self, cmd: &Cmd) -> Result<Value, LinkError> {
        let deadline = self.health.settings.deadline;
        let mut line = self.line.clone();
        let found = timeout(deadline, line.wait_for(Option::is_some)).await;
        let line = found.ok().and_then(Result::ok).and_then(|line| line.clone());
        let Some(Line { mut redis, suspected }) = line else { return Err(LinkError::Unavailable) };
        let reply = match timeout(deadline, redis.send_packed_command(cmd)).await {
            Ok(reply) => reply.and_then(Value::extract_error),
            Err(_) => {
                suspected.notify_one();
                return Err(LinkError::Unknown);
            }
        };
        if reply.as_ref().is_err_and(is_read_only) {
            suspected.notify_one();
        }
        reply.map_err(LinkError::from)
    }
}

impl Line {
    fn new(wire: &Wire) -> Line {
        Line { redis: wire.redis.clone(), suspected: Arc::default() }
    }
}

async fn keep(mut wire: Wire, mut line: Line, lines: watch::Sender<Option<Line>>, health: Arc<Health>) {
    loop {
        let why = tokio::select! {
            why = watch_over(&mut wire, &line, &health) => why,
            () = lines.closed() => return,
        };
        lines.send_replace(None);
        drop(wire); // who waits for a reply on it is told now
        health.lost(why);
        wire = tokio::select! {
            wire = health.redial() => wire,
            () = lines.closed() => return,
        };
        line = Line::new(&wire);
        lines.send_replace(Some(line.clone()));
    }
}

/// Returns when the connection is of no use any more, and says why.
async fn watch_over(wire: &mut Wire, line: &Line, health: &Health) -> &'static str {
    let mut redis = wire.redis.clone();
    loop {
        let ping_at = Instant::now() + health.settings.ping_after;
        tokio::select! {
            () = wire.closed() => return "the connection was closed",
            () = line.suspected.notified() => return "no answer in time, or it is a replica now",
            () = tokio::time::sleep_until(ping_at) => {}
        }
        match timeout_at(Instant::now() + health.settings.deadline, redis.send_packed_command(&cmd("PING"))).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return "the connection was closed",
            Err(_) => return "no answer in time",
        }
    }
}
