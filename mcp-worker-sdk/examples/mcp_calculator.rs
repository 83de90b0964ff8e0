//! An MCP server in this process: `cargo run --features rmcp --example mcp_calculator -- redis://127.0.0.1:6379`.

use mcp_worker_sdk::{Worker, mcp};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};

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
    let redis = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    Worker::builder().redis_url(redis).route("agents/calculator/mcp", mcp::server(Calculator)).build()?.run().await
}
