//! Ordered rules: what Clients may publish and subscribe to. No I/O.
//!
//! ```text
//! # who may do what, where; the first rule that fits decides, and what none fits is denied
//! allow user ann publish sensors/# qos=1 retain=no
//! allow subscribe public/#  news/+
//! allow all devices/%c/#
//! deny  client "guest*" subscribe $SYS/#
//! ```
//!
//! A rule fits a Topic Name when one of its filters matches it. It fits a subscription when one of its filters covers all of it: a
//! subscription to `#` is granted only by a rule for `#`. What is denied to a part of a subscription is left out when messages are given out.
//!
//! `%c` is the Client Identifier and `%u` the User Name. One with `/`, `+` or `#` in it can stand for no level: no `allow` with it fits, and a `deny`
//! fits whatever stands there.

mod decide;
pub mod parse;
#[cfg(test)]
mod tests;

use crate::packet::QoS;

pub use decide::{Action, Decision, Subject};

/// Whether there is any rule, and all of them in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Where it stands, for [`Decision`].
    line: usize,
    allow: bool,
    user: Option<WhichUser>,
    client: Option<Pattern>,
    publish: bool,
    subscribe: bool,
    filters: Vec<Template>,
    qos_max: QoS,
    retain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum WhichUser {
    /// Without a User Name.
    None,
    Named(Pattern),
}

/// A name, or with a star at its end all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Is(Box<str>),
    Begins(Box<str>),
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        match text.strip_suffix('*') {
            Some(begin) => Pattern::Begins(begin.into()),
            None => Pattern::Is(text.into()),
        }
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            Pattern::Is(text) => **text == *name,
            Pattern::Begins(begin) => name.starts_with(&**begin),
        }
    }
}

/// A Topic Filter in which names may stand for levels, or parts of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    levels: Vec<Level>,
    /// It begins with a wildcard, which stands for no name that begins with `$` (section 4.7.2).
    begins_wild: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(Box<str>),
    /// `+`
    One,
    /// `#`
    Rest,
    Named(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    ClientId,
    UserName,
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// These rules, and then the others.
    pub fn then(mut self, others: &Rules) -> Rules {
        self.0.extend(others.0.iter().cloned());
        self
    }
}
