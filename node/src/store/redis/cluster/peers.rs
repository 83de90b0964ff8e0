//! Which nodes live, and which routes each of them has applied. No I/O, reads no clock.

use std::collections::BTreeMap;

use crate::store::cluster::{NodeId, RouteVersion};

#[derive(Debug, Default)]
pub(super) struct Peers(BTreeMap<NodeId, Peer>);

#[derive(Debug)]
struct Peer {
    applied: RouteVersion,
    /// It has told something itself since the last beat: that beat may be older.
    is_heard: bool,
}

impl Peers {
    /// What a node said itself.
    pub(super) fn hear(&mut self, node: NodeId, applied: RouteVersion) {
        let peer = self.0.entry(node).or_insert(Peer { applied, is_heard: true });
        peer.applied = peer.applied.max(applied);
        peer.is_heard = true;
    }

    /// What a beat told of the nodes that live.
    pub(super) fn beat(&mut self, live: impl IntoIterator<Item = (NodeId, RouteVersion)>) {
        let mut before = std::mem::take(&mut self.0);
        for (node, applied) in live {
            let known = before.remove(&node).map_or(0, |peer| peer.applied);
            self.0.insert(node, Peer { applied: applied.max(known), is_heard: false });
        }
        let heard = before.into_iter().filter(|(_, peer)| peer.is_heard);
        self.0.extend(heard.map(|(node, peer)| (node, Peer { is_heard: false, ..peer })));
    }

    /// Whether all have applied the routes up to this version.
    pub(super) fn have(&self, version: RouteVersion) -> bool {
        self.0.values().all(|peer| peer.applied >= version)
    }

    /// It is no more.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    pub(super) fn has(&self, node: &NodeId) -> bool {
        self.0.contains_key(node)
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_live_count() {
        let [a, b] = ["a", "b"].map(NodeId::new);
        let mut peers = Peers::default();
        peers.beat([(a.clone(), 5), (b.clone(), 0)]);
        assert!(!peers.have(1));
        peers.hear(b.clone(), 5);
        assert!(peers.have(5) && !peers.have(6));
        peers.beat([(a.clone(), 5), (b, 4)]); // an old tale
        assert!(peers.have(5));
        peers.beat([(a, 6)]);
        assert!(peers.have(6));
    }

    #[test]
    fn who_has_just_come_is_not_forgotten_by_an_older_beat() {
        let [a, b] = ["a", "b"].map(NodeId::new);
        let mut peers = Peers::default();
        peers.hear(b, 1);
        peers.beat([(a.clone(), 2)]);
        assert!(!peers.have(2));
        peers.beat([(a.clone(), 2)]);
        assert!(peers.have(2));
        assert_eq!(peers.nodes(), [a]);
    }
}
