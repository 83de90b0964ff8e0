//! From a channel to the topic behind it, and what may begin channels. No I/O.

use std::fmt;

use crate::bridge::Incoming;
use crate::message::Message;
use crate::topic::name::TopicName;

/// What a PUBLISH packet has beside Topic Name and payload, at most: its fixed header, the length of the name, and no properties.
const PACKET_OVERHEAD: usize = 8;

/// Among the channels that begin with the prefix of the Store, those that begin so are no node's own.
const FREE: &str = "topic:";

/// Why a prefix cannot be: topics would be channels of the nodes themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixError {
    store_prefix: String,
}

/// Whether no topic behind this prefix is a channel that the nodes use among themselves.
///
/// # Errors
/// It is one, or the prefix is empty, so that every channel of this Redis would be a topic.
pub fn check_prefix(prefix: &str, store_prefix: &str) -> Result<(), PrefixError> {
    let own = format!("{store_prefix}:");
    let is_free = prefix.strip_prefix(&*own).is_none_or(|rest| rest.starts_with(FREE));
    if own.starts_with(prefix) || !is_free {
        return Err(PrefixError { store_prefix: store_prefix.to_owned() });
    }
    Ok(())
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PrefixError { store_prefix } = self;
        write!(f, "topics would be channels of the nodes themselves: use one like `{store_prefix}:{FREE}`, or of another name")
    }
}

impl std::error::Error for PrefixError {}

impl Incoming {
    /// The message that was published to this channel, without its prefix; `None`: it is none that may come in.
    pub(super) fn read(&self, name: &[u8], payload: &[u8]) -> Option<Message> {
        let fits = name.len() <= self.topic_bytes_max && PACKET_OVERHEAD + name.len() + payload.len() <= self.packet_bytes_max;
        let text = std::str::from_utf8(name).ok().filter(|_| fits)?;
        let topic = TopicName::new(text.to_owned().into())?;
        let may = !topic.is_reserved()
            && topic.levels().count() <= self.topic_levels_max
            && self.filters.iter().any(|filter| filter.matches(&topic));
        may.then(|| Message { topic, payload: payload.to_vec().into(), qos: self.qos, retain: false, properties: None, expires_at: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::QoS;
    use crate::topic::filter::TopicFilter;

    #[test]
    fn no_topic_is_a_channel_of_the_nodes() {
        let rows = [
            ("mqttd:topic:", "mqttd", true),
            ("topics/", "mqttd", true),
            ("mqttd:topic:", "mqttd:topic", false),
            ("", "mqttd", false),
            ("m", "mqttd", false),
            ("mqttd:", "mqttd", false),
            ("mqttd:mcp:", "mqttd", false),
            ("mqttd:mcp:requests", "mqttd", false),
            ("mqttd:a", "mqttd", false),
            ("mqttd:{", "mqttd", false),
            ("mqttd:topic", "mqttd", false), // it is a part of a name that is not known yet
            ("mqttd:topic:of/a:", "mqttd", true),
            ("mqttdtopic:", "mqttd", true),
            ("mqttd:", "other", true),
        ];
        for (prefix, store_prefix, good) in rows {
            assert_eq!(check_prefix(prefix, store_prefix).is_ok(), good, "{prefix} beside {store_prefix}");
        }
    }

    #[test]
    fn a_channel_is_a_topic_name_or_nothing() {
        let filters = ["a/#", "+", "\u{10FFFF}"].map(|filter| TopicFilter::new(filter).unwrap()).to_vec();
        let incoming = Incoming { filters, qos: QoS::AtLeastOnce, packet_bytes_max: 100, topic_levels_max: 4, topic_bytes_max: 20 };
        let long = "a/".to_owned() + &"x".repeat(18);
        let longer = "a/".to_owned() + &"x".repeat(19);
        let rows: &[(&[u8], usize, bool)] = &[
            (b"a/b", 0, true),
            (b"a", 3, true),
            ("\u{10FFFF}".as_bytes(), 3, true),
            (b"", 3, false),
            (b"a/+", 3, false),
            (b"a/#", 3, false),
            (b"a/\0", 3, false),
            (b"a/\xff", 3, false),
            (b"$SYS/broker/uptime", 3, false),
            (b"$share/g/a", 3, false),
            (b"b/c", 3, false),
            (b"a/b/c/d", 3, true),
            (b"a/b/c/d/e", 3, false),
            (long.as_bytes(), 72, true),
            (long.as_bytes(), 73, false),
            (longer.as_bytes(), 1, false),
        ];
        for (name, bytes, good) in rows {
            let read = incoming.read(name, &vec![0; *bytes]);
            assert_eq!(read.is_some(), *good, "{:?} with {bytes} bytes", String::from_utf8_lossy(name));
            if let Some(message) = read {
                assert_eq!((message.topic.as_str().as_bytes(), message.payload.len()), (*name, *bytes));
                assert!(message.qos == QoS::AtLeastOnce && !message.retain);
            }
        }
    }
}
