//! Where the examples find Redis: in their first argument, else in `REDIS_URL`, else on this machine. A password is in the file
//! `REDIS_PASSWORD_FILE`, if it is set.

use mcp_worker_sdk::{Worker, WorkerBuilder};

pub(crate) fn worker() -> std::io::Result<WorkerBuilder> {
    let url = std::env::args().nth(1).or_else(|| std::env::var("REDIS_URL").ok());
    let worker = Worker::builder().redis_url(url.unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned()));
    Ok(match std::env::var_os("REDIS_PASSWORD_FILE") {
        Some(file) => worker.redis_password(std::fs::read_to_string(file)?.trim_end_matches(['\r', '\n'])),
        None => worker,
    })
}
