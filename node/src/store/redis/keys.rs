//! Every key, in one place. What stands in braces decides the hash slot, so that all keys of a function call are in one slot.
//!
//! | key | type | what |
//! |---|---|---|
//! | `mqttd:{CLIENT}:s` | HASH | the Session: owner, epoch, times, will; its fields are told in `mqttd.lua` |
//! | `mqttd:{CLIENT}:queue` | STREAM `0-SEQUENCE` | messages; the one field is named by their expiry in ms, or `m` |
//! | `mqttd:{CLIENT}:rel` | ZSET | sequences whose PUBREL is owed, scored by the order of their PUBREC |
//! | `mqttd:{CLIENT}:in2` | HASH | Packet Identifiers of QoS 2 that were received and not released, with what is pending of the message |
//! | `mqttd:{CLIENT}:once` | ZSET | publishers, scored by the number of their last message that was put into the queue; it expires |
//! | `mqttd:{CLIENT}:wills` | HASH | wills that are to be published now, by the epoch of their connection |
//! | `mqttd:{CLIENT}:subs` | HASH | `SHARE NUL FILTER` to options and identifier |
//! | `mqttd:{xK}:due` | ZSET | `EPOCH:CLIENT`, scored by when to look at that Session, in ms; K below [`DUE_SHARDS`] |
//! | `mqttd:{ret:0}:h` `:z` `:x` | HASH, ZSET, ZSET | retained messages by Topic Name; the names in order; the names by expiry |
//! | `mqttd:{sh:SHARE/FILTER}:cur` | STRING | whose turn it is in a share group |
//! | `mqttd:{auth}:bans` `:bans-ver` | HASH, STRING | who is shut out to `UNTIL WHY`; counts its changes |
//! | `mqttd:request:ID` | STRING | the context of a request |
//! | `mqttd:{mcp}:due` | ZSET | requests, scored by when somebody has to look at them |
//! | `mqttd:{mcp}:requests` `:responses` `:dead` | STREAM | requests for workers, their answers, what no worker could answer (`requests.rs`) |
//! | `mqttd:{bridge}:keeper` | STRING | which ear of which node hears what Redis clients publish; it expires |
//! | `mqttd:{mcp}:workers`, `mqttd:mcp:worker:NAME` | ZSET, STRING | workers by until when they are believed to live; what each says of itself |
//!
//! CLIENT and all other names are escaped. The routing table of a cluster (`{routes}`) comes beside these.

use super::link::slots::slot;
use crate::packet::connect::ClientId;
use crate::topic::filter::{ShareName, TopicFilter};

/// Into how many keys the index of what is due is spread.
pub(super) const DUE_SHARDS: u16 = 16;

/// What the commands of a batch are spread over: those for one Session stay in their order. A multiple of any sensible number of lanes.
pub(super) const WRITE_SHARDS: u16 = 16;

/// How the keys of a Session end.
pub(super) const SESSION_WORDS: [&str; 7] = ["s", "queue", "rel", "in2", "subs", "once", "wills"];

#[derive(Debug)]
pub(super) struct Keys {
    /// With its colon.
    prefix: String,
}

