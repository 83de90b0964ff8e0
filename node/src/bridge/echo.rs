//! What an ear hears, told apart: when it begins, what the cluster sent itself, and what others published. No I/O.

/// One thing that is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A message of a client of Redis.
    Message,
    /// A message that a node of the cluster sent: its subscribers have it.
    Echo,
    /// A word for this ear, or something from before it began.
    Nothing,
}

/// The state of one ear. How many echoes come is told before them, and nothing comes between (`bridge_send` in `mqttd.lua`).
#[derive(Debug, Default)]
pub(super) struct Echoes {
    begun: bool,
    expected: u64,
}

impl Echoes {
    /// On the ear's own channel.
    pub(super) fn told(&mut self, word: &[u8]) -> Heard {
        match word {
            b"begin" => *self = Echoes { begun: true, expected: 0 },
            // A ping is empty.
            count => {
                if let Some(count) = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()) {
                    self.expected = count;
                }
            }
        }
        Heard::Nothing
    }

    /// On the channel of a topic.
    pub(super) fn published(&mut self) -> Heard {
        if !self.begun {
            return Heard::Nothing;
        }
        if self.expected == 0 {
            return Heard::Message;
        }
        self.expected -= 1;
        Heard::Echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Some`: a word on its own channel; `None`: a message.
    fn check(heard: &[Option<&str>], expected: &[Heard]) {
        let (mut echoes, mut came) = (Echoes::default(), Vec::new());
        for word in heard {
            match word {
                Some(word) => assert_eq!(echoes.told(word.as_bytes()), Heard::Nothing),
                None => came.push(echoes.published()),
            }
        }
        assert_eq!(came, expected, "{heard:?}");
    }

    #[test]
    fn what_the_cluster_sent_is_known() {
        use Heard::*;
        check(&[None], &[Nothing]);
        check(&[Some("begin"), None, None], &[Message, Message]);
        check(&[Some("begin"), Some("2"), None, None, None], &[Echo, Echo, Message]);
        check(&[Some("begin"), None, Some("1"), None, Some(""), None], &[Message, Echo, Message]);
        check(&[Some("begin"), Some("1"), None, Some("1"), None, None], &[Echo, Echo, Message]);
        // Of what was told before it began nothing is left.
        check(&[Some("2"), None, Some("begin"), None], &[Nothing, Message]);
    }
}
