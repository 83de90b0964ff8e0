//! What the router answers: who gets a message. No I/O, reads no clock.

use std::sync::Arc;

use crate::subscription::Grant;
use crate::topic::filter::{ShareName, TopicFilter};

/// Stands for a subscriber in the routing table: four bytes there, whatever the length of the Client Identifier. Keys are counted from
/// zero, and used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Every subscriber with a matching subscription that is not shared, sorted by key.
    pub direct: Vec<Target>,
    /// Every group of Shared Subscriptions that matches, sorted by Share Name and filter: one member of each gets the message.
    pub groups: Vec<Arc<Group>>,
}

/// A subscriber that gets one copy, however many of its subscriptions match (section 3.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub key: Key,
    /// For messages of others.
    pub grant: Grant,
    pub(super) own: Own,
}

/// What a subscriber gets of its own messages: subscriptions with No Local do not count `[MQTT-3.8.3-3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Same,
    Nothing,
    /// Boxed because it is rare and a Route can have 100,000 targets.
    Less(Box<Grant>),
}

/// The Shared Subscriptions with one Share Name and one Topic Filter (section 4.8.2). Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub share: ShareName,
    pub filter: TopicFilter,
    /// Sorted by key.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub key: Key,
    pub grant: Grant,
}

impl Target {
    /// What this subscriber gets of a message; `is_own` when it published the message itself.
    pub fn grant_for(&self, is_own: bool) -> Option<&Grant> {
        match &self.own {
            Own::Nothing if is_own => None,
            Own::Less(grant) if is_own => Some(grant),
            _ => Some(&self.grant),
        }
    }
}
