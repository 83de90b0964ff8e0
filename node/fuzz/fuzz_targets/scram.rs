//! Any bytes as the messages of a Client in SCRAM-SHA-256: they are refused or answered, and nobody gets in without the proof.
//!
//! `cargo +nightly fuzz run scram fuzz/corpus/scram fuzz/seeds/scram -- -max_total_time=30` in `node/`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mqttd::auth::Credentials;
use mqttd::auth::scram::Exchange;

static USERS: LazyLock<Credentials> = LazyLock::new(|| Credentials::new([("ann".to_owned(), "pencil".to_owned())], || [7; 16]));

fuzz_target!(|input: (&[u8], &[u8])| {
    let (first, last) = input;
    let Ok((exchange, challenge)) = Exchange::begin(&USERS, first, "servernonce") else { return };
    assert!(challenge.starts_with(b"r="));
    // The proof is 32 bytes of HMAC: whoever finds one has broken SHA-256.
    assert!(exchange.finish(last).is_err());
});
