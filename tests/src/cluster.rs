//! Nodes of a cluster as processes of their own, on a Redis of their own: what a test kills is really dead.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mqttd::packet::Version;

use crate::build::message;
use crate::client::Client;
use crate::connecting::Connecting;
use crate::deployment::Deployment;
use crate::http::Admin;
use crate::redis::Redis;
use crate::unique;

/// The lease of the nodes: deaths are seen within a few seconds, and a machine with much else to do is not taken for one.
pub const LEASE: Duration = Duration::from_secs(2);

/// What must happen has happened by then, also when a death has to be noticed first.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tells a node of a debug build where it shall end itself.
const FAULT_POINT: &str = "FAULT_POINT";

/// Begins every key of the nodes.
pub const PREFIX: &str = "mqttd";

/// A Redis and nodes on it. All of it ends when this value is dropped.
pub struct Cluster<R = Redis> {
    nodes: Vec<Node>,
    pub redis: R,
}

impl Cluster {
    /// Nodes on a Redis without persistence. `None` where there is no `redis-server`, as [`Redis::start`].
    pub fn start(nodes: usize) -> Option<Cluster> {
        Cluster::with(nodes, &[])
    }

    /// With these variables in the environment of every node.
    pub fn with(nodes: usize, variables: &[(&str, &str)]) -> Option<Cluster> {
        Some(Cluster::on(Redis::start()?, nodes, variables))
    }

    /// On a Redis that has everything again that it ever confirmed, after a kill.
    pub fn lasting(nodes: usize) -> Option<Cluster> {
        Some(Cluster::on(Redis::with(&["--appendonly", "yes", "--appendfsync", "always"])?, nodes, &[]))
    }

    /// On this one, with these variables in the environment of every node.
    pub fn on(redis: Redis, nodes: usize, variables: &[(&str, &str)]) -> Cluster {
        let nodes = start(nodes, &redis.url(), variables);
        Cluster { nodes, redis }
    }
}

impl Cluster {
    /// A node for each of these, with its variables in its environment.
    pub fn of(each: &[&[(&str, &str)]]) -> Option<Cluster> {
        let redis = Redis::start()?;
        let start = |(number, variables): (usize, &&[(&str, &str)])| Node::start(&redis.url(), &format!("n{number}"), &owned(variables));
        let nodes = each.iter().enumerate().map(start).collect();
        Some(Cluster { nodes, redis })
    }
}

impl Cluster<Deployment> {
    /// A node of each of these programs.
    pub fn of_programs(redis: Deployment, programs: &[&Path]) -> Cluster<Deployment> {
        let store = redis.url();
        let start = |(number, program): (usize, &&Path)| Node::start_as(program, &store, &format!("n{number}"), &[]);
        Cluster { nodes: programs.iter().enumerate().map(start).collect(), redis }
    }

    /// On Redis as it is deployed here, with these variables in the environment of every node.
    pub fn deployed(redis: Deployment, nodes: usize, variables: &[(&str, &str)]) -> Cluster<Deployment> {
        let nodes = start(nodes, &redis.url(), variables);
        Cluster { nodes, redis }
    }
}

fn start(nodes: usize, store: &str, variables: &[(&str, &str)]) -> Vec<Node> {
    let variables = owned(variables);
    (0..nodes).map(|number| Node::start(store, &format!("n{number}"), &variables)).collect()
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl<R> Cluster<R> {
    pub fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    /// A client of a node, about to connect.
    pub fn client(&self, node: usize, version: Version) -> Connecting {
        Connecting::new(self.address(node), version)
    }

    /// Connected to this node with a Session that lasts.
    #[track_caller]
    pub fn durable(&self, node: usize, version: Version, id: &str) -> Client {
        self.client(node, version).id(id).durable().connect()
    }

    /// Lets time pass and comes back after at least so many seconds, by the clock of that node.
    #[track_caller]
    pub fn pass(&self, node: usize, seconds: u32) {
        let topic = unique("clock");
        let mut watcher = self.client(node, Version::V5).connect();
        watcher.subscribe(&topic, 0);
        let will = self.client(node, Version::V5).expiry(seconds + 60).will_after(seconds, message(&topic, "now"));
        let clock = will.connect();
        let id = clock.id.clone();
        clock.cut();
        watcher.expect_within(PATIENCE, message(&topic, "now"));
        self.client(node, Version::V5).id(&id).connect().disconnect();
    }
}

impl Cluster {
    /// Kills a node, and comes back when another one has given back what it had.
    pub fn bury(&mut self, node: usize) {
        self.nodes[node].kill();
        self.until_buried(self.nodes.len() - 1);
    }

    /// Comes back when so many nodes are listed, and nobody has to be cleaned up after.
    pub fn until_buried(&self, left: usize) {
        until("the dead node is buried", || {
            let listed: usize = self.redis.query(&["ZCARD", &format!("{PREFIX}:{{nodes}}:hb")]);
            let dead: usize = self.redis.query(&["ZCARD", &format!("{PREFIX}:{{nodes}}:dead")]);
            listed == left && dead == 0
        });
    }

    /// All keys of the nodes that do not expire by themselves, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.redis.query(&["KEYS", &format!("{PREFIX}:*")]);
        keys.retain(|key| self.redis.query::<i64>(&["TTL", key]) == -1);
        keys.sort();
        keys
    }
}

