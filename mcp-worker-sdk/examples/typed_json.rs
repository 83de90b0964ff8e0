//! JSON in, JSON out, an error for what cannot be: `cargo run --example typed_json -- redis://127.0.0.1:6379`.

use mcp_worker_sdk::{Failure, json};
use serde::{Deserialize, Serialize};

mod common;

#[derive(Deserialize)]
struct Division {
    dividend: i64,
    divisor: i64,
}

#[derive(Serialize)]
struct Divided {
    quotient: i64,
    rest: i64,
}

async fn divide(Division { dividend, divisor }: Division) -> Result<Divided, Failure> {
    if divisor == 0 {
        return Err(Failure::new("nothing can be divided by zero"));
    }
    Ok(Divided { quotient: dividend / divisor, rest: dividend % divisor })
}

#[tokio::main]
async fn main() -> Result<(), mcp_worker_sdk::Error> {
    common::worker()?.route("calc/divide", json(divide)).build()?.run().await
}
