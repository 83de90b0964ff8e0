//! MQTT over QUIC and nothing else.
//!
//! `cargo run -p mqttd --example quic -- server.pem server.key`, then any MQTT client over QUIC (ALPN `mqtt`) on UDP port 14567.

use mqttd::{Builder, Client, Node, Topic};

async fn on_subscribe(topic: Topic, client: Client) {
    println!("{} subscribes to {topic} over {}", client.id(), client.peer.transport.scheme());
}

pub(crate) fn app(certificates: &str, keys: &str) -> Builder {
    Node::builder().set("tls.certificates", certificates).set("tls.keys", keys).on_subscribe("sensors/#", on_subscribe)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let [certificates, keys] = &files[..] else { return Err(std::io::Error::other("usage: quic CERTIFICATES KEYS")) };
    app(certificates, keys).listen("quic://127.0.0.1:14567").run_until(std::future::pending()).await?;
    Ok(())
}
