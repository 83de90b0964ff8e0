//! The truth in Redis 7.0 or newer, shared by all nodes of a cluster.

pub mod cluster;
pub mod link;
