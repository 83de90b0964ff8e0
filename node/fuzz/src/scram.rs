//! SCRAM-SHA-256: whatever a Client says is refused or answered, and nobody gets in without the proof.

use std::sync::LazyLock;

use mqttd::auth::Credentials;
use mqttd::auth::scram::Exchange;

static USERS: LazyLock<Credentials> = LazyLock::new(|| Credentials::new([("ann".to_owned(), "pencil".to_owned())], || [7; 16]));

/// The first line is the first message, the rest is the last one.
pub fn hold(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (first, last) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let Ok((exchange, challenge)) = Exchange::begin(&USERS, first, "servernonce") else { return };
    assert!(challenge.starts_with(b"r="));
    // The proof is 32 bytes of HMAC: whoever finds one has broken SHA-256.
    assert!(exchange.finish(last).is_err());
}
