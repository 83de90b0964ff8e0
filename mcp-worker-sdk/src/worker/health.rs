//! That a worker lives, told where nodes look; and the clock of Redis, by which deadlines are meant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::Instant;

use crate::error::Error;
use crate::wire::WorkerMessage;
use crate::worker::line::{Line, sleep};
use crate::worker::{Core, Delivery};

/// How often a worker says that it lives, and for how long that is believed.
const BEAT: Duration = Duration::from_secs(3);
const BELIEVED: Duration = Duration::from_secs(10);

/// The clock of Redis, reckoned from that of this process.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// What it was then, in ms since 1970.
    started_ms: AtomicU64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { started: Instant::now(), started_ms: AtomicU64::new(0) }
    }
}

impl Clock {
    pub(crate) async fn set(&self, line: &Line) -> Result<(), Error> {
        let (seconds, micros): (u64, u64) = line.ask(cmd("TIME")).await?;
        let now = seconds * 1000 + micros / 1000;
        self.started_ms.store(now.saturating_sub(self.started.elapsed().as_millis() as u64), Relaxed);
        Ok(())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.started_ms.load(Relaxed) + self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn instant(&self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms.saturating_sub(self.started_ms.load(Relaxed)))
    }
}

/// Says that this worker lives.
pub(crate) async fn tell(core: &Core) -> Result<(), Error> {
    let settings = &core.settings;
    let stats = core.stats();
    let message = WorkerMessage {
        name: settings.name.clone(),
        group: settings.group.clone(),
        filters: settings.routes.filters().map(str::to_owned).collect(),
        lane: if settings.delivery == Delivery::Stream { "stream" } else { "channel" }.to_owned(),
        concurrency: settings.concurrency,
        running: stats.running,
        answered: stats.answered,
        failed: stats.failed,
    };
    let key = settings.health_key.clone().unwrap_or_else(|| settings.names.worker(&settings.name));
    let json = serde_json::to_string(&message).unwrap_or_default();
    // One by one: in a Cluster they may be in two places.
    core.line.ask::<Value>(cmd("SET").arg(key).arg(json).arg("PX").arg(BELIEVED.as_millis() as u64).take()).await?;
    if settings.delivery == Delivery::Stream {
        // Those on the channel are counted as its subscribers.
        let until = core.clock.now_ms() + BELIEVED.as_millis() as u64;
        core.line.ask::<Value>(cmd("ZADD").arg(settings.names.workers()).arg(until).arg(&settings.name).take()).await?;
    }
    Ok(())
}

pub(crate) async fn run(core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    loop {
        tokio::select! {
            () = sleep(BEAT) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        if core.clock.set(&core.line).await.is_ok()
            && let Err(error) = tell(&core).await
        {
            tracing::debug!(%error, "nobody knows that this worker lives");
        }
    }
}

/// Says that this worker takes nothing any more.
pub(crate) async fn leave(core: &Core) {
    let settings = &core.settings;
    let key = settings.health_key.clone().unwrap_or_else(|| settings.names.worker(&settings.name));
    for command in [cmd("ZREM").arg(settings.names.workers()).arg(&settings.name).take(), cmd("DEL").arg(key).take()] {
        let _ = core.line.ask::<Value>(command).await; // it is forgotten by itself
    }
}
