//! Who lives: every node says so again and again, and one of the others cleans up after those that do not (REDIS.md 3.4).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::core::Core;
use super::functions::{self, Function};
use crate::store::StoreError;
use crate::store::cluster::{Expelled, News, NodeId, RouteVersion};
use crate::store::redis::library;
use crate::store::redis::link::apart::Blocking;
use crate::store::redis::link::error::LinkError;
use crate::store::redis::reply;
use crate::time::Time;

/// What one beat tells.
#[derive(Debug)]
struct Heard {
    is_listed: bool,
    members: Vec<Member>,
    /// Dead, and whoever wanted to clean up after them did not come to the end.
    orphans: Vec<NodeId>,
    /// When this truth began, in µs; `None`: Redis knows of none.
    born: Option<u64>,
    /// How full the memory of Redis is, in promille.
    memory: u64,
    /// By Redis's clock.
    time: Time,
}

#[derive(Debug)]
struct Member {
    node: NodeId,
    /// Since its last beat, by Redis's clock.
    silent: Duration,
    applied: RouteVersion,
}

/// The beat's task.
pub(super) struct Beat {
    core: Arc<Core>,
    /// Of its own: it is not behind anything else.
    connection: Option<Blocking>,
    last: Instant,
    /// Redis has been reached since then, and was the same.
    steady_since: Instant,
    generation: u64,
    /// Suspects, and when each became one.
    suspects: HashMap<NodeId, Instant>,
}

impl Beat {
    /// Becomes a member.
    pub(super) async fn join(core: Arc<Core>) -> Result<Beat, StoreError> {
        let now = Instant::now();
        let generation = core.link.state().generation;
        let mut beat = Beat { core, connection: None, last: now, steady_since: now, generation, suspects: HashMap::new() };
        functions::load(&beat.core.link).await?;
        if let Some(born) = beat.once(true).await?.born {
            let _ = beat.core.born.set(born); // a node joins once
        }
        Ok(beat)
    }

    /// Returns when this node is no member any more.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(self.core.settings.beat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let why = loop {
            ticks.tick().await;
            match self.once(false).await {
                Ok(heard) if heard.is_listed => self.look(&heard).await,
                Ok(_) if self.core.has_left.load(Relaxed) => return,
                Ok(heard) if heard.born.as_ref() != self.core.born.get() => break Expelled::Flushed,
                Ok(_) => break Expelled::TakenForDead,
                Err(_) if self.last.elapsed() > self.core.settings.outage_max => break Expelled::Outage,
                Err(_) => {
                    self.connection = None;
                    self.steady_since = Instant::now();
                }
            }
        };
        self.core.promise.end();
        let _ = self.core.news.send(News::Expelled(why)).await; // nobody is there to be expelled
    }

    async fn once(&mut self, join: bool) -> Result<Heard, LinkError> {
        let sent = Instant::now(); // Redis hears it later, so the lease begins later there
        let heard = self.say(join).await.inspect_err(|error| self.core.pulse.note(Some(error.clone())))?;
        self.core.pulse.note(None);
        self.core.pulse.note_memory(heard.memory);
        if let Some(clock) = self.core.clock.get() {
            clock.follow(heard.time, sent);
        }
        if heard.is_listed {
            self.last = sent;
            self.core.promise.set_until(sent + self.core.settings.promise);
            let lease = self.core.settings.lease;
            // After an outage nobody has been heard of yet: all who are listed may live.
            let is_new = self.steady_since.elapsed() < lease;
            let live = heard.members.iter().filter(|member| is_new || member.silent <= lease);
            let live: Vec<_> = live.map(|member| (member.node.clone(), member.applied)).collect();
            self.core.peers.send_modify(|peers| peers.beat(live));
        }
        Ok(heard)
    }

    async fn say(&mut self, join: bool) -> Result<Heard, LinkError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.core.link.blocking(&self.core.keys.dead()).await?),
        };
        let applied = *self.core.applied.borrow();
        let applied = if applied == 0 { String::new() } else { applied.to_string() };
        let mut beat = Function::Beat.on(&self.core.keys.beat());
        beat.arg(self.core.node.as_str()).arg(u8::from(join)).arg(applied);
        match connection.query(&beat, Duration::ZERO).await {
            Err(error) if library::is_missing(&error) => {
                functions::load(&self.core.link).await?;
                hear(connection.query(&beat, Duration::ZERO).await?)
            }
            reply => hear(reply?),
        }
        .map_err(|_| LinkError::Script("the beat has no answer that is understood".to_owned()))
    }

    /// Looks who is dead, and takes care of them.
    async fn look(&mut self, heard: &Heard) {
        let now = Instant::now();
        let generation = self.core.link.state().generation;
        if generation != self.generation {
            (self.generation, self.steady_since) = (generation, now);
            self.suspects.clear();
        }
        let settings = &self.core.settings;
        let silent = |member: &&Member| member.silent > settings.lease;
        let silent: Vec<_> = heard.members.iter().filter(silent).map(|member| member.node.clone()).collect();
        let are_few = are_few(&heard.members, settings.lease);
        self.suspects.retain(|node, _| silent.contains(node));
        for node in &silent {
            self.suspects.entry(node.clone()).or_insert(now);
        }

        let is_steady = self.steady_since + settings.steady <= now;
        let are_seen_twice = |since: &Instant| *since + settings.looks_apart <= now;
        let dead = self.suspects.iter().filter(|(_, since)| is_steady && are_few && are_seen_twice(since));
        let dead: Vec<_> = dead.map(|(node, _)| node.clone()).chain(heard.orphans.iter().cloned()).collect();
        for node in dead {
            self.claim(node).await;
        }
    }

    /// Tells that a node is dead, if this one is the first to claim it.
    async fn claim(&mut self, node: NodeId) {
        self.suspects.remove(&node);
        let (keys, settings) = (self.core.keys.members(), &self.core.settings);
        let mut claim = Function::Claim.on(&keys);
        claim.arg(node.as_str()).arg(settings.lease.as_millis() as u64).arg(settings.burial.as_millis() as u64);
        let claimed = functions::call(&self.core.link, claim).await;
        if claimed.is_ok_and(|claimed| claimed == Value::Int(1)) {
            tracing::warn!(node = node.as_str(), "a node is dead; this one cleans up after it");
            let news = self.core.news.clone();
            // The beat waits for nobody; when this comes too late, the claim has run out, and the next look finds the node again.
            tokio::spawn(async move { news.send(News::NodeDead(node)).await });
        }
    }
}

