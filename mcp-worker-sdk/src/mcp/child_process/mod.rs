//! An MCP server that is a program.

mod pipe;
mod program;

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tokio::process::Command;

use self::program::{Era, Program, Start, State};
use super::json_rpc::{self, Message, code, error_reply};
use crate::handler::{Answering, Handler};
use crate::reply::{Failure, Reply};
use crate::request::Request;

/// Has requests answered by an MCP server that is another program: newline-delimited JSON over its standard input and output.
///
/// All requests go to one process, which is started at the first of them and again when it ends, each time a little later; meanwhile they
/// are answered with a JSON-RPC error -32000. A program serves one era of MCP at a time, the one in which it was spoken to first; so there is a second
/// process for requests of the stateless revision, if any come and the server knows `server/discover`. JSON-RPC ids and progress tokens are mapped,
/// for two clients may use the same. What is in the messages is passed on, whatever the method; `initialize` is answered with what the server said when
/// it was started. Of what the program says besides, notifications that name their request (progress, subscriptions) are parts of its answer, and the
/// others are nobody's; `ping` is answered, and what else it asks of its client is an error to it. A message of more than 16 MiB ends the program.
///
/// ```
/// use mcp_worker_sdk::{Worker, mcp};
///
/// # fn main() -> Result<(), mcp_worker_sdk::Error> {
/// let mut command = tokio::process::Command::new("python3");
/// command.arg("server.py");
/// let worker = Worker::builder().route("agents/program/mcp", mcp::child_process(command)).build()?;
/// # drop(worker);
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// When the first request comes outside of a Tokio runtime.
pub fn child_process(mut command: Command) -> ChildProcess {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    ChildProcess { start: Arc::new(Mutex::new(command)), older: Program::new(Era::Older), stateless: Program::new(Era::Stateless) }
}

/// See [`child_process`].
#[derive(Clone)]
pub struct ChildProcess {
    start: Start,
    older: Arc<Program>,
    stateless: Arc<Program>,
}

impl std::fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildProcess").finish_non_exhaustive()
    }
}

impl Handler for ChildProcess {
    fn call(&self, request: Request) -> Answering {
        let child = self.clone();
        Box::pin(async move { child.answer(request).await })
    }
}

impl ChildProcess {
    async fn answer(&self, request: Request) -> Result<Reply, Failure> {
        match json_rpc::read(&request.payload) {
            Ok(Message::Request { id, method, mut object }) => {
                let (program, state) = self.program(json_rpc::revision(&object).is_some()).await;
                let State::Up(said) = state else { return Ok(error_reply(&id, code::UNAVAILABLE, "upstream unavailable")) };
                if let ("initialize", Some(said)) = (method.as_str(), said) {
                    return Ok(json_rpc::initialize_reply(&id, &object, said));
                }
                json_rpc::trace(&mut object, request.traceparent.as_ref());
                program.answer(&request, id, object).await
            }
            Ok(Message::Notification { method, object }) => {
                let (program, _) = self.program(json_rpc::revision(&object).is_some()).await;
                // The one that ends a client's own `initialize` was sent when the program was started.
                if method != "notifications/initialized" {
                    program.notify(object).await;
                }
                Ok(Reply::none())
            }
            Err(reply) => Ok(reply),
        }
    }

    /// Who answers requests of this era. A server that does not know the stateless one may understand its requests all the same.
    async fn program(&self, is_stateless: bool) -> (&Program, State) {
        if is_stateless {
            let state = self.stateless.state(&self.start).await;
            if state != State::Foreign {
                return (&self.stateless, state);
            }
        }
        (&self.older, self.older.state(&self.start).await)
    }
}
