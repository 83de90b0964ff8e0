//! A node as a part of another program: its options, and the functions that it shall ask.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, Flag, Sources};
use crate::hook::event::{Connecting, Delivering, Disconnected, Publishing, Subscribing};
use crate::hook::handler::Handler;
use crate::hook::hooks::Hooks;
use crate::hook::pattern::PatternError;
use crate::node::Node;

/// Makes a [`Node`]. What is wrong with it is said by [`Builder::bind`], all at once.
///
/// A handler is an `async fn` whose arguments are extractors: [`Client`](crate::Client), [`State`](crate::State), and of an event with a
/// topic or a message [`Topic`](crate::Topic), [`Params`](crate::Params), [`Message`](crate::Message), [`Payload`](crate::Payload),
/// [`Json`](crate::Json), [`Properties`](crate::Properties). What it refuses, it refuses with a [`Reason`](crate::Reason).
///
/// - Handlers are called in the order of the packets of a Client, and those of one event in the order in which they were added.
///   While one has to be waited for, its Client is not read from; there is never more than one at work for a connection.
/// - All handlers of one packet together have [`Builder::deadline`]. What is not decided by then is refused (0x83).
/// - To wait is to `await`. A handler that blocks its thread (`std::thread::sleep`, a loop, a driver that is not async) cannot be interrupted: it
///   holds one of `runtime.worker_threads` with every client that is served there, and the deadline is looked at only when it is over. Such work
///   belongs into `tokio::task::spawn_blocking`, which can be awaited. A packet that blocked for longer than the deadline is told in the log and
///   counted (`hook_blocks`).
/// - A panic ends the packet, as a refusal (0x83), and nothing else. A 3.1.1 publisher, whose protocol has no word for it, loses its connection
///   rather than being told that a message arrived.
#[must_use = "a builder does nothing before `bind` or `run_until`"]
pub struct Builder {
    sources: Sources,
    hooks: Hooks,
    routes: mcp_worker_sdk::Routes,
    faults: Vec<String>,
}

impl Node {
    pub fn builder() -> Builder {
        Builder { sources: Sources::default(), hooks: Hooks::default(), routes: mcp_worker_sdk::Routes::default(), faults: Vec::new() }
    }
}

impl Builder {
    /// Where to listen, as in `listen` of the configuration: `tcp://:1883`, `tcp://127.0.0.1:0`. Again adds another.
    pub fn listen(self, url: impl Into<String>) -> Builder {
        self.set("listen", url)
    }

    /// Where sessions and messages are kept: `memory:` or `redis://HOST:PORT`.
    pub fn store(self, url: impl Into<String>) -> Builder {
        self.set("store.url", url)
    }

    /// Any option by its key, as the text that the command line would take: `.set("limits.connections_max", "1000")`.
    pub fn set(mut self, key: &'static str, value: impl Into<String>) -> Builder {
        match crate::config::keys::KEYS.iter().any(|known| known.path() == key) {
            true => self.sources.flags.push(Flag { flag: key, key, value: value.into() }),
            false => self.faults.push(crate::config::suggest::unknown(key)),
        }
        self
    }

    /// A file to read first, as `mqttd -c FILE` does.
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Builder {
        self.sources.file = Some(path.into());
        self
    }

    /// Reads the `MQTTD_…` variables of the process too; they win over the file, and what is set here wins over them.
    pub fn environment(mut self) -> Builder {
        self.sources.environment = std::env::vars().collect();
        self
    }

