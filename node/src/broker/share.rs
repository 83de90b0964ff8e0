//! Shared Subscriptions: which member of a group gets a message (section 4.8.2).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::Broker;
use crate::broker::batch::Batch;
use crate::broker::roster::{Place, Subscriber};
use crate::broker::routes::GroupRoute;
use crate::message::{Message, Run};
use crate::packet::connect::ClientId;
use crate::store::StoreError;
use crate::subscription::ShareGroup;
use crate::time::Time;

/// Turns of a group that a node leases at a time, so that the Store is asked once for so many messages.
const CURSOR_BLOCK: u64 = 64;

/// Groups whose leased turns are remembered; at the bound the rest of all leases is given up, which only shifts the round.
const CURSORS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub struct Cursors(Mutex<HashMap<Arc<ShareGroup>, std::ops::Range<u64>>>);

impl Cursors {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<ShareGroup>, std::ops::Range<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Gives each message of the run to one member of the group, in turn.
    pub(super) async fn share(
        &self,
        route: &GroupRoute,
        run: &Arc<Run>,
        turns: &[(Arc<ShareGroup>, ClientId)],
        batch: &mut Batch,
        origin: usize,
    ) -> Result<(), StoreError> {
        let mut hands: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let told = turns.iter().find(|(group, _)| *group == route.group);
        let told = told.and_then(|(_, client_id)| route.members.iter().position(|(member, _)| member.client_id == *client_id));
        for place in 0..run.messages().len() {
            let chosen = if told.is_some() { told } else { self.choose(route).await? };
            if let Some(member) = chosen {
                hands.entry(member).or_default().push(place);
                if let Some(number) = run.numbers().map(|numbers| numbers.of[place]).filter(|number| *number > 0) {
                    batch.note_turn(number, &route.group, &route.members[member].0.client_id);
                }
            }
        }
        for (member, places) in hands {
            let (subscriber, grant) = &route.members[member];
            let whole = places.len() == run.messages().len();
            let part = if whole { None } else { run.part(|place| places.binary_search(&place).is_ok()) };
            let run = part.map_or_else(|| run.clone(), Arc::new);
            batch.deliver(subscriber, &run, grant, origin);
        }
        Ok(())
    }

    /// The member whose turn it is; one that is connected before one that is not.
    async fn choose(&self, route: &GroupRoute) -> Result<Option<usize>, StoreError> {
        let count = route.members.len();
        if count == 0 {
            return Ok(None);
        }
        let turn = (self.turn(&route.group).await? % count as u64) as usize;
        let in_turn = || (turn..count).chain(0..turn);
        let online = in_turn().find(|&member| self.is_reachable(&route.members[member].0));
        Ok(online.or_else(|| in_turn().find(|&member| route.members[member].0.is_durable())))
    }

    /// Whether somebody is there to take a message now, as far as this node knows.
    fn is_reachable(&self, subscriber: &Subscriber) -> bool {
        match &subscriber.place {
            Place::Member(node) => self.store.cluster().is_some_and(|cluster| cluster.is_live(node)),
            _ => subscriber.mailbox.is_welcoming(),
        }
    }

    async fn turn(&self, group: &Arc<ShareGroup>) -> Result<u64, StoreError> {
        if let Some(turn) = self.cursors.lock().get_mut(group).and_then(Iterator::next) {
            return Ok(turn);
        }
        let first = self.store.cursor(&group.share, &group.filter, CURSOR_BLOCK).await?;
        let mut cursors = self.cursors.lock();
        if cursors.len() >= CURSORS_MAX {
            cursors.clear();
        }
        cursors.insert(group.clone(), first + 1..first + CURSOR_BLOCK);
        Ok(first)
    }

    /// Gives a message that a member left unacknowledged to another one.
    pub(super) async fn hand_over(&self, message: Message, group: &ShareGroup, now: Time) -> Result<(), StoreError> {
        let routes = self.table.look_up(&message.topic, &self.roster, self.guard.as_ref());
        let Some(route) = routes.groups.iter().find(|route| *route.group == *group) else { return Ok(()) };
        let mut batch = Batch::default();
        self.share(route, &Arc::new(Run::from(message)), &[], &mut batch, 0).await?;
        self.flush(&mut batch, &mut [], now).await
    }
}
