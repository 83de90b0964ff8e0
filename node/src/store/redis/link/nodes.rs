//! All primaries of a link, and how a command finds its own. A Redis Cluster has several, and slots that move between them.
//!
//! A command that was answered with MOVED or ASK was not done, so it is sent again, to where the answer says; nothing else ever is. While some
//! commands for a slot are on such a way, later calls for that slot wait: so whoever waits for one call before it makes the next has them
//! done in their order, through any move.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use redis::{Cmd, RedisError, ServerErrorKind, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::address::{Host, Place};
use super::error::{LinkError, is_redirect};
use super::health::Health;
use super::lane::{Answered, NotDone, Replies};
use super::map::{self, Map, Range};
use super::primary::Primary;
use super::slots::{command_slot, key_slot};
use super::start::{StartError, Warning};
use super::target::Target;

/// How often the map is looked at without a reason.
const REFRESH_AFTER: Duration = Duration::from_secs(60);
/// Between two looks, however many reasons there are.
const REFRESH_GAP: Duration = Duration::from_millis(100);
/// Before a command is tried again that a Cluster cannot do just now.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Nodes {
    health: Arc<Health>,
    map: ArcSwap<Map>,
    /// Who changes the map.
    changing: Mutex<()>,
    doubt: Arc<Notify>,
    holds: Holds,
}

/// Commands on their way, with their places among those of the call.
type Placed = Vec<(usize, Cmd)>;

impl Nodes {
    pub(super) async fn open(health: Arc<Health>) -> Result<(Arc<Nodes>, Vec<Warning>), StartError> {
        let doubt = Arc::new(Notify::new());
        let mut warnings = Vec::new();
        let map = match &health.address().place {
            Place::Cluster(seeds) => {
                let ranges = map::ask(health.address(), health.settings.connect_deadline / 2, seeds).await?;
                let mut found = HashMap::new();
                for (_, _, host) in &ranges {
                    if !found.contains_key(host) {
                        let (primary, said) = Primary::open(Target::new(health.clone(), Some(host.clone()), doubt.clone())).await?;
                        warnings.extend(said);
                        found.insert(host.clone(), Arc::new(primary));
                    }
                }
                Map::draw(&ranges, |host| found[host].clone())
            }
            _ => {
                let (primary, said) = Primary::open(Target::new(health.clone(), None, doubt.clone())).await?;
                warnings = said;
                Map::of_one(primary)
            }
        };
        warnings.dedup();
        let is_cluster = map.is_cluster();
        let nodes = Nodes { health, map: ArcSwap::from_pointee(map), changing: Mutex::new(()), doubt, holds: Holds::default() };
        let nodes = Arc::new(nodes);
        if is_cluster {
            tokio::spawn(keep_map(Arc::downgrade(&nodes), nodes.doubt.clone()));
        }
        Ok((nodes, warnings))
    }

    pub(super) fn map(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// It may be that another primary has the slots.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.map.load().is_cluster()
    }

    /// Who has the slot of this key.
    pub(super) fn primary_of(&self, key: &str) -> Option<Arc<Primary>> {
        self.map.load().owner(Some(key_slot(key.as_bytes()))).cloned()
    }

    pub(super) async fn call(&self, cmd: &Cmd) -> Result<Value, LinkError> {
        let slot = if self.map.load().is_cluster() { command_slot(cmd) } else { None };
        let deadline = Instant::now() + self.health.settings.deadline;
        let mut held = Held { holds: &self.holds, slots: Vec::new() };
        self.holds.pass(slot).await;
        loop {
            let mut step = self.step(cmd, slot, None, false).await?;
            if let Step::Ask(asked) = step {
                held.add(slot);
                step = self.step(cmd, slot, Some(&asked), true).await?;
            }
            match step {
                Step::Done(reply) => return reply.map_err(LinkError::from),
                Step::Again | Step::Ask(_) => held.add(slot),
            }
            if Instant::now() >= deadline {
                return Err(LinkError::Unavailable);
            }
            pause().await;
        }
    }

    /// One attempt at a command, on this host or where its slot is.
    async fn step(&self, cmd: &Cmd, slot: Option<u16>, host: Option<&Host>, asking: bool) -> Result<Step, LinkError> {
        let primary = match host {
            Some(host) => Some(self.primary_on(host)),
            None => self.map.load().owner(slot).cloned(),
        };
        let Some(primary) = primary else {
            self.doubt();
            return Ok(Step::Again);
        };
        match primary.control.call(cmd, asking).await {
            Ok(Err(error)) if is_redirect(&error) && self.map.load().is_cluster() => Ok(self.follow(&primary, &error)),
            Ok(reply) => Ok(Step::Done(reply)),
            Err(NotDone::Link(error)) => Err(error),
            Err(NotDone::Back(_) | NotDone::Retired) => Ok(Step::Again),
        }
    }

