//! A real Redis for a test: its own process, port and folder, gone when it is dropped.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::unique;

/// How many free ports are tried: another process may take one between the look and the start.
const PORTS_TRIED_MAX: usize = 10;

pub struct Redis {
    server: Child,
    port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    /// What its log says when it is of use.
    ready: &'static str,
}

impl Redis {
    /// Without persistence. `None`, and a word about it, when there is no `redis-server` on the PATH; `MQTTD_REQUIRE_REDIS=1` makes
    /// that a failure.
    pub fn start() -> Option<Redis> {
        Redis::with(&[])
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
        let script = r#"read -r _; kill -9 "$1"; rm -rf "$2""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", &self.server.id().to_string()]).arg(&self.folder);
        // Whoever waits for the output of this process does not wait for the shell.
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs")
    }

    /// With these options of its command line (`--maxmemory 1mb`); they win over those of [`Redis::start`].
    pub fn with(options: &[&str]) -> Option<Redis> {
        let arguments = ["--save", "", "--appendonly", "no"].iter().chain(options).map(|argument| (*argument).to_owned()).collect();
        Redis::launch(folder("redis"), arguments, "Ready to accept connections")
    }

    /// A Sentinel that knows this primary under the name `main`, and promotes its replica soon after it stops answering. It comes back
    /// when it has seen the replica.
    pub fn sentinel(primary: &Redis) -> Option<Redis> {
        Redis::sentinel_of(primary, 1)
    }

    /// The same of several, so many of which have to agree that the primary does not answer.
    pub fn sentinel_of(primary: &Redis, quorum: usize) -> Option<Redis> {
        let folder = folder("sentinel");
        let file = folder.join("sentinel.conf"); // it writes to it
        let watch = format!(
            "sentinel monitor main 127.0.0.1 {} {quorum}\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n",
            primary.port
        );
        std::fs::write(&file, watch).expect("its configuration");
        let arguments = vec![file.to_str().expect("a path of text").to_owned(), "--sentinel".to_owned()];
        Redis::launch(folder, arguments, "+slave slave")
    }

    fn launch(folder: PathBuf, arguments: Vec<String>, ready: &'static str) -> Option<Redis> {
        if !is_installed() {
            assert!(
                std::env::var_os("MQTTD_REQUIRE_REDIS").is_none(),
                "MQTTD_REQUIRE_REDIS is set, and there is no redis-server on the PATH"
            );
            println!("skipped: no redis-server");
            return None;
        }
        for _ in 0..PORTS_TRIED_MAX {
            let port = free_port();
            if let Some(server) = launch(port, &folder, &arguments, ready) {
                return Some(Redis { server, port, folder, arguments, ready });
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
        // It fails for one that has ended already, which is as good.
        let _ = self.server.kill();
        self.server.wait().expect("a child can be waited for");
    }

    /// Starts it again on its port, after [`Redis::kill`].
    pub fn revive(&mut self) {
        self.server = launch(self.port, &self.folder, &self.arguments, self.ready).expect("redis-server starts again");
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
        let command = format!("kill -{name} {}", self.server.id());
        assert!(Command::new("sh").arg("-c").arg(command).status().expect("sh runs").success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill(); // also one that is paused
        // What is left in the folder of temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn is_installed() -> bool {
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

/// Comes back when its log says `ready`; `None` when it ended instead.
fn launch(port: u16, folder: &Path, arguments: &[String], ready: &str) -> Option<Child> {
    let mut server = Command::new("redis-server")
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--logfile", "", "--dir"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server runs");
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
