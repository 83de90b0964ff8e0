//! A worker: takes requests from Redis, has them answered, sends the answers.

mod address;
mod builder;
mod channel;
mod health;
mod job;
pub(crate) mod line;
mod stream;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

pub use builder::{Delivery, WorkerBuilder};

use crate::error::{Error, Kind};
use builder::Settings;
use job::Running;
use line::Line;

/// How long a handler that is called off may take to notice, before it is dropped.
const NOTICE: Duration = Duration::from_millis(200);

/// How long handing back may take at the end, after the notice.
const HAND_BACK: Duration = Duration::from_secs(2);

/// Answers requests. See [`Worker::builder`].
#[derive(Debug)]
pub struct Worker {
    core: Arc<Core>,
}

/// What the tasks of a worker share.
pub(crate) struct Core {
    settings: Settings,
    line: Line,
    permits: Arc<Semaphore>,
    running: Running,
    clock: health::Clock,
    counts: Counts,
    /// It listens: requests of now are heard.
    ready: watch::Sender<bool>,
    /// It is asked to end.
    stopping: watch::Sender<bool>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("name", &self.settings.name).field("group", &self.settings.group).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    cancelled: AtomicU64,
    expired: AtomicU64,
    shed: AtomicU64,
    dead: AtomicU64,
}

/// What a worker has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that are worked on now.
    pub running: usize,
    /// Answered, or ended without a word as their handlers wanted.
    pub answered: u64,
    /// Answered with an error.
    pub failed: u64,
    /// Handed back, to be tried again.
    pub retried: u64,
    /// Called off by the requester.
    pub cancelled: u64,
    /// Came after their deadline.
    pub expired: u64,
    /// Came on the channel while all hands were full and many waited already, or faster than they could be looked at, and left to others.
    pub shed: u64,
    /// Put into the stream of dead letters.
    pub dead: u64,
}

impl Worker {
    /// Begins to say what a worker is made of.
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    pub(crate) fn new(settings: Settings) -> Worker {
        let permits = Arc::new(Semaphore::new(settings.concurrency));
        let line = Line::new(settings.address.clone());
        let (ready, stopping) = (watch::Sender::new(false), watch::Sender::new(false));
        let (running, clock, counts) = Default::default();
        Worker { core: Arc::new(Core { settings, line, permits, running, clock, counts, ready, stopping }) }
    }

    /// Works until SIGTERM or SIGINT, then finishes what runs.
    ///
    /// # Errors
    /// Redis cannot be reached at the start. Later it may go and come.
    pub async fn run(self) -> Result<(), Error> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            self.run_until(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            })
            .await
        }
        #[cfg(not(unix))]
        self.run_until(async { drop(tokio::signal::ctrl_c().await) }).await
    }

    /// The same until `stop` is ready.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let core = self.core;
        core.clock.set(&core.line).await?;
        let mut tasks = JoinSet::new();
        match core.settings.delivery {
            Delivery::Stream => {
                stream::join(&core).await?;
                tasks.spawn(stream::read(core.clone()));
                tasks.spawn(stream::heartbeat(core.clone()));
                tasks.spawn(stream::sweep(core.clone()));
                tasks.spawn(stream::forget(core.clone()));
            }
            Delivery::Channel => {}
        }
        let subscriber = channel::subscribe(&core).await?;
        tasks.spawn(channel::hear(core.clone(), subscriber));
        health::tell(&core).await?;
        tasks.spawn(health::run(core.clone()));
        core.ready.send_replace(true);
        tracing::info!(name = core.settings.name, group = core.settings.group, routes = ?core.settings.routes, "works");
        stop.await;
        core.drain(tasks).await;
        Ok(())
    }

    /// Works in a task of its own.
    pub fn spawn(self) -> WorkerHandle {
        let core = self.core.clone();
        let mut stopped = core.stopping.subscribe();
        let task = tokio::spawn(self.run_until(async move { drop(stopped.wait_for(|stopping| *stopping).await) }));
        WorkerHandle { core, task }
    }
}

impl Core {
    /// Takes nothing new, finishes what runs, hands back the rest.
    async fn drain(&self, mut tasks: JoinSet<()>) {
        self.stopping.send_replace(true);
        // Nobody shall think that this worker takes anything.
        health::leave(self).await;
        let all = self.settings.concurrency as u32;
        if timeout(self.settings.drain_timeout, self.permits.acquire_many(all)).await.is_err() {
            self.running.hand_back_all();
            let _ = timeout(NOTICE + HAND_BACK, self.permits.acquire_many(all)).await;
        }
        if self.settings.delivery == Delivery::Stream {
            stream::leave(self).await;
        }
        tasks.shutdown().await;
        tracing::info!(name = self.settings.name, "ends");
    }

    fn stats(&self) -> Stats {
        let Counts { answered, failed, retried, cancelled, expired, shed, dead } = &self.counts;
        let of = |count: &AtomicU64| count.load(Relaxed);
        Stats {
            running: self.running.len(),
            answered: of(answered),
            failed: of(failed),
            retried: of(retried),
            cancelled: of(cancelled),
            expired: of(expired),
            shed: of(shed),
            dead: of(dead),
        }
    }
}

/// A worker that works in a task of its own. When it is dropped, the worker goes on.
#[derive(Debug)]
pub struct WorkerHandle {
    core: Arc<Core>,
    task: JoinHandle<Result<(), Error>>,
}

impl WorkerHandle {
    /// Comes back when the worker hears requests. False: it has ended.
    pub async fn ready(&self) -> bool {
        let mut ready = self.core.ready.subscribe();
        let ended = async {
            while !self.task.is_finished() {
                line::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            ready = ready.wait_for(|ready| *ready) => ready.is_ok(),
            () = ended => false,
        }
    }

    /// What it has done until now.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// What the worker is called in Redis.
    pub fn name(&self) -> &str {
        &self.core.settings.name
    }

    /// Asks the worker to end, and waits until it has finished what it does.
    ///
    /// # Errors
    /// As [`Worker::run`], and that it has ended otherwise than it should.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.core.stopping.send_replace(true);
        self.task.await.unwrap_or_else(|end| Err(Kind::Ended(end.to_string()).into()))
    }

    /// Ends the worker in the middle of whatever it does, as a crash would: for tests of what happens then.
    pub fn abort(self) {
        self.task.abort();
        self.core.running.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(concurrency: usize) -> Worker {
        Worker::builder().concurrency(concurrency).route("t", |_: crate::Request| async { "" }).build().expect("a worker")
    }

    #[tokio::test]
    async fn a_task_that_breaks_is_no_good_end() {
        let task = tokio::spawn(async { if true { panic!("on purpose") } else { Ok(()) } });
        let ended = WorkerHandle { core: worker(1).core, task }.shutdown().await.unwrap_err();
        assert!(ended.to_string().contains("panic"), "{ended}");
        assert!(!ended.is_configuration() && !ended.is_redis());
    }

    /// At the end all hands are taken at once, by a number of 32 bits.
    #[tokio::test]
    async fn any_number_of_hands_can_be_waited_for() {
        for concurrency in [0, 1, 1 << 32, usize::MAX] {
            let core = worker(concurrency).core;
            let all = core.permits.acquire_many(core.settings.concurrency as u32).await.expect("all of them");
            assert!(core.permits.try_acquire().is_err() && core.settings.concurrency > 0);
            drop(all);
        }
    }
}
