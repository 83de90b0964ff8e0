//! Requests that wait for their answer, and the way to workers and back. The names and the JSON are the contract with workers
//! (`mcp-worker-sdk/WORKERS.md`); what is kept of a request is private to the nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mcp_worker_sdk::wire::{FIELD, Names, WorkerMessage};
use redis::{Cmd, Value, cmd};

use super::Redis;
use super::functions::{self, Function};
use super::library;
use super::link::Link;
use super::link::apart::{Blocking, Subscriber};
use super::link::error::LinkError;
use super::reply::{Reply, bytes, number};
use crate::store::StoreError;
use crate::time::{Span, Time};

/// Entries of the stream of requests, and of the stream of answers; the oldest are trimmed: of requests with each that is added, of answers by
/// [`Requests::trim`].
const STREAM_LENGTH_MAX: usize = 100_000;

/// What `mqttd.lua` keeps of a claim before the context, in bytes.
const CLAIM_BYTES: usize = 32;

/// The group of all nodes at the stream of answers.
const GROUP: &str = "nodes";

/// Which ways a request goes to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    pub channel: bool,
    pub stream: bool,
}

#[derive(Clone, Debug)]
pub struct NewRequest {
    pub id: String,
    /// What the node needs to answer it.
    pub context: Bytes,
    pub deadline: Time,
    /// How long the context is kept: longer than the deadline, for somebody has to say that it has passed.
    pub ttl: Span,
    /// What workers are told.
    pub json: String,
}

/// Who can have heard of a request that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its entry in the stream, if it went there.
    pub entry: Option<String>,
    /// Subscribers of the channel.
    pub channel: u64,
    /// Workers that said so within their time.
    pub workers: u64,
}

/// Whether a request can be answered now, and by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// By this node, for a while.
    Yours {
        context: Bytes,
        /// Another node, or this one, had begun, and did not say that it ended: the requester may have it already.
        again: bool,
    },
    /// Another node is about to, or has.
    Taken,
    /// Parts of the answer that come first are not forwarded yet.
    TooEarly,
    /// It was answered, or there was no such request.
    Gone,
}

/// An entry of the stream of answers.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: String,
    pub json: Bytes,
}

/// The part of the Store that is about requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Requests {
    link: Link,
    names: Names,
    /// This incarnation of the node: a consumer of answers.
    node: String,
}

impl Redis {
    pub fn requests(&self) -> Requests {
        Requests { link: self.link.clone(), names: Names::new(self.link.prefix()), node: self.cluster.node().as_str().to_owned() }
    }
}

impl Requests {
    pub fn names(&self) -> &Names {
        &self.names
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    /// The channel on which one node is told something.
    pub fn node_channel(&self, node: &str) -> String {
        format!("{}:mcp:node:{node}", self.link.prefix())
    }

    /// The channel on which all nodes are.
    pub fn nodes_channel(&self) -> String {
        format!("{}:mcp:nodes", self.link.prefix())
    }

    fn due_key(&self) -> String {
        format!("{}:{{mcp}}:due", self.link.prefix())
    }

    /// Keeps requests and tells workers of them, in one batch. What is refused is forgotten: nobody answers it.
    pub async fn add(&self, requests: &[NewRequest], lanes: Lanes, now: Time) -> Result<Vec<Result<Heard, StoreError>>, StoreError> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let each = 2 + usize::from(lanes.stream) + usize::from(lanes.channel);
        let mut commands = Vec::with_capacity(requests.len() * each + 1);
        for NewRequest { id, context, deadline, ttl, json } in requests {
            commands.push(cmd("SET").arg(self.names.request(id)).arg(&context[..]).arg("PX").arg(ttl.0).take());
            commands.push(cmd("ZADD").arg(self.due_key()).arg(deadline.0).arg(id).take());
            if lanes.stream {
                let mut add = cmd("XADD");
                add.arg(self.names.requests_stream()).arg("MAXLEN").arg("~").arg(STREAM_LENGTH_MAX).arg("*").arg(FIELD).arg(json);
                commands.push(add);
            }
            if lanes.channel {
                commands.push(Function::TellRequest.on(&[self.names.request(id)]).arg(self.names.requests()).arg(json).take());
            }
        }
        // Once for all of them, and after them.
        commands.push(cmd("ZCOUNT").arg(self.names.workers()).arg(now.0).arg("+inf").take());
        let mut replies = self.link.write(shard(&first.id), commands).await?;
        let workers = number(&replies.pop().ok_or(StoreError::Unavailable)?.map_err(LinkError::from)?)?;
        if replies.iter().any(|reply| reply.as_ref().is_err_and(library::is_missing)) {
            functions::load(&self.link).await?;
        }
        let mut heard = Vec::with_capacity(requests.len());
        for (replies, request) in replies.chunks(each).zip(requests) {
            let entry = lanes.stream.then(|| replies[2].clone().ok()).flatten().and_then(|entry| text(entry).ok());
            match replies.iter().cloned().collect::<Result<Vec<_>, _>>() {
                Ok(replies) => {
                    let channel = if lanes.channel { number(&replies[each - 1])? } else { 0 };
                    heard.push(Ok(Heard { entry, channel, workers: if lanes.stream { workers } else { 0 } }));
                }
                Err(error) => {
                    if library::is_missing(&error) {
                        functions::load(&self.link).await?;
                    }
                    let _ = self.finish(&request.id).await; // somebody will find it due
                    let _ = self.remove_entries(entry.as_slice()).await; // it is trimmed
                    heard.push(Err(LinkError::from(error).into()));
                }
            }
        }
        Ok(heard)
    }