/// Asks again and again until it is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        #[allow(clippy::disallowed_methods, reason = "what is looked at here tells nobody when it changes")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One node: a process of the real program.
pub struct Node {
    name: String,
    store: String,
    variables: Vec<(String, String)>,
    program: PathBuf,
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    log: Arc<Log>,
    listener: JoinHandle<()>,
}

/// What a node has said.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Node {
    /// One by itself, with its Store in memory, and with these variables in its environment.
    pub fn alone(variables: &[(&str, &str)]) -> Node {
        Node::start("memory:", "alone", &owned(variables))
    }

    /// A client of it, about to connect.
    pub fn client(&self, version: Version) -> Connecting {
        Connecting::new(self.address, version)
    }

    fn start(store: &str, name: &str, variables: &[(String, String)]) -> Node {
        Node::start_as(program(), store, name, variables)
    }

    fn start_as(program: &Path, store: &str, name: &str, variables: &[(String, String)]) -> Node {
        let log = Arc::new(Log::default());
        let (process, [address, admin], listener) = launch(program, store, name, variables, [ANY; 2], &log);
        let (name, program, store) = (name.to_owned(), program.to_owned(), store.to_owned());
        Node { name, variables: variables.to_vec(), program, store, process, address, admin, log, listener }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // It fails for one that has ended already, which is as good.
        let _ = self.process.kill();
        self.process.wait().expect("a child can be waited for");
    }

    /// Starts it again under its name, on another port, after its end.
    pub fn revive(&mut self) {
        until("all that it said is read", || self.listener.is_finished());
        self.launch([ANY; 2]);
    }

    /// Starts it again so that it ends itself when it comes to this point for the so manieth time: `NAME:COUNT` (`node/src/fault.rs`).
    pub fn revive_until(&mut self, point: &str) {
        self.variables.push((FAULT_POINT.to_owned(), point.to_owned()));
        self.revive();
        self.variables.pop();
        assert!(self.has_said("FAULT POINT"), "the program has no fault points: it is a release build");
    }

    /// Waits until it has ended itself.
    pub fn has_ended(&mut self) {
        until("the node comes to its fault point", || !self.runs());
    }

    /// Starts it again under its name and on its ports, after its end.
    pub fn restart(&mut self) {
        until("all that it said is read", || self.listener.is_finished());
        self.launch([self.address, self.admin]);
    }

    fn launch(&mut self, addresses: [SocketAddr; 2]) {
        (self.process, [self.address, self.admin], self.listener) =
            launch(&self.program, &self.store, &self.name, &self.variables, addresses, &self.log);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts, by its name in `/metrics` without the `mqttd_` before it.
    #[track_caller]
    pub fn metric(&self, name: &str) -> usize {
        let metrics = self.admin().get("/metrics").text;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("mqttd_{name} ")));
        value.unwrap_or_else(|| panic!("there is no mqttd_{name}")).parse().expect("a whole number")
    }

    /// Memory that its process has in use.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    pub fn admin(&self) -> Admin {
        Admin::new(self.admin)
    }

    /// SIGTERM; [`Node::ended`] waits for the end.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGHUP: it reads its configuration again.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Waits for its end, which has to be a good one.
    pub fn ended(&mut self) {
        let process = &mut self.process;
        until("the node ends", || process.try_wait().expect("a child can be waited for").is_some_and(|status| status.success()));
    }

    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    pub fn runs(&mut self) -> bool {
        self.process.try_wait().expect("a child can be waited for").is_none()
    }

    /// Whether the node has said so.
    pub fn has_said(&self, text: &str) -> bool {
        self.log.lines().iter().any(|line| line.contains(text))
    }

    /// Every line that it has said so far, but not that it has ended.
    pub fn said(&self) -> Vec<String> {
        self.log.lines().iter().filter(|line| *line != ENDED).cloned().collect()
    }

    /// Any signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        assert!(Command::new("sh").arg("-c").arg(command).status().expect("sh runs").success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill(); // also one that is paused
        if std::thread::panicking() {
            let lines = self.log.lines();
            println!("what node {} said:\n    {}", self.name, lines[lines.len().saturating_sub(40)..].join("\n    "));
        }
    }
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, line: String) {
        self.lines().push(line);
        self.more.notify_all();
    }

    /// Where the node listens and where its administration answers, said after so many lines.
    fn addresses(&self, after: usize) -> Option<[SocketAddr; 2]> {
        let told = |lines: &[String], word: &str| {
            let address = |line: &String| line.split_once(word).map(|(_, rest)| rest.split('"').next().unwrap_or_default().to_owned());
            lines[after..].iter().find_map(address)
        };
        let words = ["listening on tcp://", "the administration answers on http://"];
        let is_waited_for = |lines: &mut Vec<String>| {
            !(words.iter().all(|word| told(lines, word).is_some()) || lines[after..].iter().any(|line| line == ENDED))
        };
        let (lines, _) = self.more.wait_timeout_while(self.lines(), PATIENCE, is_waited_for).unwrap_or_else(PoisonError::into_inner);
        let [mqtt, admin] = words.map(|word| told(&lines, word).and_then(|address| address.parse().ok()));
        Some([mqtt?, admin?])
    }
}

