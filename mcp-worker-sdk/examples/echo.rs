//! Answers with what it was asked: `cargo run --example echo -- redis://127.0.0.1:6379`.

use mcp_worker_sdk::{Request, Worker};

#[tokio::main]
async fn main() -> Result<(), mcp_worker_sdk::Error> {
    let redis = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    Worker::builder().redis_url(redis).route("devices/+/echo", |r: Request| async move { r.payload }).build()?.run().await
}
