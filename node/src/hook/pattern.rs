//! The patterns of handlers: Topic Filters whose levels may have names, as in `sensors/{id}/+`. No I/O.

use bytestring::ByteString;

use crate::topic::filter::TopicFilter;
use crate::topic::name::TopicName;

/// A Topic Filter in which `{name}` stands for `+` and gives the level its name.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: ByteString,
    filter: TopicFilter,
    /// Each name with the level that it stands for, counted from 0.
    names: Vec<(Box<str>, usize)>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// # Errors
    /// A name that is empty or stands twice, a brace that is not the whole level, or what is no Topic Filter without its names.
    pub fn new(text: &str) -> Result<Pattern, PatternError> {
        let refused = |reason: &str| PatternError(format!("{text:?} is no pattern: {reason}; right is \"sensors/{{id}}/+\""));
        let mut names: Vec<(Box<str>, usize)> = Vec::new();
        let mut levels = Vec::new();
        for (at, level) in text.split('/').enumerate() {
            let Some(name) = level.strip_prefix('{').and_then(|level| level.strip_suffix('}')) else {
                if level.contains(['{', '}']) {
                    return Err(refused("a name in braces is a whole level"));
                }
                levels.push(level);
                continue;
            };
            if name.is_empty() || name.contains(['{', '}', '+', '#']) {
                return Err(refused("a name has letters, and no braces or wildcards"));
            }
            if names.iter().any(|(known, _)| **known == *name) {
                return Err(refused("a name stands once"));
            }
            names.push((name.into(), at));
            levels.push("+");
        }
        let filter = TopicFilter::new(&levels.join("/")).ok_or_else(|| refused("without its names it is no Topic Filter"))?;
        Ok(Pattern { text: text.into(), filter, names })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    pub fn matches(&self, topic: &TopicName) -> bool {
        self.filter.matches(topic)
    }

    /// Whether some Topic Name is matched by this pattern and by the filter of a subscription.
    pub fn meets(&self, filter: &TopicFilter) -> bool {
        self.filter.meets(filter)
    }

    /// The one Topic Name that it matches, if there are no wildcards in it.
    pub fn topic(&self) -> Option<TopicName> {
        TopicName::new(self.text.clone()).filter(|_| self.names.is_empty())
    }

    /// The level that a name stands for, in a Topic Name that matches or in a filter.
    pub fn level<'a>(&self, name: &str, topic: &'a str) -> Option<&'a str> {
        let (_, at) = self.names.iter().find(|(known, _)| **known == *name)?;
        // A filter may end in `#` before the level: then that is all it says of it.
        topic.split('/').nth(*at).or_else(|| topic.rsplit('/').next().filter(|last| *last == "#"))
    }

    /// The names with what they stand for.
    pub fn levels<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.names.iter().filter_map(move |(name, _)| Some((&**name, self.level(name, topic)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_levels() {
        let pattern = Pattern::new("sensors/{id}/{what}/#").unwrap();
        assert_eq!(pattern.filter().as_str(), "sensors/+/+/#");
        let named: Vec<_> = pattern.levels("sensors/7/heat/now").collect();
        assert_eq!(named, [("id", "7"), ("what", "heat")]);
        assert_eq!(pattern.level("id", "sensors/#"), Some("#"));
        assert_eq!(pattern.level("what", "sensors/+/x"), Some("x"));
        assert_eq!(pattern.level("other", "sensors/7/heat"), None);
        assert_eq!(Pattern::new("a/b").unwrap().topic().unwrap().as_str(), "a/b");
        assert_eq!(Pattern::new("a/{b}").unwrap().topic(), None);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a/{}", "a/{b}c", "a/{b", "{a}/{a}", "a#", "a/#/b", "{+}"] {
            assert!(Pattern::new(bad).is_err(), "{bad:?}");
        }
    }
}
