//! The kit: what the tests of mqttd are written with. A test is a dialogue: send, expect, nothing else. No sleeps.
//!
//! [`client::Client`] speaks MQTT over a real TCP socket and says precisely what it expects; [`build`] makes packets short to write;
//! [`broker::Broker`] is a node in this process, on a port of its own.

#![allow(clippy::disallowed_methods, reason = "a test lives outside the broker and has the clock of everybody")]

pub mod auth;
pub mod bridge;
pub mod broker;
pub mod build;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod connecting;
mod container;
pub mod deployment;
pub mod elsewhere;
pub mod expect;
pub mod flow;
pub mod hex;
pub mod http;
pub mod redis;
pub mod scram;
pub mod trace;
pub mod way;

pub use broker::{Broker, client, open, pair, pass};
pub use build::{Message, ack, message, options, puback, pubcomp, pubrec, pubrel, subscribe, subscribe_with_id, unsubscribe};
pub use client::Client;
pub use mqttd::packet::Version::{self, V3_1, V3_1_1, V5};
pub use mqttd::packet::acknowledge::Kind;
pub use mqttd::packet::reason::Reason;
pub use mqttd::packet::{Packet, PacketId, QoS};

/// For tests of what all versions have in common.
pub const VERSIONS: [Version; 3] = [V3_1, V3_1_1, V5];

/// A name that nobody else uses in this or another run: a topic, a filter's first level, a Client Identifier.
pub fn unique(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs dialogues that have to wait for time to pass beside each other, and fails when one of them does.
pub fn together(dialogues: Vec<Box<dyn FnOnce() + Send>>) {
    let running: Vec<_> = dialogues.into_iter().map(std::thread::spawn).collect();
    let failed = running.into_iter().filter_map(|thread| thread.join().err()).count();
    assert_eq!(failed, 0, "dialogues failed, see above");
}
