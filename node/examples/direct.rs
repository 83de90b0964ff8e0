//! Direct routing in one process, and a program that publishes through its own broker, looks at its counters and ends it.
//!
//! `cargo run -p mqttd --example direct`

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mqttd::{Builder, Handle, Message, Node};

pub(crate) fn app() -> Builder {
    Node::builder().set("limits.connections_max", "1000")
}

/// Tells everybody the number of clients.
pub(crate) async fn tell(handle: &Handle) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let connected = handle.metrics().connections.load(Relaxed);
    handle.publish(Message::new("clients", connected.to_string())?.retain(true)).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let node = app().listen("tcp://127.0.0.1:1883").bind().await?;
    let handle = node.handle();
    let running = tokio::spawn(node.run_until(std::future::pending()));
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..60 {
        ticks.tick().await;
        tell(&handle).await?;
        println!("{:?}", handle.health());
    }
    handle.shutdown(Duration::from_secs(5)).await;
    running.await?;
    Ok(())
}
