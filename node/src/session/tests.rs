//! Dialogues with the pure Session: what comes, what is done, what goes out. See [`dialogue`] for the words.

mod connect;
mod dialogue;
mod inbound;
mod model;
mod outbound;
mod refused;
mod resume;
mod subscribe;