/// The keys of one Session.
#[derive(Debug)]
pub(super) struct SessionKeys {
    /// All of a key but its last word.
    stem: String,
    slot: u16,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys { prefix: format!("{}:", escape(prefix)) }
    }

    pub(super) fn session(&self, client_id: &ClientId) -> SessionKeys {
        let tag = escape(client_id.as_str());
        SessionKeys { stem: format!("{}{{{tag}}}:", self.prefix), slot: slot(tag.as_bytes()) }
    }

    /// Matches every key of ours, for SCAN.
    pub(super) fn pattern(&self) -> String {
        all_under(&self.prefix)
    }

    /// What stands in the braces of a key of ours, still escaped, and what stands behind them.
    pub(super) fn parts<'a>(&self, key: &'a str) -> Option<(&'a str, &'a str)> {
        key.strip_prefix(&*self.prefix)?.strip_prefix('{')?.split_once("}:")
    }

    /// Whether it is about a request, or told by a worker of itself: it is not kept for long.
    pub(super) fn is_brief(&self, key: &str) -> bool {
        let rest = key.strip_prefix(&*self.prefix).unwrap_or_default();
        ["request:", "mcp:worker:", "mcp:claim:"].iter().any(|kind| rest.starts_with(kind))
    }

    /// The last word of a key of a Session. No other key ends in one of these.
    pub(super) fn word_of_session<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (_, word) = self.parts(key)?;
        SESSION_WORDS.contains(&word).then_some(word)
    }

    pub(super) fn due(&self, shard: u16) -> String {
        format!("{}{{x{shard}}}:due", self.prefix)
    }

    /// Messages, names, expiries.
    pub(super) fn retained(&self) -> [String; 3] {
        ["h", "z", "x"].map(|word| format!("{}{{ret:0}}:{word}", self.prefix))
    }

    pub(super) fn cursor(&self, share: &ShareName, filter: &TopicFilter) -> String {
        format!("{}{{sh:{}/{}}}:cur", self.prefix, escape(share.as_str()), escape(filter.as_str()))
    }

    pub(super) fn bridge_keeper(&self) -> String {
        format!("{}{{bridge}}:keeper", self.prefix)
    }

    /// What begins the channels on which ears of the bridge are told something.
    pub(super) fn bridge_stem(&self) -> String {
        format!("{}bridge:", self.prefix)
    }

    pub(super) fn bans(&self) -> String {
        format!("{}{{auth}}:bans", self.prefix)
    }

    pub(super) fn bans_version(&self) -> String {
        format!("{}{{auth}}:bans-ver", self.prefix)
    }
}

impl SessionKeys {
    pub(super) fn session(&self) -> String {
        self.key("s")
    }

    pub(super) fn queue(&self) -> String {
        self.key("queue")
    }

    pub(super) fn released(&self) -> String {
        self.key("rel")
    }

    pub(super) fn received(&self) -> String {
        self.key("in2")
    }

    pub(super) fn subscriptions(&self) -> String {
        self.key("subs")
    }

    /// What was put into the queue and is not to be put there again.
    pub(super) fn once(&self) -> String {
        self.key("once")
    }

    /// What is owed of connections that have ended.
    pub(super) fn wills(&self) -> String {
        self.key("wills")
    }

    /// Everything that ends with the Session, in the order in which the functions want it.
    pub(super) fn all(&self) -> [String; 6] {
        [self.session(), self.queue(), self.released(), self.received(), self.subscriptions(), self.once()]
    }

    /// And what is owed beside it.
    pub(super) fn all_and_wills(&self) -> [String; 7] {
        let [session, queue, released, received, subscriptions, once] = self.all();
        [session, queue, released, received, subscriptions, once, self.wills()]
    }

    pub(super) fn due_shard(&self) -> u16 {
        self.slot % DUE_SHARDS
    }

    pub(super) fn write_shard(&self) -> u16 {
        self.slot % WRITE_SHARDS
    }

    fn key(&self, word: &str) -> String {
        format!("{}{word}", self.stem)
    }
}

/// The pattern of all names that begin so.
pub(super) fn all_under(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

/// Without braces, so that a name cannot end or begin a hash tag; and never empty, for an empty tag is none.
pub(super) fn escape(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned(); // nothing else is escaped to it
    }
    name.replace('%', "%25").replace('{', "%7B").replace('}', "%7D")
}

/// The name that was escaped so.
pub(super) fn unescape(escaped: &str) -> String {
    if escaped == "%" {
        return String::new();
    }
    escaped.replace("%7B", "{").replace("%7D", "}").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Redis takes as the tag: between the first `{` and the first `}` after it, unless that is nothing.
    fn tag(key: &str) -> &str {
        let (_, rest) = key.split_once('{').unwrap();
        let (tag, _) = rest.split_once('}').unwrap();
        assert!(!tag.is_empty());
        tag
    }

    #[test]
    fn all_keys_of_a_session_are_in_one_slot() {
        let keys = Keys::new("mq}t{td");
        for id in ["", "%", "}", "{a", "}{", "a}b", "%7B", "__proto__", "é"] {
            let session = keys.session(&ClientId::new(id));
            for key in session.all_and_wills() {
                assert_eq!(slot(tag(&key).as_bytes()), session.slot, "{key}");
            }
        }
    }

    #[test]
    fn names_come_back() {
        for name in ["", "%", "%25", "{", "%7B", "}", "%7D", "a}{b", "%257B", "é"] {
            let escaped = escape(name);
            assert!(!escaped.contains(['{', '}']) && !escaped.is_empty(), "{name}");
            assert_eq!(unescape(&escaped), name);
        }
    }
}
