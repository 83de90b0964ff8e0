//! Requests: a PUBLISH with a Response Topic, workers behind Redis, and exactly one answer.

mod contract;
mod here;
mod kit;
mod limits;
mod mcp;
mod nodes;
mod shown;
mod trouble;
mod workers;
