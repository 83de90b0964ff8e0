//! Answers with what it was asked: `cargo run --example echo -- redis://127.0.0.1:6379`.

use mcp_worker_sdk::Request;

mod common;

#[tokio::main]
async fn main() -> Result<(), mcp_worker_sdk::Error> {
    common::worker()?.route("devices/+/echo", |r: Request| async move { r.payload }).build()?.run().await
}