    /// Nobody is to be handed these requests any more.
    pub async fn remove_entries(&self, entries: &[String]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.write("entries", vec![cmd("XDEL").arg(self.names.requests_stream()).arg(entries).take()]).await
    }

    /// Those of these requests that have ended.
    pub async fn ended<T: AsRef<str>>(&self, ids: Vec<T>) -> Result<Vec<T>, StoreError> {
        let asks: Vec<_> = ids.iter().map(|id| cmd("EXISTS").arg(self.names.request(id.as_ref())).take()).collect();
        let replies = if asks.is_empty() { Vec::new() } else { self.link.write(shard("ended"), asks).await? };
        let is_gone = |reply: Result<Value, _>| matches!(reply, Ok(Value::Int(0)));
        Ok(ids.into_iter().zip(replies).filter_map(|(id, reply)| is_gone(reply).then_some(id)).collect())
    }

    /// Whether somebody subscribes to the channel of requests at another server than the one that was asked to publish.
    pub async fn is_heard_elsewhere(&self) -> bool {
        if !self.link.is_cluster() {
            return false;
        }
        let mut ask = cmd("PUBSUB");
        ask.arg("NUMSUB").arg(self.names.requests());
        let told = self.link.call_all(ask).await.unwrap_or_default(); // a word too many is better than none
        told.into_iter().any(|told| matches!(told, Value::Array(told) if matches!(told.get(1), Some(Value::Int(1..)))))
    }

    /// The context of a request, which stays.
    pub async fn context(&self, id: &str) -> Result<Option<Bytes>, StoreError> {
        match self.link.call(cmd("GET").arg(self.names.request(id)).take()).await? {
            Value::Nil => Ok(None),
            kept => Ok(bytes(kept)?.get(CLAIM_BYTES..).map(Bytes::copy_from_slice)),
        }
    }

    /// Takes a request to answer it, until `until`: who has not finished it by then may be dead. `parts` of the answer have to be forwarded before.
    pub async fn claim(&self, id: &str, parts: u32, now: Time, until: Time) -> Result<Claim, StoreError> {
        let mut claim = Function::ClaimRequest.on(&[self.names.request(id)]);
        claim.arg(now.0).arg(until.0).arg(parts);
        // Looked at again when the claim has ended; an answer in the stream is then read again first.
        let look = cmd("ZADD").arg(self.due_key()).arg("XX").arg(until.0 + (until.0 - now.0)).arg(id).take();
        self.ask(id, vec![claim, look]).await
    }

    /// The context of a request, to forward a part of its answer; parts with a number come in their order. Part 0 has none. `again`: whoever
    /// began to forward this part has not ended in time.
    pub async fn part(&self, id: &str, part: u32, again: bool, now: Time) -> Result<Claim, StoreError> {
        let mut claim = Function::PartOfRequest.on(&[self.names.request(id)]);
        claim.arg(now.0).arg(part).arg(u8::from(again));
        self.ask(id, vec![claim]).await
    }

