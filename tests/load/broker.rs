//! A broker as a process of its own, and what Linux says of it.

use std::fmt;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mqttd::hook::client::Transport;
use mqttd_tests::certificates;
use mqttd_tests::way::{Duplex, Way};

const START: Duration = Duration::from_secs(10);

/// What /proc counts CPU time in; 100 on every Linux that Rust's standard library runs on.
const TICKS_PER_S: f64 = 100.0;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Mosquitto,
}

impl Kind {
    /// Ours, and the peer if it is installed and has any of these.
    pub(crate) fn present(transports: &[Transport]) -> Vec<Kind> {
        if !transports.iter().any(|transport| Kind::Mosquitto.has(*transport)) {
            return vec![Kind::Ours];
        }
        let peer = Command::new("mosquitto").arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if peer.is_ok() { vec![Kind::Ours, Kind::Mosquitto] } else { vec![Kind::Ours] }
    }

    pub(crate) fn has(self, transport: Transport) -> bool {
        self == Kind::Ours || transport != Transport::Quic
    }

    /// The first line that the program says of itself.
    pub(crate) fn version(self) -> String {
        let (program, flag) = match self {
            Kind::Ours => (ours(), "--version"),
            Kind::Mosquitto => ("mosquitto".into(), "-h"),
        };
        let output = Command::new(program).arg(flag).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or("version unknown").to_owned()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Ours => "mqttd",
            Kind::Mosquitto => "mosquitto",
        })
    }
}

/// A broker that runs; it ends with this value.
pub(crate) struct Broker {
    address: SocketAddr,
    way: Way,
    process: Child,
    folder: PathBuf,
}

impl Broker {
    /// On a free port, with an empty memory.
    pub(crate) fn start(kind: Kind, transport: Transport) -> Result<Broker, String> {
        Broker::launch(kind, transport, &[])
    }

    /// A node of ours whose Store is this Redis.
    pub(crate) fn node(name: &str, redis: &str) -> Result<Broker, String> {
        Broker::launch(Kind::Ours, Transport::Tcp, &["--node-id", name, "--store", redis])
    }

    fn launch(kind: Kind, transport: Transport, arguments: &[&str]) -> Result<Broker, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        drop(listener);
        let folder = std::env::temp_dir().join(format!("mqttd-load-{}-{}", std::process::id(), address.port()));
        let process = spawn(kind, transport, address.port(), &folder, arguments);
        let process = process.map_err(|error| format!("{kind} does not start: {error}"))?;
        let mut broker = Broker { address, way: Way::new(transport), process, folder };
        broker.wait_until_it_listens()?;
        Ok(broker)
    }

    fn wait_until_it_listens(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("it does not listen ({ended:?}): {log}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A byte stream to it, ready for CONNECT.
    pub(crate) async fn open(&self) -> std::io::Result<Box<dyn Duplex>> {
        self.way.open(self.address).await
    }

    pub(crate) fn cpu_s(&self) -> f64 {
        cpu_s(&self.process.id().to_string())
    }

    /// Memory that is in use, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<f64, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).map_err(|error| error.to_string())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("it has no memory")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("VmRSS:{line}"))?;
        Ok(kib * 1024.0)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// CPU seconds that a process has used so far, `self` for this one: user and system time, fields 14 and 15 of its stat. The fields
/// are counted from the closing bracket, as the name in front of it may contain anything.
pub(crate) fn cpu_s(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_S
}

fn spawn(kind: Kind, transport: Transport, port: u16, folder: &PathBuf, arguments: &[&str]) -> std::io::Result<Child> {
    fs::create_dir_all(folder)?;
    let log = fs::File::create(folder.join("log"))?;
    let mut command = match kind {
        Kind::Ours => {
            let mut command = Command::new(ours());
            command.args(["--listen", &format!("{}://127.0.0.1:{port}", transport.scheme()), "--admin", "off"]).args(arguments);
            if transport == Transport::Quic {
                command.args(["--listen", &format!("tcp://127.0.0.1:{port}")]); // where it is seen that it has started
            }
            let (certificate, key) = certificates::localhost(folder);
            command.args(["--tls-certificate", &certificate, "--tls-key", &key]).env_remove("MQTTD_TEST_TRANSPORT").env_remove("MQTTD");
            // For `hooked`, which has no command line.
            command.env("MQTTD_LISTEN", format!("tcp://127.0.0.1:{port}")).env("MQTTD_ADMIN", "off");
            command
        }
        Kind::Mosquitto => {
            let configuration = folder.join("mosquitto.conf");
            fs::write(&configuration, mosquitto_conf(transport, port, folder))?;
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(configuration);
            command
        }
    };
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// $MQTTD, or what stands beside this program.
fn ours() -> PathBuf {
    let beside = || std::env::current_exe().ok().map(|path| path.with_file_name("mqttd"));
    std::env::var_os("MQTTD").map(PathBuf::from).or_else(beside).unwrap_or_else(|| "mqttd".into())
}

/// Without its limits, which would drop messages, and without Nagle's algorithm, which would delay them. Where root starts it, it stays root:
/// another user could not write to the folder.
fn mosquitto_conf(transport: Transport, port: u16, folder: &std::path::Path) -> String {
    let (certificate, key) = certificates::localhost(folder);
    let tls = format!("certfile {certificate}\nkeyfile {key}\n");
    let more = match transport {
        Transport::Tls => tls,
        Transport::WebSocket => "protocol websockets\n".to_owned(),
        Transport::SecureWebSocket => format!("protocol websockets\n{tls}"),
        Transport::Tcp | Transport::Quic => String::new(),
    };
    // mosquitto 2.0.11 does not start with listeners for WebSocket alone.
    let another = if more.contains("websockets") { format!("listener 0 {}\n", folder.join("socket").display()) } else { String::new() };
    format!(
        "user root\n{another}listener {port} 127.0.0.1\n{more}allow_anonymous true\npersistence false\nset_tcp_nodelay true\nmax_queued_messages 0\n\
         max_inflight_messages 0\n"
    )
}
