//! What people and their tools ask a node over HTTP, and how it lets go of its clients.

mod drain;
mod probes;