    async fn ask(&self, id: &str, commands: Vec<Cmd>) -> Result<Claim, StoreError> {
        let reply = self.link.write(shard(id), commands).await?.into_iter().next().ok_or(StoreError::Unavailable)?;
        let reply = match reply {
            Err(error) if library::is_missing(&error) => {
                functions::load(&self.link).await?;
                return Err(StoreError::Unavailable);
            }
            reply => reply.map_err(LinkError::from)?,
        };
        match reply {
            Value::Nil => Ok(Claim::Gone),
            Value::Int(1) => Ok(Claim::Taken),
            Value::Int(_) => Ok(Claim::TooEarly),
            told => {
                let mut context = bytes(told)?;
                let again = context.split_to(1.min(context.len())) == "1";
                Ok(Claim::Yours { context, again })
            }
        }
    }

    /// A part has been forwarded.
    pub async fn part_done(&self, id: &str, part: u32) -> Result<(), StoreError> {
        let mut done = Function::PartDone.on(&[self.names.request(id)]);
        done.arg(part);
        self.write(id, vec![done]).await
    }

    /// A request has ended. Nobody answers it any more.
    pub async fn finish(&self, id: &str) -> Result<(), StoreError> {
        let remove = cmd("DEL").arg(self.names.request(id)).take();
        self.write(id, vec![remove, cmd("ZREM").arg(self.due_key()).arg(id).take()]).await
    }

    /// These answers are done with.
    pub async fn acknowledge(&self, entries: &[String]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let stream = self.names.responses_stream();
        let done = cmd("XACK").arg(&stream).arg(GROUP).arg(entries).take();
        self.write("answers", vec![done, cmd("XDEL").arg(&stream).arg(entries).take()]).await
    }

    /// Requests whose time has come, at most `limit`.
    pub async fn due(&self, now: Time, limit: usize) -> Result<Vec<String>, StoreError> {
        let mut due = cmd("ZRANGEBYSCORE");
        due.arg(self.due_key()).arg("-inf").arg(now.0).arg("LIMIT").arg(0).arg(limit);
        texts(self.link.call(due).await?)
    }

    /// The workers that live.
    pub async fn workers(&self, now: Time) -> Result<Vec<WorkerMessage>, StoreError> {
        let mut names = cmd("ZRANGEBYSCORE");
        names.arg(self.names.workers()).arg(now.0).arg("+inf");
        let gets =
            texts(self.link.call(names).await?)?.iter().map(|name| cmd("GET").arg(self.names.worker(name)).take()).collect::<Vec<_>>();
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.link.write(shard("workers"), gets).await?;
        // One that says nothing readable of itself is there all the same.
        let read = |reply: Value| bytes(reply).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        Ok(replies.into_iter().flatten().map(read).collect())
    }

    pub async fn publish(&self, messages: Vec<(String, String)>) -> Result<(), StoreError> {
        let publish = |(channel, text): (String, String)| cmd("PUBLISH").arg(channel).arg(text).take();
        self.write("publish", messages.into_iter().map(publish).collect()).await
    }

    /// Removes entries that nobody wants any more, and workers that said nothing for long.
    pub async fn trim(&self, now: Time, keep: Span) -> Result<(), StoreError> {
        let oldest = (now - keep).0;
        let trim = |stream: &str, by: &str, bound: u64| cmd("XTRIM").arg(stream).arg(by).arg("~").arg(bound).take();
        let (requests, responses) = (self.names.requests_stream(), self.names.responses_stream());
        let gone = cmd("ZREMRANGEBYSCORE").arg(self.names.workers()).arg("-inf").arg(oldest).take();
        let old = [trim(&requests, "MINID", oldest), trim(&responses, "MINID", oldest)];
        let many = trim(&responses, "MAXLEN", STREAM_LENGTH_MAX as u64);
        self.write("trim", old.into_iter().chain([many, gone]).collect()).await
    }

    /// A connection that hears answers, and what nodes tell each other.
    pub async fn subscriber(&self) -> Result<Subscriber, StoreError> {
        let mut subscriber = self.link.subscriber().await?;
        subscriber.subscribe(&[self.names.responses(), self.node_channel(&self.node), self.nodes_channel()][..]).await?;
        Ok(subscriber)
    }

