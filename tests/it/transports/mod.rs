//! What carries the bytes: TLS, WebSocket, QUIC, and the PROXY protocol before them (FEATURES 4). That the dialogues of all other tests run
//! over them too is shown by `MQTTD_TEST_TRANSPORT`.

mod half_open;
mod hostile;
mod listeners;
mod proxy_protocol;
mod quic;
mod quic_hostile;
mod streams;
mod tls;
mod websocket;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mqttd_tests::client::DEADLINE;

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Waits until `holds`, which nobody sends a packet about.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < 2 * DEADLINE, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[track_caller]
fn returns_to(gauge: &AtomicUsize, expected: usize) {
    eventually(&format!("{gauge:?} does not return to {expected}"), || gauge.load(Ordering::Relaxed) == expected);
}
