//! The bans as this node has them at hand.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::hook::client::Client;
use crate::store::bans::{Ban, Banned, Network};
use crate::time::Time;

#[derive(Debug, Default)]
pub struct Bans {
    clients: HashMap<String, Option<Time>>,
    users: HashMap<String, Option<Time>>,
    networks: Vec<(Network, Option<Time>)>,
}

impl Bans {
    pub fn new(bans: Vec<Ban>) -> Bans {
        let mut all = Bans::default();
        for Ban { who, until, .. } in bans {
            match who {
                Banned::Client(id) => drop(all.clients.insert(id, until)),
                Banned::User(name) => drop(all.users.insert(name, until)),
                Banned::Addresses(network) => all.networks.push((network, until)),
            }
        }
        all
    }

    pub fn hold(&self, client: &Client, now: Time) -> bool {
        let holds = |until: Option<&Option<Time>>| until.is_some_and(|until| until.is_none_or(|until| now < until));
        holds(self.clients.get(client.id.as_str()))
            || client.user.as_ref().is_some_and(|user| holds(self.users.get(&user[..])))
            || self.has(client.peer.address.ip(), now)
    }

    /// Whether this address is shut out, whoever comes from there.
    pub fn has(&self, address: IpAddr, now: Time) -> bool {
        self.networks.iter().any(|(network, until)| until.is_none_or(|until| now < until) && network.has(address))
    }
}
