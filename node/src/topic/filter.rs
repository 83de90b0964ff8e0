//! Topic Filters and Share Names: what a subscription asks for.

use super::name::TopicName;

/// A valid Topic Filter without its `$share/{ShareName}/` part (section 4.7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Box<str>);

/// The name of a group of Shared Subscriptions (section 4.8.2): not empty, without `/`, `+` and `#`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName(Box<str>);