    /// Learns from a redirect, and says what comes next.
    fn follow(&self, asked: &Primary, error: &RedisError) -> Step {
        let place = error.redirect_node().and_then(|(place, slot)| Some((map::redirect_host(place, asked.target.host.as_ref())?, slot)));
        let is_ask = error.kind() == redis::ErrorKind::Server(ServerErrorKind::Ask);
        match place {
            Some((host, _)) if is_ask => return Step::Ask(host),
            Some((host, slot)) => self.note_moved(slot, &host),
            None => {}
        }
        self.doubt();
        Step::Again
    }

    pub(super) async fn write(&self, shard: u16, commands: Vec<Cmd>, generation: Option<u64>) -> Result<Replies, LinkError> {
        let map = self.map.load_full();
        if !map.is_cluster() {
            return match map.primaries[0].lane(shard).write(commands, generation).await {
                Ok(answered) => Ok(answered.replies),
                Err(NotDone::Link(error)) => Err(error),
                Err(NotDone::Back(_) | NotDone::Retired) => Err(LinkError::Unavailable),
            };
        }
        let deadline = Instant::now() + self.health.settings.deadline;
        let mut replies: Vec<_> = commands.iter().map(|_| None).collect();
        let mut todo: Placed = commands.into_iter().enumerate().collect();
        let mut held = Held { holds: &self.holds, slots: Vec::new() };
        if self.holds.is_any() {
            for (_, cmd) in &todo {
                self.holds.pass(command_slot(cmd)).await;
            }
        }
        loop {
            let sent = self.send(shard, todo, generation, &mut replies, &mut held).await?;
            todo = sent;
            if todo.is_empty() || Instant::now() >= deadline {
                break;
            }
            pause().await;
        }
        // What was redirected to the end has that as its answer; what found no primary has none.
        replies.into_iter().collect::<Option<_>>().ok_or(LinkError::Unavailable)
    }

    /// Sends commands to their primaries and notes their replies. Returns those that have to be sent again.
    async fn send(
        &self,
        shard: u16,
        todo: Placed,
        generation: Option<u64>,
        replies: &mut [Option<Result<Value, RedisError>>],
        held: &mut Held<'_>,
    ) -> Result<Placed, LinkError> {
        let (parts, mut again) = self.split(todo);
        let writing = parts.into_iter().map(|(primary, placed)| async move {
            let (places, commands): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
            let written = primary.lane(shard).write(commands, generation).await;
            (primary, places, written)
        });
        let (mut asks, mut failed) = (Vec::new(), None);
        for (primary, places, written) in join_all(writing).await {
            match written {
                Ok(Answered { replies: own, redirected }) => {
                    for (at, cmd) in redirected {
                        held.add(command_slot(&cmd));
                        match own[at].as_ref().map_or_else(|error| self.follow(&primary, error), |_| Step::Again) {
                            Step::Ask(host) => asks.push((places[at], cmd, host)),
                            Step::Again | Step::Done(_) => again.push((places[at], cmd)),
                        }
                    }
                    places.iter().zip(own).for_each(|(place, reply)| replies[*place] = Some(reply));
                }
                Err(NotDone::Back(commands)) => again.extend(places.into_iter().zip(commands)),
                Err(NotDone::Retired) => failed = failed.or(Some(LinkError::Unavailable)),
                Err(NotDone::Link(error)) => failed = Some(error),
            }
        }
        match failed {
            // Who asks again would do the rest twice.
            Some(LinkError::Stale) if replies.iter().any(Option::is_some) => return Err(LinkError::Unavailable),
            Some(error) => return Err(error),
            None => {}
        }
        // One after the other: they are few, and their order matters.
        asks.sort_by_key(|(place, ..)| *place);
        for (place, cmd, host) in asks {
            match self.step(&cmd, None, Some(&host), true).await? {
                Step::Done(reply) => replies[place] = Some(reply),
                Step::Ask(_) | Step::Again => again.push((place, cmd)),
            }
        }
        again.sort_by_key(|(place, _)| *place);
        Ok(again)
    }