impl Core {
    /// The claim on a dead node lasts as long again from now.
    pub(super) async fn claim_on(&self, dead: &NodeId) -> Result<(), StoreError> {
        let mut claim: Cmd = Function::ClaimOn.on(&[self.keys.dead()]);
        claim.arg(dead.as_str()).arg(self.settings.burial.as_millis() as u64);
        functions::call(&self.link, claim).await?;
        Ok(())
    }

    pub(super) async fn end_membership(&self) -> Result<(), StoreError> {
        self.has_left.store(true, Relaxed);
        self.promise.end();
        functions::call(&self.link, Function::Leave.on(&self.keys.members()).arg(self.node.as_str()).take()).await?;
        Ok(())
    }
}

/// Whether so few are silent that it is they who are dead. Of two, one has no majority to ask. A node that died twice before it was buried is one
/// node: of each name the newest incarnation counts, which is the last in the order of their names.
fn are_few(members: &[Member], lease: Duration) -> bool {
    let mut nodes: BTreeMap<&str, &Member> = BTreeMap::new();
    for member in members {
        let newest = nodes.entry(member.node.name()).or_insert(member);
        if newest.node < member.node {
            *newest = member;
        }
    }
    let silent = nodes.values().filter(|member| member.silent > lease).count();
    nodes.len() <= 2 || silent * 2 <= nodes.len()
}

fn hear(reply: Value) -> Result<Heard, StoreError> {
    let [listed, members, orphans, born, memory, time] =
        <[Value; 6]>::try_from(reply::list(reply)?).map_err(|found| reply::unexpected(&Value::Array(found)))?;
    let members = reply::list(members)?.chunks(3).map(member).collect::<Result<Vec<_>, _>>()?;
    let orphans = reply::list(orphans)?.into_iter().map(node).collect::<Result<Vec<_>, _>>()?;
    let (memory, time) = (reply::number(&memory)?, Time(reply::number(&time)?));
    let born = if born == Value::BulkString(Vec::new()) { None } else { Some(reply::number(&born)?) };
    Ok(Heard { is_listed: listed == Value::Int(1), members, orphans, born, memory, time })
}

fn member(parts: &[Value]) -> Result<Member, StoreError> {
    let [name, silent, applied] = parts else { return Err(StoreError::Unavailable) };
    let applied = if *applied == Value::BulkString(Vec::new()) { 0 } else { reply::number(applied)? };
    Ok(Member { node: node(name.clone())?, silent: Duration::from_millis(reply::number(silent)?), applied })
}

fn node(name: Value) -> Result<NodeId, StoreError> {
    Ok(NodeId::new(&reply::text(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn may_be_buried(members: &[(&str, bool)]) -> bool {
        let member = |(node, is_silent): &(&str, bool)| Member {
            node: NodeId::new(node),
            silent: if *is_silent { 2 * LEASE } else { Duration::ZERO },
            applied: 0,
        };
        are_few(&members.iter().map(member).collect::<Vec<_>>(), LEASE)
    }

    #[test]
    fn a_name_that_died_twice_is_one_dead_node() {
        assert!(may_be_buried(&[("a.1", true), ("a.2", true), ("b.1", false)]));
        assert!(may_be_buried(&[("a.1", true), ("a.2", true), ("a.3", false), ("b.1", false)]));
        assert!(may_be_buried(&[("a.1", true), ("a.2", true), ("a.3", true), ("b.1", true), ("b.2", false), ("c.1", false)]));
    }

    #[test]
    fn when_most_nodes_are_silent_it_is_not_they() {
        assert!(!may_be_buried(&[("a.1", true), ("b.1", true), ("c.1", false)]));
        assert!(!may_be_buried(&[("a.1", false), ("a.2", true), ("b.1", true), ("c.1", false)]), "only the newest of a name lives");
        assert!(may_be_buried(&[("a.1", true), ("b.1", true), ("c.1", false), ("d.1", false)]));
    }
}
