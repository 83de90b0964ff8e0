//! A subscription as a value, and what a set of matching subscriptions grants. No I/O, reads no clock.

use std::sync::Arc;

use crate::packet::QoS;
use crate::packet::subscribe::SubscriptionOptions;
use crate::topic::filter::{ShareName, TopicFilter};

/// What identifies a subscription within a Session: a second SUBSCRIBE with the same selector replaces the first `[MQTT-3.8.4-3]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    pub share: Option<ShareName>,
    pub filter: TopicFilter,
}

impl Selector {
    /// Takes a Topic Filter apart as a SUBSCRIBE gives it: `$share/{ShareName}/{filter}` is a Shared Subscription `[MQTT-4.8.2-1]`.
    pub fn parse(text: &str) -> Option<Selector> {
        let Some(shared) = text.strip_prefix("$share/") else {
            return TopicFilter::new(text).map(|filter| Selector { share: None, filter });
        };
        let (share, filter) = shared.split_once('/')?;
        Some(Selector { share: Some(ShareName::new(share)?), filter: TopicFilter::new(filter)? })
    }
}

/// As in a SUBSCRIBE.
impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.share {
            Some(share) => write!(f, "$share/{}/{}", share.as_str(), self.filter.as_str()),
            None => f.write_str(self.filter.as_str()),
        }
    }
}

/// One subscription of a Session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub selector: Selector,
    pub options: SubscriptionOptions,
    /// Subscription Identifier, 1 to 268,435,455.
    pub id: Option<u32>,
}

/// How a message reaches one subscriber: the sum of all its subscriptions that match.
///
/// The QoS is the highest granted; every matching identifier is named (section 3.3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grant {
    pub qos: QoS,
    pub retain_as_published: bool,
    /// `None` when no matching subscription had an identifier, the usual case.
    pub ids: Option<Arc<[u32]>>,
    /// The share group through which the message came, so that another member can have it if this one leaves without acknowledging it.
    pub group: Option<Arc<ShareGroup>>,
}

/// All Shared Subscriptions of one Share Name to one Topic Filter (section 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareGroup {
    pub share: ShareName,
    pub filter: TopicFilter,
}
