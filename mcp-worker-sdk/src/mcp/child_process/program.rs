//! A program that is kept running, and what it is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::super::json_rpc::{self, code, error_reply};
use super::pipe::{self, Input, Output};
use crate::reply::{Failure, Reply};
use crate::request::Request;
use crate::worker::line::{Backoff, sleep};

/// How long the program may take until it can answer.
const START: Duration = Duration::from_secs(10);

/// Lines that wait to be written; whoever has more waits.
const LINES_MAX: usize = 256;

/// Notifications of a request that wait to be forwarded; more are dropped, as the next one says more.
const SAID_MAX: usize = 64;

/// How long it takes until a server that ended at `server/discover` is asked again whether it knows that.
const FOREIGN: Duration = Duration::from_secs(60);

/// How a program is started. Those of both eras are the same one.
pub(super) type Start = Arc<Mutex<Command>>;

/// The era of MCP in which a program is spoken to: it serves one at a time.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Era {
    /// That of `initialize`.
    Older,
    Stateless,
}

impl Era {
    /// What is said first.
    fn opening(self) -> Value {
        if self == Era::Older { json_rpc::initialize() } else { json_rpc::discover() }
    }
}

/// One process at a time.
pub(super) struct Program {
    era: Era,
    lines: mpsc::Sender<Line>,
    pending: Mutex<HashMap<u64, Pending>>,
    last_id: AtomicU64,
    state: watch::Sender<State>,
    /// What is to be written; taken when the program is started for the first time.
    queue: Mutex<Option<mpsc::Receiver<Line>>>,
}

/// Something to be written.
struct Line {
    /// The request that it asks: if nobody waits for that any more, it need not be written.
    asks: Option<u64>,
    message: Value,
}

impl Line {
    fn of(message: Value) -> Line {
        Line { asks: None, message }
    }
}

struct Pending {
    answer: oneshot::Sender<Map<String, Value>>,
    /// Notifications that belong to it.
    said: mpsc::Sender<Value>,
    /// As the client calls it, and its progress.
    id: Value,
    token: Option<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Starting,
    /// With what it said to our first request; `None`: it does not know that one.
    Up(Option<Value>),
    Down,
    /// It does not know this era, or ends when it hears of it.
    Foreign,
}

impl Program {
    pub(super) fn new(era: Era) -> Arc<Program> {
        let (lines, queue) = mpsc::channel(LINES_MAX);
        Arc::new(Program {
            era,
            lines,
            pending: Mutex::default(),
            last_id: AtomicU64::new(0),
            state: watch::Sender::new(State::Starting),
            queue: Mutex::new(Some(queue)),
        })
    }

