//! An MCP server that is a program: newline-delimited JSON over its standard input and output.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::json_rpc::{self, Message, code, error_reply};
use crate::handler::{Answering, Handler};
use crate::reply::{Failure, Reply};
use crate::request::Request;
use crate::worker::line::Backoff;

/// How long the program may take until it can answer. One of the stateless revision has no answer to `initialize` but an error.
const START: Duration = Duration::from_secs(10);

/// Lines that wait to be written; whoever has more waits.
const LINES_MAX: usize = 256;

/// Progress notifications of a request that wait to be forwarded; more are dropped, as the next one says more.
const PROGRESS_MAX: usize = 64;

/// Has requests answered by an MCP server that is another program.
///
/// All requests go to one process, which is started at the first of them and again when it ends, each time a little later; meanwhile they
/// are answered with a JSON-RPC error -32000. JSON-RPC ids and progress tokens are mapped, for two clients may use the same. What is in the
/// messages is passed on, whatever the method. `initialize` is answered with what the server said when it was started.
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
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let (lines, queue) = mpsc::channel(LINES_MAX);
    let upstream = Upstream { lines, pending: Mutex::default(), last_id: AtomicU64::new(0), state: watch::Sender::new(State::Starting) };
    ChildProcess { upstream: Arc::new(upstream), start: Arc::new(Mutex::new(Some((command, queue)))) }
}

/// See [`child_process`].
#[derive(Clone)]
pub struct ChildProcess {
    upstream: Arc<Upstream>,
    /// What the task is started with.
    start: Arc<Mutex<Option<Start>>>,
}

impl std::fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildProcess").finish_non_exhaustive()
    }
}

/// The program, and what is to be written to it.
type Start = (Command, mpsc::Receiver<Value>);

struct Upstream {
    lines: mpsc::Sender<Value>,
    pending: Mutex<HashMap<u64, Pending>>,
    last_id: AtomicU64,
    state: watch::Sender<State>,
}

struct Pending {
    answer: oneshot::Sender<Map<String, Value>>,
    progress: mpsc::Sender<Value>,
    /// As the client calls it.
    token: Option<Value>,
}

#[derive(Clone, Debug)]
enum State {
    Starting,
    /// With what it said to `initialize`; `None`: it knows none.
    Up(Option<Value>),
    Down,
}

impl Handler for ChildProcess {
    fn call(&self, request: Request) -> Answering {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((command, queue)) = start {
            tokio::spawn(keep(Arc::downgrade(&self.upstream), command, queue));
        }
        let upstream = self.upstream.clone();
        Box::pin(async move { upstream.answer(request).await })
    }
}

impl Upstream {
    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request) -> Result<Reply, Failure> {
        let mut state = self.state.subscribe();
        let up = state.wait_for(|state| !matches!(state, State::Starting)).await.map(|state| state.clone());
        let (id, method, mut object) = match json_rpc::read(&request.payload) {
            Ok(Message::Request { id, method, object }) => (id, method, object),
            Ok(Message::Notification { method, object }) => {
                // The one that ends a client's own `initialize` was sent when the program was started.
                if method != "notifications/initialized" {
                    let _ = self.lines.send(Value::Object(object)).await; // nobody waits for it
                }
                return Ok(Reply::none());
            }
            Err(reply) => return Ok(reply),
        };
        let info = match up {
            Ok(State::Up(info)) => info,
            _ => return Ok(error_reply(&id, code::UNAVAILABLE, "upstream unavailable")),
        };
        if let (true, Some(info)) = (method == "initialize", info) {
            return Ok(json_rpc::initialize_reply(&id, &object, info));
        }
        json_rpc::trace(&mut object, request.traceparent.as_ref());
        let (mut asked, progress) = self.ask(object);
        let mut progress = progress;
        let answered = loop {
            tokio::select! {
                biased;
                Some(progress) = progress.recv() => request.part(json_rpc::reply(&progress)).await?,
                answered = &mut asked.answer => break answered,
            }
        };
        asked.is_done = true;
        match answered {
            Ok(mut answer) => {
                answer.insert("id".to_owned(), id);
                Ok(json_rpc::reply(&Value::Object(answer)))
            }
            Err(_) => Ok(error_reply(&id, code::UNAVAILABLE, "upstream unavailable")),
        }
    }

    /// Sends a request under an id of our own.
    fn ask(&self, mut object: Map<String, Value>) -> (Asked<'_>, mpsc::Receiver<Value>) {
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        let token = json_rpc::rename(&mut object, id);
        let (answer, answered) = oneshot::channel();
        let (progress, told) = mpsc::channel(PROGRESS_MAX);
        self.pending().insert(id, Pending { answer, progress, token });
        if self.lines.try_send(Value::Object(object)).is_err() {
            self.pending().remove(&id); // whoever waits hears that it is unavailable
        }
        (Asked { upstream: self, id, answer: answered, is_done: false }, told)
    }

    /// A line of the program.
    fn hear(&self, line: &str) {
        let Ok(Value::Object(mut message)) = serde_json::from_str(line) else { return };
        if message.get("method").and_then(Value::as_str) == Some("notifications/progress") {
            let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) else { return };
            let Some(id) = params.get("progressToken").and_then(Value::as_u64) else { return };
            let (progress, token) = match self.pending().get(&id) {
                Some(pending) => (pending.progress.clone(), pending.token.clone()),
                None => return,
            };
            params.insert("progressToken".to_owned(), token.unwrap_or_default());
            let _ = progress.try_send(Value::Object(message)); // the next one says more
        } else if !message.contains_key("method")
            && let Some(id) = message.get("id").and_then(Value::as_u64)
            && let Some(pending) = self.pending().remove(&id)
        {
            let _ = pending.answer.send(message); // nobody waits any more
        }
    }
}

