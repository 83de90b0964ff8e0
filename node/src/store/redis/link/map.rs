//! Which primary has which slot, as a Redis Cluster tells it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Value, cmd};
use tokio::time::timeout;

use super::address::{Address, Host};
use super::primary::Primary;
use super::slots::SLOTS;
use super::wire::{DialError, Wire, login};

/// A slot that no primary has.
const NOBODY: u16 = u16::MAX;

/// Slots in a row and the primary that has them.
pub(super) type Range = (u16, u16, Host);

#[derive(Debug)]
pub(super) struct Map {
    pub(super) primaries: Vec<Arc<Primary>>,
    /// Places in `primaries` by slot; empty where there is only one.
    owners: Vec<u16>,
}

impl Map {
    /// There is only this one, whatever the slot.
    pub(super) fn of_one(primary: Primary) -> Map {
        Map { primaries: vec![Arc::new(primary)], owners: Vec::new() }
    }

    /// `find` gives the primary on a host.
    pub(super) fn draw(ranges: &[Range], mut find: impl FnMut(&Host) -> Arc<Primary>) -> Map {
        let mut map = Map { primaries: Vec::new(), owners: vec![NOBODY; SLOTS] };
        for (first, last, host) in ranges {
            let at = map.place_of(host).unwrap_or_else(|| {
                map.primaries.push(find(host));
                map.primaries.len() as u16 - 1
            });
            if let Some(owners) = map.owners.get_mut(usize::from(*first)..=usize::from(*last)) {
                owners.fill(at);
            }
        }
        map
    }

    /// The same, but this primary has this slot.
    pub(super) fn with(&self, slot: u16, primary: Arc<Primary>) -> Map {
        let (mut primaries, mut owners) = (self.primaries.clone(), self.owners.clone());
        let known = primaries.iter().position(|known| Arc::ptr_eq(known, &primary));
        let at = known.unwrap_or_else(|| {
            primaries.push(primary);
            primaries.len() - 1
        });
        if let Some(owner) = owners.get_mut(usize::from(slot)) {
            *owner = at as u16;
        }
        Map { primaries, owners }
    }

    /// Who has this slot; without a slot, anybody. `None`: nobody has it.
    pub(super) fn owner(&self, slot: Option<u16>) -> Option<&Arc<Primary>> {
        match slot {
            Some(slot) if !self.owners.is_empty() => self.primaries.get(usize::from(*self.owners.get(usize::from(slot))?)),
            _ => self.primaries.first(),
        }
    }

    pub(super) fn on(&self, host: &Host) -> Option<&Arc<Primary>> {
        self.place_of(host).map(|at| &self.primaries[usize::from(at)])
    }

    pub(super) fn is_cluster(&self) -> bool {
        !self.owners.is_empty()
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.primaries.iter().filter_map(|primary| primary.target.host.as_ref())
    }

    fn place_of(&self, host: &Host) -> Option<u16> {
        self.primaries.iter().position(|primary| primary.target.host.as_ref() == Some(host)).map(|at| at as u16)
    }
}

/// Asks all of these hosts at the same time, each for as long as `deadline`, and believes the one that has seen the latest election: a primary that was cut off from the
/// others does not know that it is none any more.
pub(super) async fn ask(address: &Address, deadline: Duration, hosts: &[Host]) -> Result<Vec<Range>, DialError> {
    let answers = join_all(hosts.iter().map(|host| timeout(deadline, ask_one(address, host)))).await;
    let mut best: Option<(u64, Vec<Range>)> = None;
    let mut why = DialError::Unreachable("no node of the Cluster answers".to_owned());
    for answer in answers.into_iter().flatten() {
        match answer {
            Ok((epoch, ranges)) if best.as_ref().is_none_or(|(best, _)| epoch > *best) => best = Some((epoch, ranges)),
            Ok(_) => {}
            Err(error) => why = error,
        }
    }
    best.map(|(_, ranges)| ranges).ok_or(why)
}

async fn ask_one(address: &Address, host: &Host) -> Result<(u64, Vec<Range>), DialError> {
    let mut wire = Wire::open(host, login(address), address.tls.as_ref()).await?;
    let Value::BulkString(info) = wire.query(cmd("CLUSTER").arg("INFO")).await? else { return Err(strange(host)) };
    let info = String::from_utf8_lossy(&info);
    let epoch = info.lines().find_map(|line| line.trim_end().strip_prefix("cluster_current_epoch:")).and_then(|epoch| epoch.parse().ok());
    let Value::Array(rows) = wire.query(cmd("CLUSTER").arg("SLOTS")).await? else { return Err(strange(host)) };
    let ranges = rows.iter().map(|row| range(row, host)).collect::<Option<Vec<_>>>().filter(|ranges| !ranges.is_empty());
    ranges.map(|ranges| (epoch.unwrap_or(0), ranges)).ok_or_else(|| DialError::NotReady(format!("{host} knows no slots of a Cluster")))
}

fn strange(host: &Host) -> DialError {
    DialError::NotReady(format!("{host} does not answer as a node of a Cluster"))
}

/// First slot, last slot, the primary; its replicas come after it.
fn range(row: &Value, asked: &Host) -> Option<Range> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &row[..] else { return None };
    let [name, Value::Int(port), ..] = &primary[..] else { return None };
    // A node that does not know its own name leaves it out: it is the one that was asked.
    let name = match name {
        Value::BulkString(name) if !name.is_empty() && name != b"?" => String::from_utf8(name.clone()).ok()?,
        _ => asked.name.clone(),
    };
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, Host { name, port: u16::try_from(*port).ok()? }))
}

/// The host of a MOVED or ASK reply.
pub(super) fn redirect_host(place: &str, asked: Option<&Host>) -> Option<Host> {
    let (name, port) = place.rsplit_once(':')?;
    let name = if name.is_empty() || name == "?" { asked?.name.as_str() } else { name };
    Some(Host { name: name.to_owned(), port: port.parse().ok()? })
}
