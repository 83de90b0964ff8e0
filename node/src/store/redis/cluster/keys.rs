//! Every key and channel of the cluster. What stands in braces decides the hash slot, so that all keys of a function call are in one slot.
//!
//! | key | type | what |
//! |---|---|---|
//! | `mqttd:{routes}:s:CLIENT`, `:n:NODE` | HASH | subscriptions by `SHARE NUL FILTER`; `n`: the node that the Session lives and dies with, or nothing |
//! | `mqttd:{routes}:sessions`, `:nodes` | HASH | whose tables there are, with their epochs; those of the ended for a minute more |
//! | `mqttd:{routes}:sessions-ended`, `:nodes-ended` | ZSET | those without a table, by when it went, in ms |
//! | `mqttd:{routes}:ver` | STRING | version of the newest change |
//! | `mqttd:{routes}:log` | STREAM `VERSION-0` | changes, in the field `c` |
//! | `mqttd:{nodes}:hb` | ZSET | members by their last beat, in ms |
//! | `mqttd:{nodes}:applied` | HASH | members to the versions of routes that they have applied |
//! | `mqttd:{nodes}:dead` | ZSET | dead nodes, by when the claim of who cleans up after them ends, in ms |
//! | `mqttd:{nodes}:born` | STRING | when the first node joined, in µs: when it is another, Redis has forgotten everything |
//! | `mqttd:{nodes}:numbers` | HASH | members to what they have counted, for the totals under `$SYS/broker/` |
//! | `mqttd:{nodes}:totals` | HASH | how many Sessions there are and what is in their queues, as of the last walk over all keys |
//! | `mqttd:{n:NODE}:in` | STREAM `0-NUMBER` | inbox: batches of posts, in the field `p` |
//! | `mqttd:{n:NODE}:sess` | SET | clients that may have a Session there: superset |
//!
//! | channel | what |
//! |---|---|
//! | `mqttd:{n:NODE}:q0` | batches of posts at QoS 0 |
//! | `mqttd:{CLIENT}:bell` | nothing: a bell; eight bytes: a kick with its epoch |
//! | `mqttd:applied` | eight bytes of version, and the node that has applied it |

use crate::packet::connect::ClientId;
use crate::store::cluster::{NodeId, Who};
use crate::store::redis::keys::escape;

#[derive(Debug)]
pub(in crate::store::redis) struct Keys {
    /// With its colon.
    prefix: String,
}

/// The kinds of owners of routes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owners {
    Sessions,
    Nodes,
}

impl Keys {
    pub(in crate::store::redis) fn new(prefix: &str) -> Keys {
        Keys { prefix: format!("{}:", escape(prefix)) }
    }

    fn key(&self, tag: &str, word: &str) -> String {
        format!("{}{{{tag}}}:{word}", self.prefix)
    }

    fn routes(&self, word: &str) -> String {
        self.key("routes", word)
    }

    pub(super) fn owners(&self, owners: Owners) -> String {
        self.routes(owners.word())
    }

    /// The routes of one owner, by its name in [`Keys::owners`].
    pub(super) fn table(&self, owners: Owners, owner: &str) -> String {
        let letter = if matches!(owners, Owners::Sessions) { 's' } else { 'n' };
        self.routes(&format!("{letter}:{owner}"))
    }

    pub(super) fn version(&self) -> String {
        self.routes("ver")
    }

    pub(super) fn log(&self) -> String {
        self.routes("log")
    }

    /// What a function that changes routes wants, in its order.
    pub(super) fn change(&self, who: &Who) -> [String; 5] {
        let (owners, owner) = owner(who);
        let ended = format!("{}-ended", self.owners(owners));
        [self.table(owners, &owner), self.owners(owners), ended, self.version(), self.log()]
    }

    /// What the functions that keep the members want, in their order.
    pub(in crate::store::redis) fn members(&self) -> [String; 3] {
        ["hb", "applied", "dead"].map(|word| self.key("nodes", word))
    }

    /// What a beat wants, in its order.
    pub(super) fn beat(&self) -> [String; 4] {
        ["hb", "applied", "dead", "born"].map(|word| self.key("nodes", word))
    }

    pub(super) fn dead(&self) -> String {
        self.key("nodes", "dead")
    }

    /// What the members have counted.
    pub(super) fn numbers(&self) -> String {
        self.key("nodes", "numbers")
    }

    pub(super) fn totals(&self) -> String {
        self.key("nodes", "totals")
    }

    pub(super) fn inbox(&self, node: &NodeId) -> String {
        self.node(node, "in")
    }

    pub(in crate::store::redis) fn sessions(&self, node: &NodeId) -> String {
        self.node(node, "sess")
    }

    pub(super) fn posts(&self, node: &NodeId) -> String {
        self.node(node, "q0")
    }

    fn node(&self, node: &NodeId, word: &str) -> String {
        self.key(&format!("n:{}", escape(node.as_str())), word)
    }

    pub(super) fn bell(&self, client_id: &ClientId) -> String {
        self.key(&escape(client_id.as_str()), "bell")
    }

    /// Whose bell channel that is.
    pub(super) fn rung<'a>(&self, channel: &'a str) -> Option<&'a str> {
        channel.strip_prefix(&*self.prefix)?.strip_prefix('{')?.strip_suffix("}:bell")
    }

    pub(super) fn applied(&self) -> String {
        format!("{}applied", self.prefix)
    }
}

impl Owners {
    fn word(self) -> &'static str {
        match self {
            Owners::Sessions => "sessions",
            Owners::Nodes => "nodes",
        }
    }
}

/// Under what kind and name the routes of somebody are kept.
pub(super) fn owner(who: &Who) -> (Owners, String) {
    match who {
        Who::Session { client_id, .. } => (Owners::Sessions, escape(client_id.as_str())),
        Who::Node(node) => (Owners::Nodes, escape(node.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::keys::unescape;

    #[test]
    fn a_bell_tells_whose_it_is() {
        let keys = Keys::new("mq}t{td");
        for name in ["", "a}b", ":bell", "}:bell"] {
            let channel = keys.bell(&ClientId::new(name));
            assert_eq!(keys.rung(&channel).map(unescape).as_deref(), Some(name), "{channel}");
        }
        assert_eq!(keys.rung(&keys.applied()), None);
    }
}