/// A request that the program works on; dropped before its end, it is cancelled there.
struct Asked<'a> {
    upstream: &'a Upstream,
    id: u64,
    answer: oneshot::Receiver<Map<String, Value>>,
    is_done: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let pending = self.upstream.pending().remove(&self.id);
        if !self.is_done && pending.is_some() {
            let _ = self.upstream.lines.try_send(json_rpc::cancel(self.id)); // else it works for nothing
        }
    }
}

/// Keeps the program running, until nobody needs it.
async fn keep(upstream: std::sync::Weak<Upstream>, mut command: Command, mut queue: mpsc::Receiver<Value>) {
    let mut backoff = Backoff::default();
    loop {
        let started = tokio::time::Instant::now();
        match command.spawn() {
            Ok(child) => match run(&upstream, child, &mut queue).await {
                Err(Gone) => return,
                Ok(()) => tracing::warn!("the MCP server has ended, and is started again"),
            },
            Err(error) => tracing::warn!(%error, "the MCP server cannot be started"),
        }
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.state.send_replace(State::Down);
        // In this order: whoever asks adds to what is pending first, so that nobody waits for a line that is thrown away here.
        while queue.try_recv().is_ok() {}
        upstream.pending().clear();
        if started.elapsed() > START {
            backoff = Backoff::default();
        }
        backoff.pause().await;
    }
}

/// Nobody needs the program any more.
struct Gone;

async fn run(upstream: &std::sync::Weak<Upstream>, mut child: Child, queue: &mut mpsc::Receiver<Value>) -> Result<(), Gone> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Ok(()) };
    let mut output = BufReader::new(output).lines();
    let Ok(info) = timeout(START, initialize(&mut input, &mut output)).await.unwrap_or(Ok(None)) else { return Ok(()) };
    upstream.upgrade().ok_or(Gone)?.state.send_replace(State::Up(info));
    loop {
        tokio::select! {
            line = output.next_line() => match line {
                Ok(Some(line)) => upstream.upgrade().ok_or(Gone)?.hear(&line),
                _ => return Ok(()),
            },
            message = queue.recv() => {
                let Some(message) = message else { return Err(Gone) };
                if write(&mut input, &message).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

async fn write(input: &mut ChildStdin, message: &Value) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    input.write_all(&line).await?;
    input.flush().await
}

/// What the server says to `initialize`; `None`: it knows none, and needs none.
async fn initialize(input: &mut ChildStdin, output: &mut tokio::io::Lines<BufReader<ChildStdout>>) -> std::io::Result<Option<Value>> {
    write(input, &json_rpc::initialize()).await?;
    while let Some(line) = output.next_line().await? {
        let Ok(Value::Object(mut message)) = serde_json::from_str(&line) else { continue };
        if message.contains_key("method") || message.get("id").and_then(Value::as_u64) != Some(0) {
            continue;
        }
        let result = message.remove("result");
        if result.is_some() {
            write(input, &json_rpc::initialized()).await?;
        }
        return Ok(result);
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}