/// The last line of a log.
const ENDED: &str = "(it ended)";

/// A port that the system picks.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn launch(
    program: &Path,
    store: &str,
    name: &str,
    variables: &[(String, String)],
    [mqtt, admin]: [SocketAddr; 2],
    log: &Arc<Log>,
) -> (Child, [SocketAddr; 2], JoinHandle<()>) {
    let mut process = command_of(program)
        .args(["--listen", &format!("tcp://{mqtt}"), "--admin", &admin.to_string()])
        .args(["--store", store, "--node-id", name, "--log-format", "json"])
        .env("MQTTD_CONFIG", "/dev/null")
        .env("MQTTD_CLUSTER__LEASE_S", LEASE.as_secs().to_string())
        .env("MQTTD_STORE__PREFIX", PREFIX)
        .env("MQTTD_PROTOCOL__SYS_INTERVAL_S", "0")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mqttd runs");
    let said = log.lines().len();
    let (listener, output) = (log.clone(), process.stderr.take().expect("its log"));
    let listener = std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).for_each(|line| listener.add(line));
        listener.add(ENDED.to_owned());
    });
    match log.addresses(said) {
        Some(addresses) => (process, addresses, listener),
        None => {
            let _ = process.kill();
            let _ = process.wait();
            panic!("node {name} does not start:\n    {}", log.lines().join("\n    "));
        }
    }
}

/// The program, without what tests are told by the environment: it takes variables that begin so for keys of its own.
pub fn command() -> Command {
    command_of(program())
}

fn command_of(program: &Path) -> Command {
    let mut command = Command::new(program);
    let is_read = |name: &str| ["MQTTD_", "OTEL_", "RUST_LOG"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_read(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// `MQTTD_TEST_PROGRAM`, or the program beside this test, built from the same sources.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("MQTTD_TEST_PROGRAM").map_or_else(build, PathBuf::from))
}

/// Cargo does not build the program of another package for a test; when it is up to date already this takes no time. With the features
/// that the tests are built with, so that nothing is built twice.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--workspace", "--tests", "--bins", "--target-dir"]).arg(profile.parent().expect("target"));
    // What Cargo tells this test of its package; build scripts look at it, and would run again for another package.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|of| name.to_string_lossy().starts_with(of)) {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the project"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.status().is_ok_and(|status| status.success());
    let program = profile.join("mqttd");
    assert!(built && program.exists(), "{} is not there, and cargo build --workspace --tests --bins does not make it", program.display());
    program
}
