//! A Topic Name: where a message is published to.

use bytestring::ByteString;

/// A Topic Name: not empty, no wildcards, no U+0000, at most 65,535 bytes (section 4.7.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(ByteString);

impl TopicName {
    /// `None` when the text is empty or holds `+`, `#` or U+0000, or is longer than 65,535 bytes.
    pub fn new(text: ByteString) -> Option<TopicName> {
        let bytes = text.as_bytes();
        let good = !bytes.is_empty() && bytes.len() <= 65_535 && !bytes.iter().any(|b| matches!(b, b'+' | b'#' | 0));
        good.then_some(TopicName(text))
    }

    /// The same Topic Name in memory of its own, for what outlives the read that it is a slice of.
    pub fn compact(&self) -> TopicName {
        TopicName(self.0.to_string().into())
    }

    /// This Topic Name again, if the text is the same: then it need not be looked at once more.
    #[inline]
    pub fn again(&self, text: &mut ByteString) -> Option<TopicName> {
        let same = text.as_ptr() == self.0.as_ptr() && text.len() == self.0.len() || *text == self.0;
        same.then(|| TopicName(std::mem::take(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn text(&self) -> &ByteString {
        &self.0
    }

    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Topic Names that begin with `$` are never matched by a leading wildcard `[MQTT-4.7.2-1]`.
    pub fn is_reserved(&self) -> bool {
        self.0.as_bytes()[0] == b'$'
    }

    /// Topic Names under `$SYS` are the Server's own: a Client that publishes there is not authorised (section 4.7.2).
    /// `$SYS` itself is one of them, for `$SYS/#` matches it.
    pub fn is_system(&self) -> bool {
        self.levels().next() == Some("$SYS")
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl std::fmt::Display for TopicName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
