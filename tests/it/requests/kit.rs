//! A node on Redis, a worker that the test plays itself with a plain Redis client, and workers of the SDK.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use mcp_worker_sdk::wire::encode;
use mcp_worker_sdk::{Delivery, Worker, WorkerBuilder, WorkerHandle};
use mqttd::config::{Config, StoreUrl};
use mqttd::metrics::Metrics;
use mqttd::packet::publish::Publish;
use mqttd_tests::redis::Redis;
use mqttd_tests::*;
use serde_json::{Value, json};

/// What is not there by then does not come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct House {
    pub broker: Broker,
    pub redis: &'static Redis,
    pub prefix: String,
    pub runtime: tokio::runtime::Runtime,
}

/// `None` where there is no `redis-server`.
pub(super) fn house() -> Option<House> {
    house_with(|_| {})
}

pub(super) fn house_with(change: impl FnOnce(&mut Config)) -> Option<House> {
    let redis = Redis::shared()?;
    let prefix = unique("requests");
    let broker = Broker::with(|config| {
        config.store.url = StoreUrl::Redis(redis.url());
        config.store.prefix.clone_from(&prefix);
        change(config);
    });
    Some(House { broker, redis, prefix, runtime: runtime() })
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts")
}

impl House {
    /// A client that hears answers to `TOPIC` of its own.
    pub(super) fn requester(&self) -> (Client, String) {
        let mut client = self.broker.client(V5).connect();
        let replies = unique("replies/");
        client.subscribe(&replies, 1);
        (client, replies)
    }

    pub(super) fn plain(&self) -> Plain {
        Plain::listen(self.redis, &self.prefix)
    }

    pub(super) fn worker(&self) -> WorkerBuilder {
        Worker::builder().redis_url(self.redis.url()).prefix(&self.prefix).lease(Duration::from_millis(600))
    }

    pub(super) fn start(&self, worker: WorkerBuilder) -> WorkerHandle {
        start(&self.runtime, worker)
    }

    /// What its node has counted.
    pub(super) fn count(&self, counter: impl Fn(&Metrics) -> &AtomicU64) -> u64 {
        counter(self.broker.metrics()).load(Relaxed)
    }

    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }
}

#[track_caller]
pub(super) fn start(runtime: &tokio::runtime::Runtime, worker: WorkerBuilder) -> WorkerHandle {
    let _entered = runtime.enter();
    let worker = worker.build().expect("a worker that can work").spawn();
    assert!(runtime.block_on(worker.ready()), "the worker does not begin");
    worker
}

/// A request at QoS 1.
pub(super) fn request(topic: &str, payload: impl AsRef<[u8]>, replies: &str, data: &str) -> Message {
    message(topic, payload).qos(1).with(|properties| {
        properties.response_topic = Some(replies.to_owned().into());
        properties.correlation_data = Some(data.to_owned().into_bytes().into());
    })
}

/// An answer as the requester gets it.
pub(super) fn answer(replies: &str, payload: impl AsRef<[u8]>, data: &str) -> Message {
    message(replies, payload).qos(1).with(|properties| properties.correlation_data = Some(data.to_owned().into_bytes().into()))
}

/// An error reply whose payload is a text.
pub(super) fn trouble(replies: &str, text: &str, word: &str, data: &str) -> Message {
    answer(replies, text, data).user("mqttd-error", word).with(|properties| properties.content_type = Some("text/plain".into()))
}

/// An error reply to a JSON-RPC request with this id.
pub(super) fn rpc_trouble(replies: &str, id: impl Into<Value>, code: i64, text: &str, word: &str, data: &str) -> Message {
    let error = json!({ "code": code, "message": text, "data": { "mqttd-error": word } });
    let payload = json!({ "jsonrpc": "2.0", "id": id.into(), "error": error }).to_string();
    answer(replies, payload, data).user("mqttd-error", word).with(|properties| properties.content_type = Some("application/json".into()))
}

/// A JSON-RPC request.
pub(super) fn call(id: impl Into<Value>) -> String {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/list" }).to_string()
}

pub(super) trait Asks {
    /// Sends a request and sees its PUBACK.
    fn ask(&mut self, request: Message);
    /// The next message, acknowledged; acknowledgements of our own requests are passed over.
    fn hear(&mut self) -> Publish;
}

