//! An MCP server in this process: `cargo run --features rmcp --example mcp_calculator -- redis://127.0.0.1:6379`.

use mcp_worker_sdk::mcp;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};

mod common;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Clone)]
struct Calculator;

#[tool_router(server_handler)]
impl Calculator {
    #[tool(description = "Add two numbers")]
    fn add(&self, Parameters(Add { a, b }): Parameters<Add>) -> String {
        (a + b).to_string()
    }
}

#[tokio::main]
async fn main() -> Result<(), mcp_worker_sdk::Error> {
    common::worker()?.route("agents/calculator/mcp", mcp::server(Calculator)).build()?.run().await
}
