//! The Python package that this broker comes after.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mqttd_tests::redis::Redis;

/// How long Python may take to listen.
const START: Duration = Duration::from_secs(60);

/// A node of it. It ends when this value is dropped.
pub(crate) struct Seed {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Seed {
    pub(crate) fn start(python: &std::ffi::OsStr, redis: &Redis) -> Seed {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let program = format!(
            "import logging; logging.disable(logging.CRITICAL)\nfrom mqttd import MQTTApp\nMQTTApp(host='127.0.0.1', port={}, redis_url='{}').run()",
            address.port(),
            redis.url()
        );
        let mut command = Command::new(python);
        let process = command.arg("-c").arg(program).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Python runs");
        let seed = Seed { process, address };
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the seed does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        seed
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