    /// A value that handlers take with [`State`](crate::State): a clone for each call, so usually an `Arc`. One of a type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Builder {
        self.hooks.states.insert(state);
        self
    }

    /// How long handlers may take for one packet; 5 s.
    pub fn deadline(mut self, deadline: Duration) -> Builder {
        self.hooks.deadline = deadline;
        self
    }

    /// Before CONNACK, for Clients that the configuration lets in. Returns nothing, or `Err(reason)` for a CONNACK with this Reason Code.
    pub fn on_connect<Arguments: 'static>(mut self, handler: impl Handler<Connecting, Arguments>) -> Builder {
        self.hooks.on_connect(handler);
        self
    }

    /// For each Topic Filter that a Client subscribes to and that has a Topic Name in common with the pattern: `sensors/{id}` is
    /// called for `sensors/7`, `sensors/+` and `#`. A payload or a [`Message`](crate::Message) that it returns goes to this subscriber alone,
    /// after its SUBACK, at no more than the granted QoS; a bare payload on the topic of the subscription, if that has no wildcards.
    pub fn on_subscribe<Arguments: 'static>(mut self, pattern: &str, handler: impl Handler<Subscribing, Arguments>) -> Builder {
        let added = self.hooks.on_subscribe(pattern, handler);
        self.note(added)
    }

    /// For each message that a Client publishes, before it goes anywhere and before it is acknowledged. Returns nothing, a
    /// [`Message`](crate::Message) that goes on in its place, or `Err(reason)`.
    pub fn on_publish<Arguments: 'static>(mut self, pattern: &str, handler: impl Handler<Publishing, Arguments>) -> Builder {
        let added = self.hooks.on_publish(pattern, handler);
        self.note(added)
    }

    /// For each message and each subscriber that it is about to be sent to; the [`Client`](crate::Client) is the subscriber. Returns nothing, a
    /// [`Message`](crate::Message) that is sent in its place, or `Err(reason)`: then this subscriber does not get it.
    pub fn on_deliver<Arguments: 'static>(mut self, pattern: &str, handler: impl Handler<Delivering, Arguments>) -> Builder {
        let added = self.hooks.on_deliver(pattern, handler);
        self.note(added)
    }

    /// Once for each Client that all handlers of `on_connect` let in, when it is gone: after its connection has ended, or when it was not given
    /// its Session after all (the Store is away, another connection took it over). With the [`Reason`](crate::Reason) of its end: Success after DISCONNECT, Unspecified error when it was lost.
    pub fn on_disconnect<Arguments: 'static>(mut self, handler: impl Handler<Disconnected, Arguments>) -> Builder {
        self.hooks.on_disconnect(handler);
        self
    }

    /// For messages with a Response Topic: answers as a worker of `mcp-worker-sdk` would, with the same handlers, so that code can move from one
    /// process to many. `filter` is a Topic Filter; the most specific one answers. Deadlines and limits are those of the section `mcp`.
    /// A request is in no Store while its handler is at it: when the node dies, nobody tells the requester.
    pub fn on_request(mut self, filter: &str, handler: impl mcp_worker_sdk::Handler) -> Builder {
        if !self.routes.add(filter, handler) {
            self.faults.push(format!("on_request: {filter:?} is no Topic Filter"));
        }
        self
    }

    fn note(mut self, added: Result<(), PatternError>) -> Builder {
        self.faults.extend(added.err().map(|error| error.to_string()));
        self
    }

    /// Opens the Store and binds the listeners.
    ///
    /// # Errors
    /// What is wrong with the options or the handlers, a line for each; an address that cannot be bound; a Store that cannot be relied on. One
    /// that cannot be reached is waited for, as by [`Node::bind`].
    pub async fn bind(mut self) -> io::Result<Node> {
        self.faults.extend(self.hooks.missing());
        let loaded = Config::load(&self.sources);
        let config = match loaded {
            Ok(effective) if self.faults.is_empty() => effective.config,
            Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, self.faults.join("\n"))),
            Err(errors) => {
                self.faults.push(errors.to_string());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, self.faults.join("\n")));
            }
        };
        Node::assemble(&config, self.hooks, self.routes).await
    }

    /// Binds and runs until `stop` is ready, as [`Node::run_until`].
    ///
    /// # Errors
    /// As [`Builder::bind`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        self.bind().await?.run_until(stop).await;
        Ok(())
    }
}
