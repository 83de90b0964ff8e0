//! `mqttd healthcheck`: is a node ready? For a container's health check, so that its image needs no other program.

use std::time::Duration;

use clap::Args;

use super::{Failure, http, print};

/// Health checks are asked again soon; who answers later than this is not ready.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args, Clone, Debug)]
pub(super) struct HealthcheckArguments {
    /// What to ask: the node, or a path of it such as http://127.0.0.1:8080/livez [default: /readyz of the node that this configuration makes]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Say what was checked
    #[arg(short, long)]
    verbose: bool,
}

pub(super) fn run(arguments: &HealthcheckArguments) -> Result<(), Failure> {
    let mut url = http::parse(&match &arguments.url {
        Some(url) => url.clone(),
        None => http::own_node()?,
    })?;
    if url.path() == "/" {
        url.set_path("/readyz");
    }
    if arguments.verbose {
        url.set_query(Some("verbose"));
    }
    http::block_on(async {
        let answer = http::client(PATIENCE)?.get(url.clone()).send().await.map_err(|error| http::unreachable(&url, &error))?;
        let code = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if !code.is_success() {
            return Err(Failure::Runtime(text.trim_end().to_owned()));
        }
        if arguments.verbose { print(&text) } else { Ok(()) }
    })
}
