//! What rules say to a Topic Name or a Topic Filter.

use super::{Level, Pattern, Piece, Rule, Rules, Template, WhichUser};
use crate::hook::{KnownUser, Recipient};
use crate::packet::QoS;
use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// Who asks.
pub type Subject<'a> = Recipient<'a>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Publish,
    Subscribe,
}

/// What was decided, and by the rule of which line; `None`: by none, and so it is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub qos_max: QoS,
    /// Whether RETAIN may be set.
    pub retain: bool,
    pub line: Option<usize>,
}

impl Rules {
    /// Whether this Topic Name may be published to, or messages of it be received.
    pub fn topic(&self, subject: Subject<'_>, action: Action, topic: &TopicName) -> Decision {
        self.decide(subject, action, |template, names| template.matches(topic, names))
    }

    /// Whether a subscription with this Topic Filter is granted.
    pub fn filter(&self, subject: Subject<'_>, filter: &TopicFilter) -> Decision {
        self.decide(subject, Action::Subscribe, |template, names| template.covers(filter, names))
    }

    fn decide(&self, subject: Subject<'_>, action: Action, fits: impl Fn(&Template, Names<'_>) -> bool) -> Decision {
        let rule = self.0.iter().find(|rule| {
            let names = Names { subject, allow: rule.allow };
            rule.is_about(subject, action) && rule.filters.iter().any(|template| fits(template, names))
        });
        match rule {
            Some(rule) => Decision { allowed: rule.allow, qos_max: rule.qos_max, retain: rule.retain, line: Some(rule.line) },
            None => Decision { allowed: false, qos_max: QoS::AtMostOnce, retain: false, line: None },
        }
    }
}

impl Rule {
    fn is_about(&self, subject: Subject<'_>, action: Action) -> bool {
        let acts = match action {
            Action::Publish => self.publish,
            Action::Subscribe => self.subscribe,
        };
        let is_user = || match (&self.user, subject.user) {
            (None, _) => true,
            // Whoever knows the name asks again: what may be allowed is let through, what may be denied is not denied here.
            (Some(_), KnownUser::No) => self.allow,
            (Some(WhichUser::None), KnownUser::Yes(user)) => user.is_none(),
            (Some(WhichUser::Named(pattern)), KnownUser::Yes(user)) => user.is_some_and(|user| pattern.fits(user)),
        };
        let is_client = || self.client.as_ref().is_none_or(|pattern: &Pattern| pattern.fits(subject.client_id.as_str()));
        acts && is_client() && is_user()
    }
}

/// What the names in a rule stand for.
#[derive(Clone, Copy)]
struct Names<'a> {
    subject: Subject<'a>,
    /// Whether the rule is one that allows: where a name can stand for no level, it must not widen what is allowed nor what a `deny` lets through.
    allow: bool,
}

impl Names<'_> {
    /// Whether a level is what the pieces say.
    fn are(self, pieces: &[Piece], level: &str) -> bool {
        let mut rest = level;
        for piece in pieces {
            let name = match (piece, self.subject.user) {
                (Piece::Text(text), _) => text,
                (Piece::ClientId, _) => self.subject.client_id.as_str(),
                (Piece::UserName, KnownUser::Yes(Some(user))) => user,
                (Piece::UserName, KnownUser::Yes(None)) => return false,
                (Piece::UserName, KnownUser::No) => return self.allow,
            };
            if !matches!(piece, Piece::Text(_)) && (name.is_empty() || name.contains(['/', '+', '#'])) {
                return !self.allow;
            }
            match rest.strip_prefix(name) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

impl Template {
    fn matches(&self, topic: &TopicName, names: Names<'_>) -> bool {
        if self.begins_wild && topic.is_reserved() {
            return false;
        }
        self.fits(topic.levels(), names)
    }

    /// As [`TopicFilter::covers`].
    fn covers(&self, filter: &TopicFilter, names: Names<'_>) -> bool {
        if self.begins_wild && filter.as_str().starts_with('$') {
            return false;
        }
        self.fits(filter.levels(), names)
    }

    /// Levels of a Topic Name have no wildcards, so what holds for those of a filter holds for them.
    fn fits<'a>(&self, mut theirs: impl Iterator<Item = &'a str>, names: Names<'_>) -> bool {
        let mut mine = self.levels.iter();
        loop {
            match (mine.next(), theirs.next()) {
                (Some(Level::Rest), _) | (None, None) => return true,
                (Some(Level::One), Some(level)) if level != "#" => {}
                (Some(Level::Text(text)), Some(level)) if **text == *level => {}
                (Some(Level::Named(pieces)), Some(level)) if level != "#" && level != "+" && names.are(pieces, level) => {}
                _ => return false,
            }
        }
    }
}
