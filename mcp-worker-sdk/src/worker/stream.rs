//! The stream lane: a consumer group reads, a lease that others watch is kept while a handler works, what a dead worker left is taken over.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::streams::{StreamClaimReply, StreamId, StreamInfoConsumersReply, StreamPendingCountReply, StreamPendingId, StreamReadReply};
use redis::{Pipeline, Value, cmd};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::error::{Error, Kind};
use crate::wire::{ErrorMessage, FIELD, RequestMessage, ResponseMessage};
use crate::worker::Core;
use crate::worker::builder::Settings;
use crate::worker::health;
use crate::worker::job::{self, Entry};
use crate::worker::line::{Backoff, sleep};

/// How long one read waits for something new.
const BLOCK: Duration = Duration::from_secs(2);

/// Entries that are read, or taken over, at once.
const ENTRIES_MAX: usize = 128;

/// Dead letters that are kept.
const DEAD_MAX: usize = 10_000;

/// How long a request that is to be tried again rests; never longer than half the lease.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Whatever the lease of the others, it is over.
const LONG_AGO: Duration = Duration::from_secs(24 * 3600);

/// So many leases after it was last heard of, the name of a worker that has left nothing is forgotten: 10 minutes, with the usual one.
const FORGOTTEN_LEASES: u32 = 40;

/// An entry that is older than this may have been answered by others meanwhile: looked up before it is worked on.
const FRESH_MS: u64 = 3000;

/// Makes the group. It begins with what waits already: requests may come before their first worker.
pub(crate) async fn join(core: &Core) -> Result<(), Error> {
    let (stream, group) = (core.settings.names.requests_stream(), &core.settings.group);
    let create = cmd("XGROUP").arg("CREATE").arg(stream).arg(group).arg("0").arg("MKSTREAM").take();
    match core.line.ask::<Value>(create).await {
        Err(error) if error.refusal() == Some("BUSYGROUP") => Ok(()),
        created => created.map(drop),
    }
}

pub(crate) async fn read(core: Arc<Core>) {
    let mut backoff = Backoff::default();
    loop {
        if let Err(error) = read_on(&core, &mut backoff).await {
            tracing::warn!(%error, "requests are not read; connecting again");
            // Redis may have come back with nothing.
            if error.refusal() == Some("NOGROUP") && join(&core).await.is_ok() {
                // Nodes would say that there is no worker until the next beat.
                let _ = health::tell(&core).await;
                continue;
            }
        }
        if *core.stopping.borrow() {
            return;
        }
        backoff.pause().await;
    }
}

