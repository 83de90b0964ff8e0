//! Which slot of a Redis Cluster a command is for. No I/O.

use redis::{Arg, Cmd};

pub(super) const SLOTS: usize = 16_384;

/// What any primary can answer: these commands have no key.
const KEYLESS: &[&[u8]] = &[
    b"PING",
    b"ECHO",
    b"TIME",
    b"INFO",
    b"CONFIG",
    b"FUNCTION",
    b"CLUSTER",
    b"WAIT",
    b"ACL",
    b"KEYS",
    b"SCAN",
    b"DBSIZE",
    b"FLUSHALL",
    b"PUBSUB",
];

/// The hash slot of a tag: CRC-16/XMODEM, as Redis Cluster has it.
pub(in crate::store::redis) fn slot(tag: &[u8]) -> u16 {
    let step = |crc: u16, byte: &u8| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    };
    tag.iter().fold(0, step) % SLOTS as u16
}

/// The slot of a key or channel: of what stands between the first `{` and the first `}` after it, unless that is nothing.
pub(super) fn key_slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    slot(tag.unwrap_or(key))
}

/// The slot of a command's first key: all others are in the same one. `None`: it has no key.
pub(super) fn command_slot(cmd: &Cmd) -> Option<u16> {
    let mut words = cmd.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes,
        _ => &[],
    });
    let name = words.next()?;
    let key = match name {
        name if KEYLESS.contains(&name) => None,
        b"FCALL" => words.nth(1).filter(|count| *count != b"0").and_then(|_| words.next()),
        b"XREAD" | b"XREADGROUP" => words.find(|word| *word == b"STREAMS").and_then(|_| words.next()),
        b"XINFO" | b"XGROUP" | b"OBJECT" | b"MEMORY" => words.nth(1),
        _ => words.next(),
    };
    key.map(key_slot)
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!((slot(b"123456789"), slot(b"foo"), slot(b"")), (0x31C3, 12_182, 0));
        assert_eq!((key_slot(b"a{foo}b"), key_slot(b"{}foo"), key_slot(b"foo")), (12_182, slot(b"{}foo"), 12_182));
    }

    #[test]
    fn a_command_is_for_the_slot_of_its_key() {
        let foo = Some(12_182);
        let rows = [
            (cmd("GET").arg("foo").take(), foo),
            (cmd("XADD").arg("x{foo}").arg("*").take(), foo),
            (cmd("FCALL").arg("name").arg(2).arg("{foo}a").arg("{foo}b").take(), foo),
            (cmd("FCALL").arg("name").arg(0).arg("foo").take(), None),
            (cmd("XREAD").arg("COUNT").arg(1).arg("STREAMS").arg("foo").arg("0").take(), foo),
            (cmd("XREADGROUP").arg("GROUP").arg("g").arg("c").arg("STREAMS").arg("foo").arg(">").take(), foo),
            (cmd("XINFO").arg("STREAM").arg("foo").take(), foo),
            (cmd("XGROUP").arg("CREATE").arg("foo").arg("g").arg("0").take(), foo),
            (cmd("PUBLISH").arg("foo").arg("x").take(), foo),
            (cmd("TIME"), None),
        ];
        for (cmd, expected) in rows {
            assert_eq!(command_slot(&cmd), expected, "{cmd:?}");
        }
    }
}
