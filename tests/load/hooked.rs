//! Only for measurements: a node whose hook does nothing, or hashes each payload as often as the variable `HASHES` says. It sees what is
//! published, or with `HOOK=deliver` what is delivered. `MQTTD_…` variables are its options, as `MQTTD_LISTEN=1883`, and
//! `TOKIO_WORKER_THREADS` is the number of its threads.

use mqttd::Node;
use mqttd::hook::extract::Payload;
use sha2::{Digest, Sha256};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    if std::env::args().any(|argument| argument == "--version") {
        println!("hooked {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let hashes: u32 = std::env::var("HASHES").ok().and_then(|hashes| hashes.parse().ok()).unwrap_or(0);
    let node = Node::builder().environment();
    let sees_deliveries = std::env::var("HOOK").is_ok_and(|hook| hook == "deliver");
    let node = match hashes {
        0 if sees_deliveries => node.on_deliver("#", || async {}),
        0 => node.on_publish("#", || async {}),
        _ => node.on_publish("#", move |payload: Payload| async move {
            let digest = (1..hashes).fold(Sha256::digest(&payload[..]), |digest, _| Sha256::digest(digest));
            std::hint::black_box(digest);
        }),
    };
    node.run_until(std::future::pending()).await.map(drop)
}
