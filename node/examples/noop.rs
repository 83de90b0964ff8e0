//! Only for measurements: a node whose hook does nothing. `MQTTD_…` variables are its options, as `MQTTD_LISTEN=1883`.

use mqttd::Node;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    Node::builder().environment().on_publish("#", || async {}).run_until(std::future::pending()).await.map(drop)
}
