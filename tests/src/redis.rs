//! A real Redis for a test: its own process, port and folder, gone when it is dropped. `redis-server` is that of the PATH; where there is
//! none, it runs in a container.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::{container, unique};

/// How many free ports are tried: another process may take one between the look and the start.
const PORTS_TRIED_MAX: usize = 10;
/// What the log of a server says when it is of use; that of a Sentinel says something else.
const READY: &str = "Ready to accept connections";

pub struct Redis {
    server: Server,
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    /// What its log says when it is of use.
    ready: &'static str,
}

enum Server {
    Process(Child),
    Container(container::Server),
    /// Between [`Redis::kill`] and [`Redis::revive`].
    Ended,
}

/// What servers are made of here.
#[derive(Clone, Copy)]
enum Kind {
    Process,
    Container,
}

impl Redis {
    /// Without persistence. `None`, and a word about it, when there is neither `redis-server` on the PATH nor a Docker engine with its
    /// image; `MQTTD_REQUIRE_REDIS=1` makes that a failure.
    pub fn start() -> Option<Redis> {
        Redis::with(&[])
    }

    /// In a container, whatever is on the PATH, and shared by the tests of this process. `None`, and a word about it, without an engine or
    /// the image; `MQTTD_REQUIRE_DOCKER=1` makes that a failure.
    pub fn shared_in_container() -> Option<&'static Redis> {
        static SHARED: OnceLock<Option<(Redis, Child)>> = OnceLock::new();
        let start = || {
            if let Some(why) = container::lacking() {
                assert!(std::env::var_os("MQTTD_REQUIRE_DOCKER").is_none(), "MQTTD_REQUIRE_DOCKER is set, and {why}");
                println!("skipped: {why}");
                return None;
            }
            let redis = Redis::launch(Kind::Container, folder("redis"), without_persistence(&[]), READY);
            let shell = redis.die_with_us();
            Some((redis, shell))
        };
        SHARED.get_or_init(start).as_ref().map(|(redis, _)| redis)
    }

    /// The one that tests share, each with a prefix of its own. It ends with this process.
    pub fn shared() -> Option<&'static Redis> {
        static SHARED: OnceLock<Option<(Redis, Child)>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| {
            let redis = Redis::start()?;
            let shell = redis.die_with_us();
            Some((redis, shell))
        });
        shared.as_ref().map(|(redis, _)| redis)
    }

    /// What is static is never dropped. So a shell waits for the end of its input, which comes when this process is gone, and ends the server.
    pub(crate) fn die_with_us(&self) -> Child {
        let end = match &self.server {
            Server::Process(server) => format!("kill -9 {}", server.id()),
            Server::Container(server) => server.end(),
            Server::Ended => "true".to_owned(),
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"read -r _; {end}; rm -rf "$1""#), "sh"]).arg(&self.folder);
        // Whoever waits for the output of this process does not wait for the shell.
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs")
    }

    /// With these options of its command line (`--maxmemory 1mb`); they win over those of [`Redis::start`].
    pub fn with(options: &[&str]) -> Option<Redis> {
        Some(Redis::launch(Kind::here()?, folder("redis"), without_persistence(options), READY))
    }

    /// A Sentinel that knows this primary under the name `main`, and promotes its replica soon after it stops answering. It comes back
    /// when it has seen the replica.
    pub fn sentinel(primary: &Redis) -> Option<Redis> {
        Redis::sentinel_of(primary, 1)
    }

    /// The same of several, so many of which have to agree that the primary does not answer.
    pub fn sentinel_of(primary: &Redis, quorum: usize) -> Option<Redis> {
        let kind = Kind::here()?;
        let folder = folder("sentinel");
        let file = folder.join("sentinel.conf"); // it writes to it
        let watch = format!(
            "sentinel monitor main 127.0.0.1 {} {quorum}\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n",
            primary.port
        );
        std::fs::write(&file, watch).expect("its configuration");
        let arguments = vec![file.to_str().expect("a path of text").to_owned(), "--sentinel".to_owned()];
        Some(Redis::launch(kind, folder, arguments, "+slave slave"))
    }

    fn launch(kind: Kind, folder: PathBuf, arguments: Vec<String>, ready: &'static str) -> Redis {
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            if let Some(server) = kind.launch(port, &folder, &arguments, ready) {
                return Redis { server, port, folder, arguments, ready };
            }
        }
        panic!("redis-server does not start, see above");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command.
    #[track_caller]
    pub fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_query(command).expect("an answer")
    }

    /// The same, where a refusal is an answer too.
    #[track_caller]
    pub fn try_query<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url()).expect("its address");
        let mut connection = client.get_connection().expect("Redis accepts connections");
        let (name, arguments) = command.split_first().expect("a command has a name");
        redis::cmd(name).arg(arguments).query(&mut connection)
    }

    /// Ends it without a farewell: SIGKILL.
    pub fn kill(&mut self) {
        if let Server::Process(mut server) = std::mem::replace(&mut self.server, Server::Ended) {
            // It fails for one that has ended already, which is as good.
            let _ = server.kill();
            server.wait().expect("a child can be waited for");
        }
    }

    /// Starts it again on its port, after [`Redis::kill`].
    pub fn revive(&mut self) {
        let kind = Kind::here().expect("it ran before");
        self.server = kind.launch(self.port, &self.folder, &self.arguments, self.ready).expect("redis-server starts again");
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        match &self.server {
            Server::Process(server) => {
                let command = format!("kill -{name} {}", server.id());
                assert!(Command::new("sh").arg("-c").arg(command).status().expect("sh runs").success());
            }
            Server::Container(server) => server.signal(name),
            Server::Ended => panic!("it has ended"),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill(); // also one that is paused
        // What is left in the folder of temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Kind {
    fn here() -> Option<Kind> {
        if is_installed() {
            return Some(Kind::Process);
        }
        let Some(why) = container::lacking() else {
            println!("no redis-server on the PATH: Redis runs in a container");
            return Some(Kind::Container);
        };
        let required = std::env::var_os("MQTTD_REQUIRE_REDIS").is_some();
        assert!(!required, "MQTTD_REQUIRE_REDIS is set, there is no redis-server on the PATH, and {why}");
        println!("skipped: no redis-server on the PATH, and {why}");
        None
    }

    /// Comes back when its log says `ready`; `None` when it ended instead.
    fn launch(self, port: u16, folder: &Path, arguments: &[String], ready: &str) -> Option<Server> {
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile", "", "--dir", folder.to_str().expect("a path of text")];
        let arguments: Vec<String> = arguments.iter().cloned().chain(own.map(str::to_owned)).collect();
        match self {
            Kind::Process => launch(&arguments, ready).map(Server::Process),
            Kind::Container => container::launch(&arguments, folder, ready).map(Server::Container),
        }
    }
}

fn without_persistence(options: &[&str]) -> Vec<String> {
    ["--save", "", "--appendonly", "no"].iter().chain(options).map(|argument| (*argument).to_owned()).collect()
}

/// Whether there is a redis-server on the PATH.
pub fn is_installed() -> bool {
    Command::new("redis-server").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn folder(stem: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(unique(&format!("mqttd-{stem}-")));
    std::fs::create_dir_all(&folder).expect("a folder for Redis");
    folder
}

fn launch(arguments: &[String], ready: &str) -> Option<Child> {
    let mut server = Command::new("redis-server").args(arguments).stdout(Stdio::piped()).spawn().expect("redis-server runs");
    let mut log = BufReader::new(server.stdout.take().expect("its log")).lines();
    let mut said = Vec::new();
    for line in log.by_ref().map_while(Result::ok) {
        if line.contains(ready) {
            // Somebody has to read on, or it would wait for room in the pipe one day.
            std::thread::spawn(move || log.for_each(drop));
            return Some(server);
        }
        said.push(line);
    }
    server.wait().expect("a child can be waited for");
    println!("redis-server ended at once:\n{}", said.join("\n"));
    None
}
