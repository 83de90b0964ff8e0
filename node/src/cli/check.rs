//! `mqttd check`: every key, what holds, and who said so. The same layers as `run`, and nothing is started. Certificates
//! are read too.

use super::run::RunArguments;
use super::{Failure, log, otlp, print};
use crate::config::print::effective;

pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let loaded = arguments.load()?;
    log::filter(&loaded)?;
    otlp::collector(&loaded)?;
    crate::node::Node::check(&loaded.config).map_err(|error| Failure::Usage(error.to_string()))?;
    print(&effective(&loaded))
}