    /// Started at the first call. Comes back when it is known whether it is there.
    pub(super) async fn state(self: &Arc<Self>, start: &Start) -> State {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(queue) = queue {
            tokio::spawn(keep(Arc::downgrade(self), self.era, start.clone(), queue));
        }
        let mut state = self.state.subscribe();
        state.wait_for(|state| *state != State::Starting).await.map_or(State::Down, |state| state.clone())
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for an answer to it.
    pub(super) async fn notify(&self, notification: Map<String, Value>) {
        let _ = self.lines.send(Line::of(Value::Object(notification))).await; // as lost as one that is not heard
    }

    pub(super) async fn answer(&self, request: &Request, id: Value, object: Map<String, Value>) -> Result<Reply, Failure> {
        let (mut asked, mut said) = self.ask(&id, object).await;
        let answered = loop {
            tokio::select! {
                biased;
                Some(said) = said.recv() => request.part(json_rpc::reply(&said)).await?,
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

    /// Sends a request under an id of our own. Who goes away while it waits for its turn has asked nothing.
    async fn ask(&self, id: &Value, mut object: Map<String, Value>) -> (Asked<'_>, mpsc::Receiver<Value>) {
        let own = self.last_id.fetch_add(1, Relaxed) + 1;
        let token = json_rpc::rename(&mut object, own);
        let (answer, answered) = oneshot::channel();
        let (said, told) = mpsc::channel(SAID_MAX);
        self.pending().insert(own, Pending { answer, said, id: id.clone(), token });
        let asked = Asked { program: self, id: own, answer: answered, is_done: false };
        if self.lines.send(Line { asks: Some(own), message: Value::Object(object) }).await.is_err() {
            self.pending().remove(&own); // whoever waits hears that it is unavailable
        }
        (asked, told)
    }

    fn hear(&self, mut message: Map<String, Value>) {
        if let Some(answer) = json_rpc::answer_to_server(&message) {
            let _ = self.lines.try_send(Line::of(answer)); // who does not read what waits for it does not miss this
        } else if message.contains_key("method") {
            // A notification, to the request that it names.
            if let Some(own) = json_rpc::belongs_to(&message)
                && let Some(pending) = self.pending().get(&own)
            {
                json_rpc::rename_back(&mut message, own, &pending.id, pending.token.as_ref());
                let _ = pending.said.try_send(Value::Object(message)); // the next one says more
            }
        } else if let Some(id) = message.get("id").and_then(Value::as_u64)
            && let Some(pending) = self.pending().remove(&id)
        {
            let _ = pending.answer.send(message); // nobody waits any more
        }
    }
}

/// A request that the program works on; dropped before its end, it is cancelled there.
struct Asked<'a> {
    program: &'a Program,
    id: u64,
    answer: oneshot::Receiver<Map<String, Value>>,
    is_done: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let pending = self.program.pending().remove(&self.id);
        if !self.is_done && pending.is_some() {
            let _ = self.program.lines.try_send(Line::of(json_rpc::cancel(self.id))); // else it works for nothing
        }
    }
}

/// Keeps the program running, until nobody needs it.
async fn keep(program: Weak<Program>, era: Era, start: Start, mut queue: mpsc::Receiver<Line>) {
    let mut backoff = Backoff::default();
    let mut was_up = false;
    loop {
        let started = tokio::time::Instant::now();
        let spawned = start.lock().unwrap_or_else(PoisonError::into_inner).spawn();
        let is_foreign = match spawned {
            Ok(child) => match run(&program, era, child, &mut queue).await {
                Ended::Unneeded => return,
                Ended::AtOpening => era == Era::Stateless && !was_up,
                Ended::Later => {
                    was_up = true;
                    false
                }
            },
            Err(error) => {
                tracing::warn!(%error, "the MCP server cannot be started");
                false
            }
        };
        let Some(program) = program.upgrade() else { return };
        program.state.send_replace(if is_foreign { State::Foreign } else { State::Down });
        // In this order: whoever asks adds to what is pending first, so that nobody waits for a line that is thrown away here.
        while queue.try_recv().is_ok() {}
        program.pending().clear();
        drop(program);
        if is_foreign {
            sleep(FOREIGN).await;
            continue;
        }
        tracing::warn!("the MCP server has ended, and is started again");
        if started.elapsed() > START {
            backoff = Backoff::default();
        }
        backoff.pause().await;
    }
}

/// How a process ended.
enum Ended {
    /// Nobody has a use for it.
    Unneeded,
    /// Before it had answered our first request.
    AtOpening,
    Later,
}

async fn run(program: &Weak<Program>, era: Era, mut child: Child, queue: &mut mpsc::Receiver<Line>) -> Ended {
    let Some((mut input, mut output)) = pipe::open(&mut child) else { return Ended::AtOpening };
    let opened = timeout(START, open(&mut input, &mut output, &era.opening())).await;
    let said = match opened {
        Ok(Ok(said)) => said,
        // One of the older era that says nothing at all may still understand.
        Err(_) if era == Era::Older => None,
        _ => return Ended::AtOpening,
    };
    let Some(upgraded) = program.upgrade() else { return Ended::Unneeded };
    if era == Era::Stateless && said.is_none() {
        upgraded.state.send_replace(State::Foreign);
        return Ended::Unneeded;
    }
    upgraded.state.send_replace(State::Up(said));
    drop(upgraded);
    // Beside each other: a program that writes, and does not read until it has written, is heard meanwhile.
    tokio::select! {
        ended = write_all(program, &mut input, queue) => ended,
        ended = read_all(program, &mut output) => ended,
    }
}

/// What the server says to our first request; `None`: it does not know it.
async fn open(input: &mut Input, output: &mut Output, opening: &Value) -> std::io::Result<Option<Value>> {
    input.write(opening).await?;
    while let Some(mut message) = output.read().await? {
        if message.contains_key("method") || message.get("id") != opening.get("id") {
            continue;
        }
        let result = message.remove("result");
        if result.is_some() && opening["method"] == "initialize" {
            input.write(&json_rpc::initialized()).await?;
        }
        return Ok(result);
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

async fn read_all(program: &Weak<Program>, output: &mut Output) -> Ended {
    while let Ok(Some(message)) = output.read().await {
        let Some(program) = program.upgrade() else { return Ended::Unneeded };
        program.hear(message);
    }
    Ended::Later
}

async fn write_all(program: &Weak<Program>, input: &mut Input, queue: &mut mpsc::Receiver<Line>) -> Ended {
    while let Some(line) = queue.recv().await {
        let Some(program) = program.upgrade() else { return Ended::Unneeded };
        let is_wanted = line.asks.is_none_or(|id| program.pending().contains_key(&id));
        drop(program);
        if is_wanted && input.write(&line.message).await.is_err() {
            return Ended::Later;
        }
    }
    Ended::Unneeded
}