    /// A connection that reads the stream of answers.
    pub async fn reader(&self) -> Result<Reader, StoreError> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(self.names.responses_stream()).arg(GROUP).arg("0").arg("MKSTREAM");
        match self.link.call(create).await {
            Err(LinkError::Script(text)) if text.contains("BUSYGROUP") => {}
            created => drop(created?),
        }
        Ok(Reader { connection: self.link.blocking(&self.names.responses_stream()).await?, requests: self.clone() })
    }

    /// Answers that a node has read and not finished within `idle`; they are this node's now.
    pub async fn left_behind(&self, idle: Span, count: usize) -> Result<Vec<Entry>, StoreError> {
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(self.names.responses_stream()).arg(GROUP).arg(&self.node).arg(idle.0).arg("0").arg("COUNT").arg(count);
        let mut reply = Reply::new(self.link.call(claim).await?)?;
        reply.bytes()?;
        entries(reply.value())
    }

    /// Forgets readers that are gone and left nothing behind.
    pub async fn forget_readers(&self, idle: Duration) -> Result<(), StoreError> {
        let mut ask = cmd("XINFO");
        ask.arg("CONSUMERS").arg(self.names.responses_stream()).arg(GROUP);
        let Value::Array(consumers) = self.link.call(ask).await? else { return Ok(()) };
        for consumer in consumers.into_iter().filter_map(fields) {
            let of = |name: &str| consumer.get(name).and_then(|value| number(value).ok()).unwrap_or(0);
            let Some(name) = consumer.get("name").and_then(|name| bytes(name.clone()).ok()) else { continue };
            if of("pending") == 0 && of("idle") > idle.as_millis() as u64 && name != self.node {
                let mut forget = cmd("XGROUP");
                forget.arg("DELCONSUMER").arg(self.names.responses_stream()).arg(GROUP).arg(&name[..]);
                self.link.call(forget).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, what: &str, commands: Vec<Cmd>) -> Result<(), StoreError> {
        for reply in self.link.write(shard(what), commands).await? {
            reply.map_err(LinkError::from)?;
        }
        Ok(())
    }
}

/// Reads answers as they come.
#[derive(Debug)]
pub struct Reader {
    connection: Blocking,
    requests: Requests,
}

impl Reader {
    /// How long one read waits for something new.
    const BLOCK: Duration = Duration::from_secs(5);

    /// At most `count` answers; none: nothing came for a while. After an error the connection is of no use.
    pub async fn read(&mut self, count: usize) -> Result<Vec<Entry>, StoreError> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.requests.node).arg("COUNT").arg(count).arg("BLOCK").arg(Self::BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(self.requests.names.responses_stream()).arg(">");
        let Value::Array(streams) = self.connection.query(&read, Self::BLOCK).await? else { return Ok(Vec::new()) };
        match streams.into_iter().next() {
            Some(Value::Array(mut stream)) => entries(stream.pop().unwrap_or_default()),
            _ => Ok(Vec::new()),
        }
    }
}

fn entries(value: Value) -> Result<Vec<Entry>, StoreError> {
    let Value::Array(values) = value else { return Ok(Vec::new()) };
    let mut entries = Vec::with_capacity(values.len());
    for value in values {
        let Value::Array(mut parts) = value else { continue }; // nil: it was deleted
        let fields = parts.pop().and_then(fields).unwrap_or_default();
        let Some(id) = parts.pop() else { continue };
        let json = fields.get(FIELD).cloned().map_or(Ok(Bytes::new()), bytes)?;
        entries.push(Entry { id: text(id)?, json });
    }
    Ok(entries)
}

/// Names and values, one after the other.
fn fields(value: Value) -> Option<BTreeMap<String, Value>> {
    let Value::Array(values) = value else { return None };
    let mut fields = BTreeMap::new();
    let mut values = values.into_iter();
    while let (Some(name), Some(value)) = (values.next(), values.next()) {
        fields.insert(text(name).ok()?, value);
    }
    Some(fields)
}

fn text(value: Value) -> Result<String, StoreError> {
    String::from_utf8(bytes(value)?.into()).map_err(|_| StoreError::Unavailable)
}

fn texts(value: Value) -> Result<Vec<String>, StoreError> {
    let Value::Array(values) = value else { return Ok(Vec::new()) };
    values.into_iter().map(text).collect()
}

/// All that is written for one request goes by one lane.
fn shard(id: &str) -> u16 {
    id.bytes().fold(0, |sum: u16, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}
