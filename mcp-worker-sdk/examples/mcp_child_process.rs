//! An MCP server that is another program: `cargo run --features rmcp-child-process --example mcp_child_process -- redis://127.0.0.1:6379 PROGRAM ARGUMENT...`.

use mcp_worker_sdk::mcp;
use tokio::process::Command;

mod common;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(2); // the first is the address of Redis
    let mut command = Command::new(arguments.next().ok_or("the program of an MCP server is missing")?);
    command.args(arguments);
    Ok(common::worker()?.route("agents/program/mcp", mcp::child_process(command)).build()?.run().await?)
}
