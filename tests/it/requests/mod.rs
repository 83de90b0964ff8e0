//! Requests: a PUBLISH with a Response Topic, workers behind Redis, and exactly one answer.

mod calculator;
mod contract;
mod crowd;
mod deaths;
mod deployed;
mod examples;
mod full;
mod here;
mod http;
mod kit;
mod leases;
mod limits;
mod mcp;
mod nodes;
mod outage;
mod over_mqtt;
mod shown;
mod trouble;
mod workers;
