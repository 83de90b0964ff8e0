//! Where the next Topic Name that a filter can match stands among names in their order.

use crate::topic::filter::TopicFilter;

/// After so many Topic Names that do not match it is cheaper to look for the next that can.
pub(super) const MISSES_MAX: usize = 8;

/// Nothing before this text matches: the levels before the first wildcard. `a/#` matches `a` too.
pub(super) fn first_match(filter: &TopicFilter) -> &str {
    let text = filter.as_str();
    let wildcard = text.find(['+', '#']).unwrap_or(text.len());
    let literal = &text[..wildcard];
    if text[wildcard..].starts_with('#') { literal.strip_suffix('/').unwrap_or(literal) } else { literal }
}

/// Where to go on after a Topic Name that does not match.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seek {
    /// Nothing is known: with the next one.
    Next,
    /// Nothing before this text matches.
    To(String),
    /// Nothing matches any more.
    End,
}

/// Topic Names are ordered as text, where some characters come before `/`: `a!` stands between `a` and `a/b`.
pub(super) fn seek(filter: &TopicFilter, topic: &str) -> Seek {
    if topic.starts_with('$') && filter.as_str().starts_with(['+', '#']) {
        return Seek::To("%".to_owned()); // the character after `$`
    }
    let mut wanted = filter.levels();
    let mut offset = 0; // of the level within the Topic Name
    for level in topic.split('/') {
        match wanted.next() {
            Some("#") => return Seek::Next,
            Some(want) if want == "+" || want == level => {}
            Some(want) => return seek_level(topic, offset, want),
            None => return past(&topic[..offset]), // it has more levels than the filter, and so has all that begins with these
        }
        offset += level.len() + 1;
    }
    Seek::Next // it has fewer levels than the filter
}

/// The level at `offset` is another than the one that is wanted there.
fn seek_level(topic: &str, offset: usize, want: &str) -> Seek {
    let mut target = format!("{}{want}", &topic[..offset]);
    if topic < target.as_str() {
        return Seek::To(target);
    }
    target.push('/');
    if topic < target.as_str() { Seek::To(target) } else { past(&topic[..offset]) }
}

/// Beyond all that begins with `prefix`, which ends in `/` unless it is empty.
fn past(prefix: &str) -> Seek {
    match prefix.strip_suffix('/') {
        Some(levels) => Seek::To(format!("{levels}0")), // the character after `/`
        None => Seek::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeks_what_can_match_next() {
        let to = |text: &str| Seek::To(text.to_owned());
        let rows = [
            ("+/+/x", "a/b/c", to("a/b/x")),
            ("+/+/x", "a/b/y", to("a/b0")),
            ("+/+/x", "a/b/x!", to("a/b/x/")),
            ("+/+/x", "a/b/x/y", to("a/b/x0")),
            ("+/+/x", "a", Seek::Next),
            ("a/+/x", "b/c", Seek::End),
            ("a/#", "a!", to("a/")),
            ("a/#", "b", Seek::End),
            ("#", "$SYS/a", to("%")),
        ];
        for (filter, topic, expected) in rows {
            assert_eq!(seek(&TopicFilter::new(filter).unwrap(), topic), expected, "{filter} {topic}");
        }
    }
}
