//! What holds for any bytes whatever (`node/fuzz`): for the seeds of the fuzzer, and for what a die makes of them, the same in every run.

use std::path::Path;

#[allow(unreachable_pub, reason = "a library, of the fuzzer")]
#[path = "../../node/fuzz/src/lib.rs"]
mod any_bytes;

/// Made of each seed, unless `MQTTD_TEST_ROUNDS` says how many.
const CHANGED: usize = 300;

/// More in a seed is not thrown around: it takes its time.
const BYTES_MAX: usize = 4096;

#[test]
fn seeds_and_what_a_die_makes_of_them() {
    let rounds = std::env::var("MQTTD_TEST_ROUNDS").map_or(CHANGED, |rounds| rounds.parse().expect("a number"));
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/fuzz/seeds");
    for (name, hold) in any_bytes::ALL {
        let mut files: Vec<_> = std::fs::read_dir(seeds.join(name)).expect(name).map(|file| file.expect(name).path()).collect();
        files.sort();
        assert!(files.len() >= 3, "{name} has few seeds");
        let mut die = Die(1);
        for file in &files {
            let bytes = std::fs::read(file).expect("a seed");
            held(hold, &bytes);
            (0..rounds).for_each(|_| held(hold, &die.change(&bytes)));
        }
    }
}

fn held(hold: any_bytes::Hold, bytes: &[u8]) {
    if std::panic::catch_unwind(|| hold(bytes)).is_err() {
        panic!("it does not hold for {bytes:02x?}, see above");
    }
}

/// splitmix64 (Steele, Lea, Flood).
struct Die(u64);

impl Die {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % bound.max(1)
    }

    /// Up to four changes: a byte, a bit, some left out, some twice, the end cut off.
    fn change(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes[..bytes.len().min(BYTES_MAX)].to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(8)).min(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => drop(bytes.drain(at..end)),
                3 if !bytes.is_empty() => bytes.extend_from_within(at..end),
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}
