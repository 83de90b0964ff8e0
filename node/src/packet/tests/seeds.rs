//! The seeds of the fuzzer (`node/fuzz`), replayed by every ordinary test run.

use super::super::{answer_version, frame};
use super::{VERSIONS, check_any};

#[test]
fn replay() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/decode");
    let (mut files, mut understood) = (0, 0);
    for entry in std::fs::read_dir(directory).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let _ = (frame(&bytes, 1 << 20), answer_version(&bytes));
        files += 1;
        understood += usize::from(VERSIONS.map(|version| check_any(version, &bytes).is_ok()).contains(&true));
    }
    assert!(files >= 20 && understood >= 10 && understood < files, "{understood} of {files} seeds are packets");
}
