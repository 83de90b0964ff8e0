//! Questions of one node to the others, and their answers, by Pub/Sub: for the administration, which asks seldom and can bear to hear nothing.
//!
//! | channel | who hears it | what |
//! |---|---|---|
//! | `mqttd:ask` | every node | `FROM NUL ID NUL QUESTION` |
//! | `mqttd:ask:NODE` | that one | the same |
//! | `mqttd:answer:NODE` | who asked | `FROM NUL ID NUL ANSWER` |

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::cmd;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use super::Cluster;
use super::core::pause;
use crate::store::cluster::NodeId;

/// How long the others may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions that are answered at a time; more wait.
const ANSWERS_MAX: usize = 8;

/// Where the answers to a question go.
type Asker = mpsc::Sender<(NodeId, Vec<u8>)>;

/// The questions of this node that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Asks {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Asker>>,
}

/// What came of a question.
#[derive(Debug, Default)]
pub struct Answers {
    pub answers: Vec<(NodeId, Vec<u8>)>,
    /// Who should have answered and did not.
    pub missing: Vec<NodeId>,
}

impl Cluster {
    /// Asks one other node, or all of them.
    pub async fn ask(&self, to: Option<&NodeId>, question: &[u8]) -> Answers {
        let mut missing = match to {
            Some(node) => vec![node.clone()],
            None => self.live().into_iter().filter(|node| node != self.node()).collect(),
        };
        if missing.is_empty() {
            return Answers::default();
        }
        let asks = &self.shared.asks;
        let id = asks.next.fetch_add(1, Relaxed);
        let (sender, mut heard) = mpsc::channel(missing.len());
        asks.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let deadline = Instant::now() + PATIENCE;
        let mut answers = Vec::new();
        if self.say(&self.channel("ask", to), id, question).await {
            while !missing.is_empty()
                && let Ok(Some((node, answer))) = timeout_at(deadline, heard.recv()).await
            {
                missing.retain(|other| *other != node);
                answers.push((node, answer));
            }
        }
        asks.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Answers { answers, missing }
    }

    /// Answers the questions of others for as long as it is polled.
    pub async fn answer<F>(&self, answer: impl Fn(Vec<u8>) -> F + Clone + Send + 'static)
    where
        F: Future<Output = Vec<u8>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(ANSWERS_MAX));
        let own = self.channel("answer", Some(self.node()));
        let channels = [self.channel("ask", None), self.channel("ask", Some(self.node())), own.clone()];
        loop {
            if let Ok(mut ear) = self.core().link.subscriber().await
                && ear.subscribe(&channels[..]).await.is_ok()
            {
                while let Some(message) = ear.next().await {
                    let Some((from, id, body)) = parts(message.get_payload_bytes()) else { continue };
                    if message.get_channel_name() == own {
                        self.shared.asks.hear(from, id, body);
                    } else if from != *self.node() {
                        let place = places.clone().acquire_owned().await;
                        let (cluster, answer) = (self.clone(), answer.clone());
                        tokio::spawn(async move {
                            let said = answer(body).await;
                            cluster.say(&cluster.channel("answer", Some(&from)), id, &said).await;
                            drop(place);
                        });
                    }
                }
            }
            pause().await;
        }
    }

    fn channel(&self, verb: &str, node: Option<&NodeId>) -> String {
        let prefix = self.core().link.prefix();
        node.map_or_else(|| format!("{prefix}:{verb}"), |node| format!("{prefix}:{verb}:{}", node.as_str()))
    }

    async fn say(&self, channel: &str, id: u64, body: &[u8]) -> bool {
        let mut text = format!("{}\0{id}\0", self.node().as_str()).into_bytes();
        text.extend_from_slice(body);
        let said = self.core().link.call(cmd("PUBLISH").arg(channel).arg(text).take()).await;
        said.inspect_err(|error| tracing::debug!(%error, channel, "nobody could be asked or told")).is_ok()
    }
}

impl Asks {
    fn hear(&self, from: NodeId, id: u64, body: Vec<u8>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = waiting.get(&id) {
            let _ = asker.try_send((from, body)); // one that answers twice finds no room
        }
    }
}

fn parts(text: &[u8]) -> Option<(NodeId, u64, Vec<u8>)> {
    let mut parts = text.splitn(3, |byte| *byte == 0);
    let from = std::str::from_utf8(parts.next()?).ok()?;
    let id = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    Some((NodeId::new(from), id, parts.next()?.to_vec()))
}
