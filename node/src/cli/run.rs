//! `mqttd run`: the broker, from its configuration to its clean end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clap::{ArgAction, Args};
use tracing::{info, warn};

use super::otlp::Exporter;
use super::reload::Reload;
use super::signals::Signals;
use super::{Failure, log};
use crate::auth::guard::House;
use crate::config::environment::FILE_VARIABLE;
use crate::config::{Config, Effective, Flag, Sources};
use crate::fault;
use crate::hook::client::Transport;
use crate::listener;
use crate::node::handle::Handle;
use crate::node::{Node, settings};

/// Read when nobody names another file, if it is there.
const FILE_DEFAULT: &str = "/etc/mqttd/mqttd.toml";

#[derive(Args, Clone, Debug, Default)]
pub(super) struct RunArguments {
    /// The configuration file [default: $MQTTD_CONFIG, or /etc/mqttd/mqttd.toml where it exists]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, as tcp://HOST:PORT; tcp://:1883 is all addresses; also tls, ws, wss and quic; may stand more than once [default: tcp://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,
    /// Listen on this port of 127.0.0.1
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The certificate chain for tls, wss and quic, in PEM; may stand more than once, each with its key
    #[arg(long, value_name = "FILE")]
    tls_certificate: Vec<String>,
    /// Its private key
    #[arg(long, value_name = "FILE")]
    tls_key: Vec<String>,
    /// Clients must show a certificate that these authorities signed
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
    /// Where sessions and messages are kept: memory: or redis://HOST:PORT [default: memory:]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where the administration answers, or off [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The name of this node
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// For testing clients: do wrong what this file says, in the format of curl's test server
    #[arg(long, value_name = "FILE")]
    faults: Option<String>,
    /// What is logged: error, warn, info, debug, trace, off [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How the log looks: auto, text or json [default: auto]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Log more: -v is --log debug, -vv is --log trace
    #[arg(short, action = ArgAction::Count, conflicts_with = "log")]
    verbose: u8,
}

impl RunArguments {
    /// The configuration that these arguments, the environment and the file make.
    pub(super) fn load(&self) -> Result<Effective, Failure> {
        let from_environment = || std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let usual = || Some(PathBuf::from(FILE_DEFAULT)).filter(|path| Path::exists(path));
        let file = self.config.clone().or_else(from_environment).or_else(usual);
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        };
        let environment = std::env::vars_os().map(text).collect();
        let drop_ins = file.as_deref().map(drop_ins).transpose()?.unwrap_or_default();
        Ok(Config::load(&Sources { file, drop_ins, environment, flags: self.flags() })?)
    }

    pub(super) fn flags(&self) -> Vec<Flag> {
        let level = match self.verbose {
            0 => None,
            1 => Some("debug".to_owned()),
            _ => Some("trace".to_owned()),
        };
        let listen = self.listen.iter().map(|url| ("--listen", "listen", Some(url.clone())));
        let certificates = self.tls_certificate.iter().map(|file| ("--tls-certificate", "tls.certificates", Some(file.clone())));
        let keys = self.tls_key.iter().map(|file| ("--tls-key", "tls.keys", Some(file.clone())));
        let others = [
            ("--tls-client-ca", "tls.client_ca", self.tls_client_ca.clone()),
            ("--port", "listen", self.port.map(|port| port.to_string())),
            ("--store", "store.url", self.store.clone()),
            ("--admin", "admin", self.admin.clone()),
            ("--node-id", "node.id", self.node_id.clone()),
            ("--faults", "faults.file", self.faults.clone()),
            ("--log", "log.filter", self.log.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
            ("-v", "log.filter", level),
        ];
        listen
            .chain(certificates)
            .chain(keys)
            .chain(others)
            .filter_map(|(flag, key, value)| Some(Flag { flag, key, value: value? }))
            .collect()
    }
}

/// The files `conf.d/*.toml` beside the configuration file, by name: each over those before it.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = file.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::Usage(format!("{}: {error}", folder.display()))),
    };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    files.sort();
    Ok(files)
}

pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let loaded = arguments.load()?;
    let mut config = loaded.config.clone();
    settings::give_name(&mut config);
    let (log, exporter) = log::start(&loaded, &settings::name(&config))?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if loaded.config.runtime.worker_threads > 0 {
        runtime.worker_threads(loaded.config.runtime.worker_threads);
    }
    let runtime = runtime.thread_name("mqttd").enable_all().build().map_err(|error| Failure::Runtime(format!("the threads: {error}")))?;
    let reload = Reload { arguments: arguments.clone(), loaded, log };
    let served = runtime.block_on(serve(&config, reload, exporter.as_ref()));
    exporter.iter().for_each(Exporter::finish);
    served
}

/// Names a place at which this process ends itself, in debug builds (`fault.rs`). For tests.
const FAULT_POINT: &str = "FAULT_POINT";

