//! A node of a cluster: what is kept is in Redis, and messages go to subscribers of every node. Start it twice, with different ports.
//!
//! `cargo run -p mqttd --example redis -- redis://127.0.0.1:6379 1883`

use mqttd::{Builder, Client, Node, Topic};

async fn on_publish(topic: Topic, client: Client) {
    println!("{} publishes to {topic}", client.id());
}

pub(crate) fn app(redis: &str) -> Builder {
    Node::builder().store(redis).on_publish("sensors/#", on_publish)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let redis = arguments.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let port = arguments.next().unwrap_or_else(|| "1883".to_owned());
    app(&redis).listen(format!("tcp://127.0.0.1:{port}")).run_until(std::future::pending()).await?;
    Ok(())
}
