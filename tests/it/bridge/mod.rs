//! The bridge to Pub/Sub (FEATURES.md section 2): what is published to `a/b` is on the channel `mqttd:topic:a/b`, and the other way round.

mod answers;
mod both_ways;
mod deaths;
mod deployments;
mod kit;
mod rights;
