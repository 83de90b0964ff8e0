//! The options of a file, the environment and the program, one over the other.
//!
//! `mqttd config > mqttd.toml; MQTTD_LOG=debug cargo run -p mqttd --example configuration -- mqttd.toml`

use mqttd::{Builder, Node};

pub(crate) fn app(file: &str) -> Builder {
    Node::builder().config_file(file).set("limits.packet_bytes_max", "65536")
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "mqttd.toml".to_owned());
    app(&file).environment().run_until(std::future::pending()).await?;
    Ok(())
}
