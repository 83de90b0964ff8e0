//! What matches a Topic Name, in time that grows with its levels and not with the number of filters. No I/O, reads no clock.
//!
//! A node is a level of a filter. Nodes lie in one arena and name each other by index, so nothing here recurses: a filter of 65,535
//! levels cannot overflow the stack when it is added, matched, removed or dropped. The children of all nodes are in one hash table,
//! keyed by parent and level, and the texts of all levels in one place, so that a node is small however many children it has.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::filter::TopicFilter;
use super::name::TopicName;
use super::texts::{Place, Texts};

/// A map from Topic Filters to values that finds the values of all filters that match a Topic Name. A filter has a number for as long as it
/// has a value other than the default one, which stands for none.
pub struct Trie<V> {
    /// `nodes[ROOT]` stands before the first level and is never freed.
    nodes: Vec<Node<V>>,
    /// Indices in `nodes` that are free for reuse.
    free: Vec<u32>,
    /// Every node but the root and the wildcards, hashed by parent and level.
    edges: HashTable<u32>,
    levels: Texts,
    hasher: RandomState,
}

struct Node<V> {
    /// The text of this level; NONE for wildcards, which their parents know by index.
    level: Place,
    parent: u32,
    /// How many nodes have this one as parent, wildcards included.
    children: u32,
    /// The child for `+`, or NONE.
    plus: u32,
    /// The child for `#`, or NONE.
    rest: u32,
    /// The value of the filter that ends here.
    value: V,
}

const ROOT: u32 = 0;
/// No node: the root is nobody's child.
const NONE: u32 = 0;

impl<V: Default> Node<V> {
    fn new(parent: u32, level: Place) -> Node<V> {
        Node { level, parent, children: 0, plus: NONE, rest: NONE, value: V::default() }
    }
}

impl<V: Default> Default for Trie<V> {
    fn default() -> Trie<V> {
        Trie {
            nodes: vec![Node::new(ROOT, Place::NONE)],
            free: Vec::new(),
            edges: HashTable::new(),
            levels: Texts::default(),
            hasher: RandomState::default(),
        }
    }
}

impl<V: Copy + Default + PartialEq> Trie<V> {
    /// The number of a filter that has a value.
    pub fn find(&self, filter: &TopicFilter) -> Option<u32> {
        let mut node = ROOT;
        for level in filter.levels() {
            node = some(self.child(node, level))?;
        }
        self.has_value(node).then_some(node)
    }

    /// The number of a filter; one that has no value is to be given one, or [`Trie::tidy`] is to be called.
    pub fn find_or_add(&mut self, filter: &TopicFilter) -> u32 {
        let mut node = ROOT;
        for level in filter.levels() {
            node = match self.child(node, level) {
                NONE => self.add_child(node, level),
                child => child,
            };
        }
        node
    }

    pub fn value(&self, filter: u32) -> V {
        self.nodes[filter as usize].value
    }

    pub fn value_mut(&mut self, filter: u32) -> &mut V {
        &mut self.nodes[filter as usize].value
    }

