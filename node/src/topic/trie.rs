//! What matches a Topic Name, in time that grows with its levels and not with the number of filters. No I/O, reads no clock.
//!
//! A node is a level of a filter. Nodes lie in one arena and name each other by index, so nothing here recurses: a filter of 65,535
//! levels cannot overflow the stack when it is added, matched, removed or dropped. The children of all nodes are in one hash table,
//! keyed by parent and level, so that a node is small however many children it has.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::filter::TopicFilter;
use super::name::TopicName;

/// A map from Topic Filters to values that finds the values of all filters that match a Topic Name.
pub struct Trie<V> {
    /// `nodes[ROOT]` stands before the first level and is never freed.
    nodes: Vec<Node<V>>,
    /// Indices in `nodes` that are free for reuse.
    free: Vec<u32>,
    /// Every node but the root and the wildcards, hashed by parent and level.
    edges: HashTable<u32>,
    hasher: RandomState,
}

struct Node<V> {
    /// The text of this level; empty for wildcards, which their parents know by index.
    level: Box<str>,
    parent: u32,
    /// How many nodes have this one as parent, wildcards included.
    children: u32,
    /// The child for `+`, or NONE.
    plus: u32,
    /// The child for `#`, or NONE.
    rest: u32,
    /// The value of the filter that ends here.
    value: Option<V>,
}

const ROOT: u32 = 0;
/// No node: the root is nobody's child.
const NONE: u32 = 0;

impl<V> Node<V> {
    fn new(parent: u32, level: &str) -> Node<V> {
        Node { level: level.into(), parent, children: 0, plus: NONE, rest: NONE, value: None }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Trie<V> {
        Trie { nodes: vec![Node::new(ROOT, "")], free: Vec::new(), edges: HashTable::new(), hasher: RandomState::default() }
    }
}

impl<V> Trie<V> {
    pub fn get(&self, filter: &TopicFilter) -> Option<&V> {
        self.nodes[self.find(filter)? as usize].value.as_ref()
    }

    pub fn get_mut(&mut self, filter: &TopicFilter) -> Option<&mut V> {
        let node = self.find(filter)?;
        self.nodes[node as usize].value.as_mut()
    }

    /// The value of this filter, made when there is none.
    pub fn or_default(&mut self, filter: &TopicFilter) -> &mut V
    where
        V: Default,
    {
        let mut node = ROOT;
        for level in filter.levels() {
            node = match self.child(node, level) {
                NONE => self.add_child(node, level),
                child => child,
            };
        }
        self.nodes[node as usize].value.get_or_insert_default()
    }

    /// Takes the value of this filter out, and the nodes that nobody needs any more.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<V> {
        let mut node = self.find(filter)?;
        let value = self.nodes[node as usize].value.take()?;
        while node != ROOT && self.is_bare(node) {
            node = self.detach(node);
        }
        if self.is_bare(ROOT) {
            *self = Trie::default(); // gives the memory of a burst of filters back
        }
        Some(value)
    }

    /// Calls `visit` with the value of every filter that matches (sections 4.7.1 and 4.7.2).
    ///
    /// Goes level by level with the set of nodes that match so far: each node of the trie is seen at most once, and the text of a level
    /// is hashed once however many nodes ask for it.
    pub fn matches<'a>(&'a self, topic: &TopicName, mut visit: impl FnMut(&'a V)) {
        if self.is_bare(ROOT) {
            return;
        }
        let (mut current, mut next) = (vec![ROOT], Vec::new());
        let mut wildcards = !topic.is_reserved(); // [MQTT-4.7.2-1]
        for level in topic.levels() {
            let level_hash = self.hasher.hash_one(level);
            for index in current.drain(..) {
                let node = &self.nodes[index as usize];
                if wildcards {
                    self.value_of(node.rest).into_iter().for_each(&mut visit);
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
            let node = &self.nodes[index as usize];
            node.value.iter().for_each(&mut visit);
            self.value_of(node.rest).into_iter().for_each(&mut visit); // "sport/#" matches "sport"
        }
    }

    /// How many nodes are in use, the root among them.
    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn value_of(&self, node: u32) -> Option<&V> {
        some(node).and_then(|node| self.nodes[node as usize].value.as_ref())
    }

    fn is_bare(&self, node: u32) -> bool {
        let node = &self.nodes[node as usize];
        node.children == 0 && node.value.is_none()
    }

    fn find(&self, filter: &TopicFilter) -> Option<u32> {
        let mut node = ROOT;
        for level in filter.levels() {
            node = some(self.child(node, level))?;
        }
        Some(node)
    }

    /// The child for a level of a filter, or NONE.
    fn child(&self, parent: u32, level: &str) -> u32 {
        match level {
            "+" => self.nodes[parent as usize].plus,
            "#" => self.nodes[parent as usize].rest,
            _ => self.literal(parent, level, self.hasher.hash_one(level)),
        }
    }

    /// The child for a level that is no wildcard, or NONE.
    fn literal(&self, parent: u32, level: &str, level_hash: u64) -> u32 {
        let found = self.edges.find(self.edge_hash(parent, level_hash), |&child| {
            let child = &self.nodes[child as usize];
            child.parent == parent && *child.level == *level
        });
        found.copied().unwrap_or(NONE)
    }

    fn edge_hash(&self, parent: u32, level_hash: u64) -> u64 {
        self.hasher.hash_one((parent, level_hash))
    }

    fn add_child(&mut self, parent: u32, level: &str) -> u32 {
        let is_wildcard = matches!(level, "+" | "#");
        let child = self.place(Node::new(parent, if is_wildcard { "" } else { level }));
        let above = &mut self.nodes[parent as usize];
        above.children += 1;
        match level {
            "+" => above.plus = child,
            "#" => above.rest = child,
            _ => {
                let hash = self.edge_hash(parent, self.hasher.hash_one(level));
                let (nodes, hasher) = (&self.nodes, &self.hasher);
                self.edges.insert_unique(hash, child, |&other| {
                    let other = &nodes[other as usize];
                    hasher.hash_one((other.parent, hasher.hash_one(&*other.level)))
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
        let Node { level, parent, .. } = std::mem::replace(&mut self.nodes[node as usize], Node::new(ROOT, ""));
        self.free.push(node);
        let above = &mut self.nodes[parent as usize];
        above.children -= 1;
        if above.plus == node {
            above.plus = NONE;
        } else if above.rest == node {
            above.rest = NONE;
        } else {
            let hash = self.edge_hash(parent, self.hasher.hash_one(&*level));
            if let Ok(edge) = self.edges.find_entry(hash, |&child| child == node) {
                edge.remove();
            }
        }
        parent
    }
}

fn some(node: u32) -> Option<u32> {
    (node != NONE).then_some(node)
}
