//! Whether this node is well. Cheap to ask, and true at the moment of the answer.

use crate::broker::Broker;
use crate::broker::life::Stage;
use crate::store::health::StoreHealth;

/// What an operator, a probe or a balancer has to know of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub store: StoreHealth,
    /// It may promise something to its Clients: its Store is its own, or it is a member of the cluster and was heard of lately.
    pub joined: bool,
    /// It is about to end, and wants no more Clients.
    pub draining: bool,
    /// What is wrong, each in words for the operator; empty when all is well.
    pub errors: Vec<String>,
}

impl Health {
    /// Clients are welcome. A store that is full does not make it unready: what makes room again are its Clients' acknowledgements.
    pub fn is_ready(&self) -> bool {
        self.joined && self.store.is_reachable() && !self.draining
    }
}

impl Broker {
    pub fn health(&self) -> Health {
        let store = self.store.health();
        let joined = !self.store.is_shared() || self.store.cluster().is_some_and(|cluster| cluster.may_promise());
        let draining = self.life.stage() > Stage::Running;
        let mut errors = Vec::new();
        if let Some(down_for) = store.down_for {
            let why = store.last_error.as_deref().unwrap_or("it does not answer");
            errors.push(format!("the Store has been away for {} s: {why}", down_for.as_secs()));
        } else if let Some(error) = &store.last_error {
            errors.push(format!("the Store: {error}"));
        }
        let states = [
            (!joined, "this node is no member of the cluster now: it takes no Clients"),
            (store.is_full, "the Store is full: new messages are refused"),
            (store.lacks_replicas, "the Store keeps fewer copies than it should: nothing is confirmed"),
            (store.is_read_only, "the Store takes no writes"),
        ];
        errors.extend(states.iter().filter(|(is_so, _)| *is_so).map(|(_, text)| (*text).to_owned()));
        Health { store, joined, draining, errors }
    }
}
