//! The configuration as plain data: what may be set, what it means, what holds when nobody says anything, and who said what.
//!
//! Spawns nothing and opens no socket; the only thing it reads is the file it is given, and the files that this one names.
//! The keys are declared once, in `keys.rs`; the commented default, the names in the environment, the suggestions for
//! misspelled keys and `mqttd check` all come from there. Only `node.rs` and `cli/` read a [`keys::Config`].

pub mod environment;
pub mod error;
pub mod file;
pub mod key;
pub mod keys;
pub mod listener;
pub mod load;
pub mod print;
pub mod suggest;
pub mod url;
pub mod user;
pub mod value;

#[cfg(test)]
mod tests;

pub use error::ConfigErrors;
pub use keys::Config;
pub use listener::{CertificateName, ClientCertificates, Listener};
pub use load::{Effective, Flag, Origin, Sources};
pub use url::{Admin, Durability, ListenUrl, Scheme, StoreUrl};
