//! Topic Filters and Share Names: what a subscription asks for.

use super::name::TopicName;

/// A valid Topic Filter without its `$share/{ShareName}/` part (section 4.7).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Box<str>);

/// The name of a group of Shared Subscriptions (section 4.8.2): not empty, without `/`, `+` and `#`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName(Box<str>);

impl TopicFilter {
    /// `None` unless the text is a Topic Filter: not empty, no U+0000, at most 65,535 bytes, `#` only as the whole last level
    /// `[MQTT-4.7.1-1]`, `+` only as a whole level `[MQTT-4.7.1-2]`.
    pub fn new(text: &str) -> Option<TopicFilter> {
        if text.is_empty() || text.len() > 65_535 || text.as_bytes().contains(&0) {
            return None;
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            let wildcard_inside = level.len() > 1 && level.bytes().any(|byte| matches!(byte, b'+' | b'#'));
            if wildcard_inside || (level == "#" && !is_last) {
                return None;
            }
        }
        Some(TopicFilter(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'+' | b'#'))
    }

    /// Whether this filter matches a Topic Name (section 4.7.1 and 4.7.2).
    pub fn matches(&self, topic: &TopicName) -> bool {
        let (filter, name) = (self.0.as_bytes(), topic.as_str().as_bytes());
        if topic.is_reserved() && matches!(filter[0], b'+' | b'#') {
            return false; // [MQTT-4.7.2-1]
        }
        // Byte by byte, for it is asked often; a wildcard is always a whole level.
        let (mut at, mut place) = (0, 0);
        loop {
            match filter.get(at) {
                None => return place == name.len(),
                Some(b'#') => return true,
                Some(b'+') => place += name[place..].iter().take_while(|byte| **byte != b'/').count(),
                Some(byte) if name.get(place) == Some(byte) => place += 1,
                Some(_) => return place == name.len() && filter[at..] == *b"/#", // "sport/#" matches "sport"
            }
            at += 1;
        }
    }

    /// Whether every Topic Name that `other` matches is matched by this filter too.
    pub fn covers(&self, other: &TopicFilter) -> bool {
        if self.0.starts_with(['+', '#']) && other.0.starts_with('$') {
            return false;
        }
        let (mut mine, mut theirs) = (self.levels(), other.levels());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }

    /// Whether some Topic Name is matched by both filters.
    pub fn meets(&self, other: &TopicFilter) -> bool {
        let wild = |filter: &TopicFilter| filter.0.starts_with(['+', '#']);
        if (wild(self) && other.0.starts_with('$')) || (wild(other) && self.0.starts_with('$')) {
            return false; // [MQTT-4.7.2-1]
        }
        let (mut mine, mut theirs) = (self.levels(), other.levels());
        loop {
            match (mine.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }
}

impl ShareName {
    pub fn new(text: &str) -> Option<ShareName> {
        let good = !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'/' | b'+' | b'#' | 0));
        good.then(|| ShareName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::fmt::Debug for ShareName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName {
        TopicName::new(text.to_owned().into()).unwrap()
    }

    #[test]
    fn matches_as_section_4_7_says() {
        let rows = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("#", "/", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/a", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a//b", "a//b", true),
            ("a/+/b", "a//b", true),
            ("ACCOUNTS", "Accounts", false),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(TopicFilter::new(filter).unwrap().matches(&name(topic)), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn covers_what_matches_no_more() {
        let rows = [
            ("a/#", "a/+/c", true),
            ("a/#", "a", true),
            ("a/+", "a/#", false),
            ("a/b", "a/b", true),
            ("a/b", "a/+", false),
            ("#", "$SYS/#", false),
        ];
        for (filter, other, expected) in rows {
            assert_eq!(TopicFilter::new(filter).unwrap().covers(&TopicFilter::new(other).unwrap()), expected, "{filter} {other}");
        }
    }

    #[test]
    fn meets_where_both_match() {
        let rows = [
            ("a/+", "+/b", true),
            ("a/#", "a", true),
            ("a", "a/#", true),
            ("#", "a/b/c", true),
            ("a/b", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/c", false),
            ("a/+/c", "a/b/+", true),
            ("#", "$SYS/#", false),
            ("$SYS/#", "+/x", false),
        ];
        for (filter, other, expected) in rows {
            let (filter, other) = (TopicFilter::new(filter).unwrap(), TopicFilter::new(other).unwrap());
            assert_eq!((filter.meets(&other), other.meets(&filter)), (expected, expected), "{filter:?} {other:?}");
        }
    }

    #[test]
    fn refuses_misplaced_wildcards() {
        for bad in ["", "sport/tennis#", "sport/tennis/#/ranking", "sport+", "a/b+/c", "+a", "##", "a\0b", "#/"] {
            assert!(TopicFilter::new(bad).is_none(), "{bad:?}");
        }
    }
}
