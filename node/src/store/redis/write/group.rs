//! The writes of a turn by the Sessions that they are for.

use std::collections::HashMap;
use std::sync::Arc;

use crate::message::{Number, Run};
use crate::packet::connect::ClientId;
use crate::packet::{PacketId, QoS};
use crate::session::state::Sequence;
use crate::store::{Lease, Pending, Write};
use crate::subscription::Grant;

/// All writes of a turn to one Session; a place is that of the write in the turn.
pub(super) struct Group<'a> {
    pub(super) client_id: &'a ClientId,
    pub(super) appends: Vec<(usize, &'a Arc<Run>, &'a Grant)>,
    pub(super) acknowledged: Vec<Sequence>,
    pub(super) released: Vec<Sequence>,
    pub(super) completed: Vec<Sequence>,
    pub(super) received: Vec<(usize, &'a Lease, PacketId, Mark<'a>)>,
    pub(super) settled: Vec<(PacketId, Number)>,
}

/// What is said of a Packet Identifier.
#[derive(Clone, Copy)]
pub(super) enum Mark<'a> {
    Received(Option<&'a Pending>),
    Forgotten,
}

/// The writes by the Sessions that they are for, in the order of their first.
pub(super) fn group(writes: &[Write]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, write) in writes.iter().enumerate() {
        let client_id = write.client_id();
        let at = *places.entry(client_id.as_str()).or_insert_with(|| {
            groups.push(Group::new(client_id));
            groups.len() - 1
        });
        groups[at].add(place, write);
    }
    groups
}

impl<'a> Mark<'a> {
    pub(super) fn is_received(self) -> bool {
        matches!(self, Mark::Received(_))
    }

    pub(super) fn pending(self) -> Option<&'a Pending> {
        if let Mark::Received(pending) = self { pending } else { None }
    }
}

impl<'a> Group<'a> {
    fn new(client_id: &'a ClientId) -> Group<'a> {
        Group {
            client_id,
            appends: Vec::new(),
            acknowledged: Vec::new(),
            released: Vec::new(),
            completed: Vec::new(),
            received: Vec::new(),
            settled: Vec::new(),
        }
    }

    fn add(&mut self, place: usize, write: &'a Write) {
        match write {
            Write::Append { grant, .. } if grant.qos == QoS::AtMostOnce => {}
            Write::Append { run, grant, .. } => self.appends.push((place, run, grant)),
            Write::Acknowledge { sequence, .. } => self.acknowledged.push(*sequence),
            Write::Release { sequence, .. } => self.released.push(*sequence),
            Write::Complete { sequence, .. } => self.completed.push(*sequence),
            Write::Receive { of, packet_id, pending } => self.received.push((place, of, *packet_id, Mark::Received(pending.as_deref()))),
            Write::Forget { of, packet_id } => self.received.push((place, of, *packet_id, Mark::Forgotten)),
            Write::Settle { packet_id, number, .. } => self.settled.push((*packet_id, *number)),
        }
    }
}