async fn read_on(core: &Arc<Core>, backoff: &mut Backoff) -> Result<(), Error> {
    let mut connection = core.settings.address.connect().await?;
    let mut stopping = core.stopping.subscribe();
    let stream = core.settings.names.requests_stream();
    loop {
        // A permit first: what this worker has no hands for is another's.
        let permit = tokio::select! {
            permit = core.permits.clone().acquire_owned() => permit.map_err(|_| Kind::Timeout)?,
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        let mut permits = vec![permit];
        while permits.len() < ENTRIES_MAX
            && let Ok(permit) = core.permits.clone().try_acquire_owned()
        {
            permits.push(permit);
        }
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&core.settings.group).arg(&core.settings.name).arg("COUNT").arg(permits.len());
        command.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(&stream).arg(">");
        let reading = timeout(BLOCK + Duration::from_secs(3), connection.ask::<Option<StreamReadReply>>(&command));
        // A read that is cut off may have been handed entries: they are handed back at the end, as all that is pending.
        let reply = tokio::select! {
            reply = reading => reply.map_err(|_| Kind::Timeout)??,
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        *backoff = Backoff::default();
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        for entry in entries {
            if let Some(permit) = permits.pop() {
                take(core, entry, 1, permit).await;
            }
        }
    }
}

/// Begins to work on an entry, unless there is no point in it.
async fn take(core: &Arc<Core>, entry: StreamId, attempt: u32, permit: OwnedSemaphorePermit) {
    let json: Option<Vec<u8>> = entry.get(FIELD);
    let Some(mut wire) = json.and_then(|json| serde_json::from_slice::<RequestMessage>(&json).ok()) else {
        tracing::warn!(entry = entry.id, "a request that is not readable");
        return skip(core, &entry.id).await;
    };
    let now = core.clock.now_ms();
    if wire.deadline_ms.is_some_and(|deadline| deadline <= now) {
        core.counts.expired.fetch_add(1, Relaxed);
        return remove(core, &entry.id).await;
    }
    let is_old = made_ms(&entry.id).is_none_or(|made| made + FRESH_MS < now);
    if attempt > 1 || is_old {
        let exists = cmd("EXISTS").arg(core.settings.names.request(&wire.correlation_id)).take();
        if core.line.ask::<u64>(exists).await.is_ok_and(|exists| exists == 0) {
            return remove(core, &entry.id).await;
        }
    }
    wire.attempt = attempt;
    job::start(core, wire, Some(Entry { id: entry.id, attempt }), permit);
}

/// The first part of an entry's id.
fn made_ms(id: &str) -> Option<u64> {
    id.split_once('-')?.0.parse().ok()
}

/// Nothing for this group; another may have a use for it.
pub(crate) async fn skip(core: &Core, id: &str) {
    let done = cmd("XACK").arg(core.settings.names.requests_stream()).arg(&core.settings.group).arg(id).take();
    let _ = core.line.ask::<Value>(done).await; // handed out again, and skipped again
}

/// Nothing for anybody any more.
async fn remove(core: &Core, id: &str) {
    let mut pipeline = redis::pipe();
    done(core, &mut pipeline, id);
    let _ = core.line.send::<Vec<Value>>(&pipeline).await; // handed out again, and removed then
}

/// Adds what ends an entry.
pub(crate) fn done(core: &Core, pipeline: &mut Pipeline, id: &str) {
    let stream = core.settings.names.requests_stream();
    pipeline.add_command(cmd("XACK").arg(&stream).arg(&core.settings.group).arg(id).take());
    pipeline.add_command(cmd("XDEL").arg(&stream).arg(id).take());
}

/// Adds a dead letter: the entry's id, why, and how often it was tried.
pub(crate) fn bury(core: &Core, pipeline: &mut Pipeline, entry: &Entry, why: &str) {
    core.counts.dead.fetch_add(1, Relaxed);
    let mut add = cmd("XADD");
    add.arg(core.settings.names.dead()).arg("MAXLEN").arg("~").arg(DEAD_MAX).arg("*").arg("entry").arg(&entry.id);
    add.arg("error").arg(why).arg("attempts").arg(entry.attempt).arg("worker").arg(&core.settings.name);
    pipeline.add_command(add);
}

/// Lets others have an entry, soon.
pub(crate) async fn hand_back(core: &Core, entry: &Entry) {
    let rest = RETRY_AFTER.min(core.settings.lease / 2);
    let _ = release(core, entry, core.settings.lease.saturating_sub(rest)).await; // its lease ends by itself
}

/// Lets others have an entry at once, as though it had not been tried here.
pub(crate) async fn give_back(core: &Core, entry: &Entry) {
    let untried = Entry { id: entry.id.clone(), attempt: entry.attempt.saturating_sub(1) };
    let _ = release(core, &untried, LONG_AGO).await; // its lease ends by itself
}

/// Makes an entry look as though nothing was heard of its worker for `idle`.
async fn release(core: &Core, entry: &Entry, idle: Duration) -> Result<(), Error> {
    let mut claim = cmd("XCLAIM");
    claim.arg(core.settings.names.requests_stream()).arg(&core.settings.group).arg(&core.settings.name).arg(0).arg(&entry.id);
    claim.arg("IDLE").arg(idle.as_millis() as u64).arg("RETRYCOUNT").arg(entry.attempt).arg("JUSTID");
    core.line.ask::<Value>(claim).await.map(drop)
}

/// Keeps the leases of what runs.
pub(crate) async fn heartbeat(core: Arc<Core>) {
    loop {
        sleep(core.settings.lease / 3).await;
        if core.running.is_handing_back() {
            return; // or what was handed back would look as though it were worked on
        }
        if let Err(error) = keep(&core, &core.running.entries()).await {
            tracing::debug!(%error, "leases are not kept");
        }
    }
}

async fn keep(core: &Core, entries: &[String]) -> Result<(), Error> {
    for entries in entries.chunks(ENTRIES_MAX) {
        let mut claim = cmd("XCLAIM");
        claim
            .arg(core.settings.names.requests_stream())
            .arg(&core.settings.group)
            .arg(&core.settings.name)
            .arg(0)
            .arg(entries)
            .arg("JUSTID");
        core.line.ask::<Value>(claim).await?;
    }
    Ok(())
}

/// Takes over what other workers have left.
pub(crate) async fn sweep(core: Arc<Core>) {
    let mut stopping = core.stopping.subscribe();
    loop {
        sleep((core.settings.lease / 4).min(Duration::from_secs(1))).await;
        let permit = tokio::select! {
            permit = core.permits.clone().acquire_owned() => permit,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Ok(permit) = permit else { return };
        if let Err(error) = take_over(&core, permit).await {
            tracing::debug!(%error, "what others left is not looked at");
        }
    }
}

async fn take_over(core: &Arc<Core>, permit: OwnedSemaphorePermit) -> Result<(), Error> {
    let mut permits = vec![permit];
    let (stream, group) = (core.settings.names.requests_stream(), &core.settings.group);
    let lease = core.settings.lease.as_millis() as u64;
    let mut pending = cmd("XPENDING");
    pending.arg(&stream).arg(group).arg("IDLE").arg(lease).arg("-").arg("+").arg(ENTRIES_MAX);
    let left: StreamPendingCountReply = core.line.ask(pending).await?;
    // What runs here was not left: Redis was away for longer than the lease.
    let running: HashSet<String> = core.running.entries().into_iter().collect();
    let (mine, left): (Vec<_>, Vec<_>) = left.ids.into_iter().partition(|left| running.contains(&left.id));
    let mine: Vec<_> = mine.into_iter().map(|mine| mine.id).collect();
    keep(core, &mine).await?;
    for StreamPendingId { id, times_delivered, .. } in left {
        let attempt = times_delivered as u32;
        let Some(permit) = permits.pop().or_else(|| core.permits.clone().try_acquire_owned().ok()) else { return Ok(()) };
        let mut claim = cmd("XCLAIM");
        claim.arg(&stream).arg(group).arg(&core.settings.name).arg(lease).arg(&id);
        // Only one of those who try gets it: for the others it is not idle any more.
        let claimed: StreamClaimReply = core.line.ask(claim).await?;
        match claimed.ids.into_iter().next() {
            Some(entry) if attempt >= core.settings.max_attempts => give_up(core, &entry, attempt).await?,
            Some(entry) => take(core, entry, attempt + 1, permit).await,
            None => permits.push(permit),
        }
    }
    Ok(())
}

/// Takes the names of dead workers off the group: those that nothing was heard of for long, and that have left nothing.
pub(crate) async fn forget(core: Arc<Core>) {
    loop {
        if let Err(error) = forget_dead(&core).await {
            tracing::debug!(%error, "dead workers are not forgotten");
        }
        sleep(core.settings.lease * FORGOTTEN_LEASES / 10).await;
    }
}

async fn forget_dead(core: &Core) -> Result<(), Error> {
    let (stream, group) = (core.settings.names.requests_stream(), &core.settings.group);
    let known: StreamInfoConsumersReply = core.line.ask(cmd("XINFO").arg("CONSUMERS").arg(&stream).arg(group).take()).await?;
    let long = core.settings.lease * FORGOTTEN_LEASES;
    for dead in known.consumers.into_iter().filter(|known| known.pending == 0 && known.idle as u128 > long.as_millis()) {
        // One that lives is heard of in other ways, too: it may have had no hands for anything new.
        let believed: Option<f64> = core.line.ask(cmd("ZSCORE").arg(core.settings.names.workers()).arg(&dead.name).take()).await?;
        if believed.is_none_or(|until| (until as u64) < core.clock.now_ms()) {
            core.line.ask::<Value>(cmd("XGROUP").arg("DELCONSUMER").arg(&stream).arg(group).arg(&dead.name).take()).await?;
        }
    }
    Ok(())
}

/// The workers that had it died, as often as is allowed.
async fn give_up(core: &Core, entry: &StreamId, attempts: u32) -> Result<(), Error> {
    let json: Vec<u8> = entry.get(FIELD).unwrap_or_default();
    let mut pipeline = redis::pipe();
    let why = format!("no worker finished it in {attempts} attempts");
    bury(core, &mut pipeline, &Entry { id: entry.id.clone(), attempt: attempts }, &why);
    if let Ok(wire) = serde_json::from_slice::<RequestMessage>(&json) {
        let mut response = ResponseMessage::of(&wire.correlation_id);
        response.error = Some(ErrorMessage { code: "worker-failed".to_owned(), message: why });
        let json = serde_json::to_string(&response).unwrap_or_default();
        pipeline.add_command(cmd("XADD").arg(core.settings.names.responses_stream()).arg("*").arg(FIELD).arg(json).take());
    }
    done(core, &mut pipeline, &entry.id);
    core.line.send::<Vec<Value>>(&pipeline).await.map(drop)
}

/// Hands back what was not finished, and goes.
pub(crate) async fn leave(core: &Core) {
    let (stream, Settings { group, name, .. }) = (core.settings.names.requests_stream(), &core.settings);
    core.running.abort_all();
    let mut from = "-".to_owned();
    loop {
        let mut pending = cmd("XPENDING");
        pending.arg(&stream).arg(group).arg(&from).arg("+").arg(ENTRIES_MAX).arg(name);
        let Ok(left) = core.line.ask::<StreamPendingCountReply>(pending).await else { return };
        let Some(last) = left.ids.last() else { break };
        from = format!("({}", last.id);
        // The others were handed back already.
        for left in left.ids.into_iter().filter(|left| (left.last_delivered_ms as u128) < core.settings.lease.as_millis()) {
            let entry = Entry { id: left.id, attempt: left.times_delivered as u32 };
            give_back(core, &entry).await;
        }
    }
    let mut pending = cmd("XPENDING");
    pending.arg(&stream).arg(group).arg("-").arg("+").arg(1).arg(name);
    let left: Result<StreamPendingCountReply, _> = core.line.ask(pending).await;
    if left.is_ok_and(|left| left.ids.is_empty()) {
        let forget = cmd("XGROUP").arg("DELCONSUMER").arg(&stream).arg(group).arg(name).take();
        let _ = core.line.ask::<Value>(forget).await; // the others forget it later
    }
}
