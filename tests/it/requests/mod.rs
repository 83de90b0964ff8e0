//! Requests: a PUBLISH with a Response Topic, workers behind Redis, and exactly one answer.

mod contract;
mod examples;
mod here;
mod kit;
mod limits;
mod mcp;
mod nodes;
mod outage;
mod shown;
mod trouble;
mod workers;
