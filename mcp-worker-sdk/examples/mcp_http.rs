//! An MCP server behind streamable HTTP: `cargo run --features rmcp-http --example mcp_http -- redis://127.0.0.1:6379 http://127.0.0.1:8000/mcp`.

use mcp_worker_sdk::mcp;

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(2).ok_or("the URL of an MCP server is missing")?; // the first is the address of Redis
    Ok(common::worker()?.route("agents/http/mcp", mcp::http(&url)?).build()?.run().await?)
}