async fn serve(config: &Config, mut reload: Reload, exporter: Option<&Exporter>) -> Result<(), Failure> {
    if let Ok(point) = std::env::var(FAULT_POINT) {
        fault::arm(&point);
    }
    let failed = |what: &str, error: &dyn std::fmt::Display| Failure::Runtime(format!("{what}: {error}"));
    // Before the ports are open: whoever sees a port open may send the signal.
    let (mut signals, mut hangups, mut questions) = (Signals::catch()?, Signals::hangups()?, Signals::questions()?);
    let node = Node::bind(config).await.map_err(|error| failed("cannot start", &error))?;
    exporter.iter().for_each(|exporter| exporter.count_in(&node.broker().metrics.otlp_spans_lost));
    announce(config, &node);
    for address in node.admin_addresses() {
        info!("the administration answers on http://{address}");
    }
    let (haste, renew, doors, opener, handle) = (node.haste(), node.renew(), node.auth().clone(), node.opener(), node.handle());
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            Box::pin(reload.again(&doors, &opener)).await;
            renew.notify_one();
        }
    });
    tokio::spawn(async move {
        while questions.recv().await.is_some() {
            tell(&handle);
        }
    });
    node.run_until(async {
        let name = signals.next().await;
        info!("{name}: ending; a second signal takes less time, a third one none");
        tokio::spawn(async move {
            let name = signals.next().await;
            info!("{name}: ending at once");
            haste.hurry();
            signals.next().await;
            #[allow(clippy::disallowed_methods, reason = "the third signal asks for just that")]
            std::process::exit(1);
        });
    })
    .await;
    info!("ended");
    Ok(())
}

/// How the node is, in one line.
fn tell(handle: &Handle) {
    let (health, metrics) = (handle.health(), handle.metrics());
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    info!(
        status = health.status,
        connections = health.connections,
        connections_total = count(&metrics.connections_total),
        connections_refused = count(&metrics.connections_refused),
        publishes_received = count(&metrics.publishes_received),
        publishes_sent = count(&metrics.publishes_sent),
        bytes_received = count(&metrics.bytes_received),
        bytes_sent = count(&metrics.bytes_sent),
        dropped = count(&metrics.messages_dropped_slow) + count(&metrics.messages_dropped_queue_full),
        requests_in_flight = metrics.mcp_in_flight.load(Relaxed),
        errors = health.errors.join("; "),
        "SIGUSR1: how this node is"
    );
}

/// What listens where, who may come in, and what to try next.
fn announce(config: &Config, node: &Node) {
    let addresses = node.addresses();
    info!(version = env!("CARGO_PKG_VERSION"), store = %config.store.url, "mqttd");
    for (transport, address) in addresses {
        info!("listening on {}://{address}", transport.scheme());
    }
    // Listeners of which the same is to be said are named together.
    let mut said: BTreeMap<Entry, Vec<String>> = BTreeMap::new();
    for ((transport, address), listener) in addresses.iter().zip(node.listeners()) {
        let url = format!("{}://{address}", transport.scheme());
        said.entry(Entry::of(node.auth().house(), listener, *address)).or_default().push(url.clone());
        if listener.proxy_protocol && listener.proxy_from.is_empty() && !address.ip().is_loopback() {
            warn!(
                "whoever reaches {url} may send a PROXY header, and say of itself what address it comes from and what certificate it has: \
                 name the balancers, proxy_from = [\"10.0.0.0/8\"]"
            );
        }
    }
    said.iter().for_each(|(entry, urls)| entry.announce(&urls.join(", ")));
    let Some((_, address)) = addresses.iter().find(|(transport, _)| *transport == Transport::Tcp) else { return };
    info!("try: mqttd sub{0} -t 'hello/#' -v    and: mqttd pub{0} -t hello/world -m hi", reach(*address, "-H"));
    info!("or:  mosquitto_sub{} -t 'hello/#' -v", reach(*address, "-h"));
}

/// Who comes in by a listener.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    anonymous: bool,
    /// From other machines.
    reachable: bool,
    mechanisms: Vec<&'static str>,
}

impl Entry {
    fn of(house: &House, listener: &listener::Settings, address: SocketAddr) -> Entry {
        let (anonymous, mechanisms) = (house.admits_anonymous(&listener.about), house.mechanisms(&listener.about));
        Entry { anonymous, reachable: !address.ip().is_loopback(), mechanisms }
    }

    fn announce(&self, urls: &str) {
        let named = self.mechanisms.join(", ");
        match (self.anonymous, self.reachable) {
            (true, true) => warn!(
                "ANYONE who reaches {urls} may connect. To change it: auth.password_file, made by `mqttd passwd`, or anonymous = false, \
                 in [auth] or at the listener"
            ),
            (true, false) => info!("anonymous clients are allowed by {urls}, from this machine only"),
            (false, _) if named.is_empty() => warn!("nobody can come in by {urls}: anonymous is false, and there is nothing else"),
            (false, _) => info!("who may come in by {urls} is said by: {named}"),
        }
    }
}

/// The options with which a client on this machine finds `address`; none for the usual one.
fn reach(address: SocketAddr, host_option: &str) -> String {
    let default = address.ip().is_unspecified() || address.ip() == Ipv4Addr::LOCALHOST;
    let host = if default { String::new() } else { format!(" {host_option} {}", address.ip()) };
    let port = if address.port() == 1883 { String::new() } else { format!(" -p {}", address.port()) };
    host + &port
}
