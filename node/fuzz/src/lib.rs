//! What must hold for any bytes whatever, for each thing that reads what strangers send. The fuzzer looks for bytes for which it does not hold
//! (`tests/run fuzz` at the root); an ordinary run of the tests looks at the seeds, and at what a die makes of them (`tests/it/fuzz.rs`).

pub mod certificate;
pub mod decode;
pub mod proxy;
pub mod rules;
pub mod scram;
pub mod websocket;

/// Panics where it does not hold.
pub type Hold = fn(&[u8]);

/// Every target, by the name of its seeds.
pub const ALL: [(&str, Hold); 6] = [
    ("certificate", certificate::hold),
    ("decode", decode::hold),
    ("proxy", proxy::hold),
    ("rules", rules::hold),
    ("scram", scram::hold),
    ("websocket", websocket::hold),
];
