//! What the nodes of a cluster tell each other through the Store. A store that only one node uses has none of it.

use std::sync::Arc;

use crate::message::Run;
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::subscription::{Grant, Selector, Subscription};

/// One incarnation of a node: its configured name and something that no other incarnation has. One word: each Session that a node knows
/// has room for one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<Box<str>>);

impl NodeId {
    pub fn new(text: &str) -> NodeId {
        NodeId(Arc::new(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the node, of which this is an incarnation: `NAME.INCARNATION`, in the order in which they came.
    pub fn name(&self) -> &str {
        self.as_str().rsplit_once('.').map_or(self.as_str(), |(name, _)| name)
    }
}

/// Whose subscriptions a route stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A Session. `node` names the one it lives and dies with; a durable Session has none: messages above QoS 0 go to its queue.
    Session { client_id: ClientId, node: Option<NodeId> },
    /// All Sessions that are connected to a node: it wants what they subscribe to. The options say what for: `no_local` is set when only
    /// QoS 0 is wanted, because all of them are durable and have the rest from their queues.
    Node(NodeId),
}

/// A change of the routing table, in the order of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// Adds subscriptions, or replaces those with the same selector.
    Set {
        who: Who,
        subscriptions: Vec<Subscription>,
    },
    Unset {
        who: Who,
        selectors: Vec<Selector>,
    },
    /// The Session has ended, or the node is dead: all its subscriptions go.
    End {
        who: Who,
    },
}

/// Counts the changes of the routing table.
pub type RouteVersion = u64;

/// Messages that one node has for the live subscribers of another.
#[derive(Clone, Debug)]
pub struct Post {
    pub run: Arc<Run>,
    /// One member of a share group that was chosen, with what it is granted; `None`: everybody there whose filters match.
    pub to: Option<(ClientId, Grant)>,
    /// Who published it, for No Local.
    pub publisher: Option<ClientId>,
}

/// What a node hears from the others.
#[derive(Debug)]
pub enum News {
    /// Apply these, then say [`applied`](crate::store::redis::cluster::Cluster::applied) with the version.
    Routes {
        version: RouteVersion,
        /// With the epochs of their owners.
        changes: Vec<(Epoch, RouteChange)>,
    },
    /// Changes were missed (the log was trimmed, or Redis is another one): the table is to be loaded again.
    RoutesLost,
    Posts(Vec<Post>),
    /// Posts were lost before they were read: live Sessions that rely on them must end (0x97), durable ones read their queues.
    PostsLost,
    /// The queue of a Session here has something new.
    Bell(ClientId),
    /// Bells may have been missed: every durable Session here looks into its queue.
    BellsLost,
    /// A connection on another node owns this Session since this epoch.
    Kick {
        client_id: ClientId,
        epoch: Epoch,
    },
    /// A node is dead, and it is this node that shall clean up after it.
    NodeDead(NodeId),
    /// This node is no member any more: its connections end, and it joins again as another incarnation.
    Expelled(Expelled),
}

/// Why a node is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expelled {
    /// It was not heard of for too long: the others have taken it for dead.
    TakenForDead,
    /// It could not reach Redis for so long that it cannot tell.
    Outage,
    /// Redis has forgotten everything that all nodes had: FLUSHALL, or a restart without its data.
    Flushed,
}
