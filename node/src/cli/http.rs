//! How the command line asks a node: HTTP without TLS, to its administration.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Url};

use super::Failure;
use super::run::RunArguments;
use crate::config::Admin;
use crate::config::user::read_secret;

/// Runs what waits, on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Runtime(format!("the runtime: {error}")))?.block_on(work)
}

/// A client that goes straight to the node, whatever proxies the environment names.
pub(super) fn client(patience: Duration) -> Result<Client, Failure> {
    // The client insists on one, though it only speaks HTTP without TLS. Another that is installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().timeout(patience).build();
    client.map_err(|error| Failure::Runtime(format!("the HTTP client: {error}")))
}

/// `HOST:PORT` is enough.
pub(super) fn parse(text: &str) -> Result<Url, Failure> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Url = whole.parse().map_err(|error| Failure::Usage(format!("{text:?} is no URL: {error}")))?;
    match url.scheme() {
        "http" => Ok(url),
        scheme => Err(Failure::Usage(format!("{scheme}:// is not spoken here: the administration answers http://"))),
    }
}

/// Where the node answers that is run with the same file and environment as this command.
pub(super) fn own_node() -> Result<String, Failure> {
    match RunArguments::default().load()?.config.admin {
        Admin::Off => Err(Failure::Usage("admin is off in this configuration; --url names a node that answers".to_owned())),
        Admin::At { host, port } => Ok(match host.as_str() {
            "" | "0.0.0.0" => format!("http://127.0.0.1:{port}"),
            "::" => format!("http://[::1]:{port}"),
            host if host.contains(':') => format!("http://[{host}]:{port}"),
            host => format!("http://{host}:{port}"),
        }),
    }
}

/// The token that the node with the same file and environment asks for.
pub(super) fn own_token() -> Result<Option<String>, Failure> {
    let api = RunArguments::default().load()?.config.api;
    match (api.token, api.token_file) {
        (Some(token), _) => Ok(Some(token.reveal().to_owned())),
        (None, Some(file)) => read_secret(Path::new(&file)).map(Some).map_err(Failure::Usage),
        (None, None) => Ok(None),
    }
}

/// With the last cause, which is the one that says something.
pub(super) fn unreachable(url: &Url, error: &reqwest::Error) -> Failure {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Failure::Runtime(format!("{url}: {cause}"))
}
