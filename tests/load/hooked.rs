//! Only for measurements: a node whose hook does nothing, or hashes each payload as often as the variable `HASHES` says. `MQTTD_…` variables
//! are its options, as `MQTTD_LISTEN=1883`, and `TOKIO_WORKER_THREADS` is the number of its threads.

use mqttd::Node;
use mqttd::hook::extract::Payload;
use sha2::{Digest, Sha256};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let hashes: u32 = std::env::var("HASHES").ok().and_then(|hashes| hashes.parse().ok()).unwrap_or(0);
    let node = Node::builder().environment();
    let node = match hashes {
        0 => node.on_publish("#", || async {}),
        _ => node.on_publish("#", move |payload: Payload| async move {
            let digest = (1..hashes).fold(Sha256::digest(&payload[..]), |digest, _| Sha256::digest(digest));
            std::hint::black_box(digest);
        }),
    };
    node.run_until(std::future::pending()).await.map(drop)
}