    /// The text of a filter.
    pub fn text(&self, filter: u32) -> String {
        let mut levels = Vec::new();
        let mut node = filter;
        while node != ROOT {
            let Node { level, parent, .. } = &self.nodes[node as usize];
            let above = &self.nodes[*parent as usize];
            levels.push(match node {
                _ if above.plus == node => "+".into(),
                _ if above.rest == node => "#".into(),
                _ => String::from_utf8_lossy(self.levels.get(*level)),
            });
            node = *parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// Frees the nodes that nobody needs any more when this filter has no value.
    pub fn tidy(&mut self, filter: u32) {
        let mut node = filter;
        while node != ROOT && self.is_bare(node) {
            node = self.detach(node);
        }
        if self.is_bare(ROOT) {
            *self = Trie::default(); // gives the memory of a burst of filters back
        }
    }

    /// Calls `visit` with the value of every filter that matches (sections 4.7.1 and 4.7.2).
    ///
    /// Goes level by level with the set of nodes that match so far: each node of the trie is seen at most once, and the text of a level
    /// is hashed once however many nodes ask for it.
    pub fn matches(&self, topic: &TopicName, mut visit: impl FnMut(V)) {
        if self.is_bare(ROOT) {
            return;
        }
        let (mut current, mut next) = (vec![ROOT], Vec::new());
        let mut wildcards = !topic.is_reserved(); // [MQTT-4.7.2-1]
        for level in topic.levels() {
            let level_hash = self.hash(level.as_bytes());
            for index in current.drain(..) {
                let node = &self.nodes[index as usize];
                if wildcards {
                    self.visit_value(some(node.rest), &mut visit);
                    next.extend(some(node.plus));
                }
                next.extend(some(self.literal(index, level, level_hash)));
            }
            std::mem::swap(&mut current, &mut next);
            if current.is_empty() {
                return;
            }
            wildcards = true;
        }
        for index in current {
            self.visit_value(Some(index), &mut visit);
            self.visit_value(some(self.nodes[index as usize].rest), &mut visit); // "sport/#" matches "sport"
        }
    }

    /// How many nodes are in use, the root among them.
    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn visit_value(&self, node: Option<u32>, visit: &mut impl FnMut(V)) {
        node.filter(|node| self.has_value(*node)).into_iter().for_each(|node| visit(self.value(node)));
    }

    fn has_value(&self, node: u32) -> bool {
        self.nodes[node as usize].value != V::default()
    }

    fn is_bare(&self, node: u32) -> bool {
        self.nodes[node as usize].children == 0 && !self.has_value(node)
    }

    /// The child for a level of a filter, or NONE.
    fn child(&self, parent: u32, level: &str) -> u32 {
        match level {
            "+" => self.nodes[parent as usize].plus,
            "#" => self.nodes[parent as usize].rest,
            _ => self.literal(parent, level, self.hash(level.as_bytes())),
        }
    }

    /// The child for a level that is no wildcard, or NONE.
    fn literal(&self, parent: u32, level: &str, level_hash: u64) -> u32 {
        let found = self.edges.find(self.edge_hash(parent, level_hash), |&child| {
            let child = &self.nodes[child as usize];
            child.parent == parent && self.levels.get(child.level) == level.as_bytes()
        });
        found.copied().unwrap_or(NONE)
    }

    fn hash(&self, level: &[u8]) -> u64 {
        self.hasher.hash_one(level)
    }

    fn edge_hash(&self, parent: u32, level_hash: u64) -> u64 {
        self.hasher.hash_one((parent, level_hash))
    }

    fn add_child(&mut self, parent: u32, level: &str) -> u32 {
        let child = self.place(Node::new(parent, Place::NONE));
        let above = &mut self.nodes[parent as usize];
        above.children += 1;
        match level {
            "+" => above.plus = child,
            "#" => above.rest = child,
            _ => {
                self.nodes[child as usize].level = self.levels.add(child, level.as_bytes());
                let hash = self.edge_hash(parent, self.hash(level.as_bytes()));
                let (nodes, levels, hasher) = (&self.nodes, &self.levels, &self.hasher);
                self.edges.insert_unique(hash, child, |&other| {
                    let other = &nodes[other as usize];
                    hasher.hash_one((other.parent, hasher.hash_one(levels.get(other.level))))
                });
            }
        }
        child
    }

    fn place(&mut self, node: Node<V>) -> u32 {
        if let Some(index) = self.free.pop() {
            self.nodes[index as usize] = node;
            return index;
        }
        let index = u32::try_from(self.nodes.len()).expect("four billion nodes do not fit in memory");
        self.nodes.push(node);
        index
    }

    /// Frees a node without children and says who its parent was.
    fn detach(&mut self, node: u32) -> u32 {
        let Node { level, parent, .. } = std::mem::replace(&mut self.nodes[node as usize], Node::new(ROOT, Place::NONE));
        self.free.push(node);
        let above = &mut self.nodes[parent as usize];
        above.children -= 1;
        if above.plus == node {
            above.plus = NONE;
        } else if above.rest == node {
            above.rest = NONE;
        } else {
            let hash = self.edge_hash(parent, self.hash(self.levels.get(level)));
            if let Ok(edge) = self.edges.find_entry(hash, |&child| child == node) {
                edge.remove();
            }
            let nodes = &mut self.nodes;
            self.levels.remove(level, |node, place| nodes[node as usize].level = place);
        }
        parent
    }
}

fn some(node: u32) -> Option<u32> {
    (node != NONE).then_some(node)
}