impl Asks for Client {
    #[track_caller]
    fn ask(&mut self, request: Message) {
        let id = self.unused_packet_id();
        self.send(request.id(id));
        self.expect_puback(id);
    }

    #[track_caller]
    fn hear(&mut self) -> Publish {
        loop {
            match self.came_within(PATIENCE) {
                mqttd_tests::client::Came::Packet(Packet::Publish(publish)) => {
                    if let Some(id) = publish.packet_id {
                        self.send(puback(id.get()));
                    }
                    return publish;
                }
                mqttd_tests::client::Came::Packet(Packet::Acknowledge(_)) => {}
                other => self.fail("a PUBLISH", &other),
            }
        }
    }
}

/// A worker without an SDK: it hears the channel of requests, and the test answers.
pub(super) struct Plain {
    requests: mpsc::Receiver<Value>,
    redis: ::redis::Connection,
    prefix: String,
    /// The lane of its answers.
    lane: Delivery,
}

impl Plain {
    pub(super) fn listen(redis: &Redis, prefix: &str) -> Plain {
        Plain {
            requests: listen(redis, &format!("{prefix}:mcp:requests")),
            redis: connection(redis),
            prefix: prefix.to_owned(),
            lane: Delivery::Channel,
        }
    }

    /// Answers by this lane.
    pub(super) fn by(mut self, lane: Delivery) -> Plain {
        self.lane = lane;
        self
    }

    #[track_caller]
    pub(super) fn next(&self) -> Value {
        self.requests.recv_timeout(PATIENCE).expect("a request on the channel")
    }

    pub(super) fn hears_nothing(&self) -> bool {
        self.requests.try_recv().is_err()
    }

    pub(super) fn say(&mut self, text: &str) {
        let mut say = match self.lane {
            Delivery::Stream => ::redis::cmd("XADD").arg(format!("{}:{{mcp}}:responses", self.prefix)).arg("*").arg("json").take(),
            _ => ::redis::cmd("PUBLISH").arg(format!("{}:mcp:responses", self.prefix)).take(),
        };
        say.arg(text).exec(&mut self.redis).expect("said");
    }

    /// The answer of the seed's contract, and no more.
    pub(super) fn answer(&mut self, request: &Value, payload: &str) {
        self.say(&json!({ "correlation_id": request["correlation_id"], "payload_b64": encode(payload.as_bytes()) }).to_string());
    }

    /// An answer with more in it.
    pub(super) fn answer_with(&mut self, request: &Value, mut rest: Value) {
        rest["correlation_id"] = request["correlation_id"].clone();
        self.say(&rest.to_string());
    }
}

pub(super) fn connection(redis: &Redis) -> ::redis::Connection {
    ::redis::Client::open(redis.url()).expect("its address").get_connection().expect("Redis accepts connections")
}

/// What is published to a channel from now on, as JSON.
pub(super) fn listen(redis: &Redis, channel: &str) -> mpsc::Receiver<Value> {
    listen_as(redis, channel, |bytes| serde_json::from_slice(bytes).expect("JSON on the channel"))
}

/// The same, read in this way. The thread ends with the test.
pub(super) fn listen_as<T: Send + 'static>(redis: &Redis, channel: &str, read: fn(&[u8]) -> T) -> mpsc::Receiver<T> {
    let (sender, messages) = mpsc::channel();
    let (mut connection, channel) = (connection(redis), channel.to_owned());
    let (subscribed, ready) = mpsc::channel();
    std::thread::spawn(move || {
        let mut subscriber = connection.as_pubsub();
        subscriber.subscribe(&channel).expect("subscribed");
        subscribed.send(()).expect("the test waits");
        while let Ok(message) = subscriber.get_message() {
            if sender.send(read(message.get_payload_bytes())).is_err() {
                return;
            }
        }
    });
    ready.recv().expect("it listens");
    messages
}

/// A file of the folder of temporary files, with a name of its own.
pub(super) fn file(stem: &str, text: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(unique(&format!("mqttd-{stem}-{}-", std::process::id())));
    std::fs::write(&path, text).expect("a file");
    path
}
