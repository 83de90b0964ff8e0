//! What people and their tools ask a node over HTTP, and how it lets go of its clients.

mod access;
mod api;
mod banned;
mod cluster;
mod control;
mod drain;
mod metrics;
mod otlp;
mod probes;
mod process;
mod sessions;
mod trace;