    /// The commands by their primaries, and those that have none now.
    fn split(&self, todo: Placed) -> (Vec<(Arc<Primary>, Placed)>, Placed) {
        let map = self.map.load();
        let (mut parts, mut lost): (Vec<(Arc<Primary>, Placed)>, Placed) = (Vec::new(), Vec::new());
        for (place, cmd) in todo {
            let Some(primary) = map.owner(command_slot(&cmd)) else {
                self.doubt();
                lost.push((place, cmd));
                continue;
            };
            match parts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, primary)) {
                Some((_, part)) => part.push((place, cmd)),
                None => parts.push((primary.clone(), vec![(place, cmd)])),
            }
        }
        (parts, lost)
    }

    /// One reply from each primary.
    pub(super) async fn call_all(&self, cmd: &Cmd) -> Result<Vec<Value>, LinkError> {
        let map = self.map();
        let replies = join_all(map.primaries.iter().map(|primary| primary.control.call(cmd, false))).await;
        let one = |reply| match reply {
            Ok(reply) => Result::map_err(reply, LinkError::from),
            Err(NotDone::Link(error)) => Err(error),
            Err(NotDone::Back(_) | NotDone::Retired) => Err(LinkError::Unavailable),
        };
        replies.into_iter().map(one).collect()
    }

    /// One command to the primary at this place, in whatever order they are. `None`: there are not so many.
    pub(super) async fn call_at(&self, place: usize, cmd: &Cmd) -> Result<Option<Value>, LinkError> {
        let map = self.map();
        let Some(primary) = map.primaries.get(place) else { return Ok(None) };
        match primary.control.call(cmd, false).await {
            Ok(reply) => Ok(Some(reply?)),
            Err(NotDone::Link(error)) => Err(error),
            Err(NotDone::Back(_) | NotDone::Retired) => Err(LinkError::Unavailable),
        }
    }

    fn primary_on(&self, host: &Host) -> Arc<Primary> {
        self.map.load().on(host).cloned().unwrap_or_else(|| {
            let target = Target::new(self.health.clone(), Some(host.clone()), self.doubt.clone());
            Arc::new(Primary::wanted(target))
        })
    }

    fn note_moved(&self, slot: u16, host: &Host) {
        let _changing = self.changing();
        let map = self.map.load_full();
        if map.owner(Some(slot)).is_some_and(|owner| owner.target.host.as_ref() == Some(host)) {
            return;
        }
        self.map.store(Arc::new(map.with(slot, self.primary_on(host))));
    }

    fn draw(&self, ranges: &[Range]) {
        let _changing = self.changing();
        let old = self.map.load_full();
        let new = Map::draw(ranges, |host| self.primary_on(host));
        let is_left = |primary: &&Arc<Primary>| !new.primaries.iter().any(|other| Arc::ptr_eq(primary, other));
        let left: Vec<_> = old.primaries.iter().filter(is_left).cloned().collect();
        let hosts = |map: &Map| map.hosts().map(Host::to_string).collect::<Vec<_>>().join(", ");
        if hosts(&old) != hosts(&new) {
            tracing::info!(primaries = hosts(&new), "the Redis Cluster has other primaries");
        }
        self.map.store(Arc::new(new));
        left.iter().for_each(|primary| primary.target.retire());
    }

    async fn refresh(&self) {
        let mut hosts: Vec<Host> = self.map.load().hosts().cloned().collect();
        if let Place::Cluster(seeds) = &self.health.address().place {
            let unknown: Vec<_> = seeds.iter().filter(|seed| !hosts.contains(seed)).cloned().collect();
            hosts.extend(unknown);
        }
        match map::ask(self.health.address(), self.health.settings.connect_deadline / 2, &hosts).await {
            Ok(ranges) => self.draw(&ranges),
            Err(error) => tracing::debug!(%error, "the map of the Redis Cluster is as it was"),
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Ends with the link.
async fn keep_map(nodes: Weak<Nodes>, doubt: Arc<Notify>) {
    loop {
        // Time passes too; which of the two it was does not matter.
        let _ = timeout(REFRESH_AFTER, doubt.notified()).await;
        match nodes.upgrade() {
            Some(nodes) => nodes.refresh().await,
            None => return,
        }
        #[allow(clippy::disallowed_methods, reason = "a bound on how often others are asked")]
        tokio::time::sleep(REFRESH_GAP).await;
    }
}

async fn pause() {
    #[allow(clippy::disallowed_methods, reason = "nothing tells when a slot has moved")]
    tokio::time::sleep(PAUSE).await;
}

/// What an attempt came to.
enum Step {
    Done(Result<Value, RedisError>),
    Again,
    /// On this host, and only this once.
    Ask(Host),
}

/// Slots with commands that are sent again.
#[derive(Debug, Default)]
struct Holds {
    any: AtomicUsize,
    slots: Mutex<HashMap<u16, (usize, watch::Sender<()>)>>,
}

impl Holds {
    fn is_any(&self) -> bool {
        self.any.load(Relaxed) > 0
    }

    /// Waits until nothing for this slot is sent again.
    async fn pass(&self, slot: Option<u16>) {
        let Some(slot) = slot.filter(|_| self.is_any()) else { return };
        loop {
            let Some(mut ended) = self.slots().get(&slot).map(|(_, ended)| ended.subscribe()) else { return };
            while ended.changed().await.is_ok() {}
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<u16, (usize, watch::Sender<()>)>> {
        self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The slots that one call holds until its end.
struct Held<'a> {
    holds: &'a Holds,
    slots: Vec<u16>,
}

impl Held<'_> {
    fn add(&mut self, slot: Option<u16>) {
        let Some(slot) = slot.filter(|slot| !self.slots.contains(slot)) else { return };
        self.slots.push(slot);
        self.holds.any.fetch_add(1, Relaxed);
        self.holds.slots().entry(slot).or_insert_with(|| (0, watch::Sender::new(()))).0 += 1;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut slots = self.holds.slots();
        for slot in &self.slots {
            if let Some(held) = slots.get_mut(slot) {
                held.0 -= 1;
                if held.0 == 0 {
                    slots.remove(slot); // its sender goes, and who waits is told
                }
            }
        }
        self.holds.any.fetch_sub(self.slots.len(), Relaxed);
    }
}
