//! What is left that nobody has: every key expires by itself, or is a Session's, a node's, or one of the few that a cluster keeps.
//!
//! The cluster goes on meanwhile, and nothing can be looked at in one moment. So what looks wrong is looked at again a little later, and is
//! told only when it is still so.

use std::collections::BTreeSet;
use std::str::from_utf8;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, cmd};

use super::Survey;
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::NodeId;
use crate::store::redis::due;
use crate::store::redis::keys::{SESSION_WORDS, unescape};
use crate::store::redis::reply::{Reply, number};
use crate::store::redis::scan::Scan;
use crate::time::{Span, Time};

/// Keys that are looked at side by side.
const KEYS_AT_ONCE: usize = 256;

/// Whatever is on its way is done by then.
const SECOND_LOOK: Duration = Duration::from_secs(5);

/// A Session whose time is over may still be there for so long: whoever takes care of it looks every few seconds, and a lease is half a minute.
const LATE: Span = Span::seconds(60);

/// Keys that nobody knows, told by name.
const UNKNOWN_MAX: usize = 20;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Keys that were looked at.
    pub keys: u64,
    pub sessions: u64,
    /// Keys that nobody has, and why.
    pub faults: Vec<(String, String)>,
    /// Keys under the prefix that are none of ours, the first of them by name: no fault, but somebody should know.
    pub unknown: u64,
    pub unknown_names: Vec<String>,
}

/// Who is there now.
#[derive(Debug)]
struct Now {
    time: Time,
    /// Members, and dead ones that somebody cleans up after.
    nodes: BTreeSet<String>,
}

impl Now {
    fn has(&self, node: &str) -> bool {
        self.nodes.contains(node)
    }
}

enum Verdict {
    Fine,
    Session,
    Unknown,
}

/// Or what is wrong with a key.
type Judged = Result<Verdict, String>;

impl Survey {
    /// Looks at every key. It takes a second for each 10,000 or so.
    pub async fn check(&self) -> Result<Findings, StoreError> {
        let (mut findings, mut suspects) = (Findings::default(), BTreeSet::new());
        let (mut scan, pattern) = (Scan::default(), self.keys.pattern());
        while let Some(page) = scan.next(&self.link, &pattern).await? {
            let now = self.now().await?;
            for part in page.chunks(KEYS_AT_ONCE) {
                let judged = join_all(part.iter().map(|key| self.judge(key, &now))).await;
                for (key, judged) in part.iter().zip(judged) {
                    findings.keys += 1;
                    match judged? {
                        Ok(Verdict::Fine) => {}
                        Ok(Verdict::Session) => findings.sessions += 1,
                        Ok(Verdict::Unknown) => findings.note_unknown(key),
                        Err(_) => drop(suspects.insert(key.clone())),
                    }
                }
            }
        }
        if suspects.is_empty() {
            return Ok(findings);
        }
        let _ = tokio::time::timeout(SECOND_LOOK, std::future::pending::<()>()).await;
        let now = self.now().await?;
        for key in suspects {
            let is_there = self.count(cmd("EXISTS").arg(&key[..]).take()).await? == 1;
            if is_there && let Err(why) = self.judge(&key, &now).await? {
                findings.faults.push((String::from_utf8_lossy(&key).into_owned(), why));
            }
        }
        Ok(findings)
    }

    async fn now(&self) -> Result<Now, StoreError> {
        let [members, _, dead] = self.cluster.members();
        let mut nodes = BTreeSet::new();
        for key in [members, dead] {
            let found = Reply::new(self.call(cmd("ZRANGE").arg(key).arg(0).arg(-1).take()).await?)?.all_bytes()?;
            nodes.extend(found.into_iter().filter_map(|node| String::from_utf8(node.into()).ok()));
        }
        Ok(Now { time: self.time().await?, nodes })
    }

    async fn judge(&self, key: &[u8], now: &Now) -> Result<Judged, StoreError> {
        let Ok(key) = from_utf8(key) else { return Ok(Ok(Verdict::Unknown)) };
        let Some((tag, word)) = self.keys.parts(key) else {
            return if self.keys.is_brief(key) { self.expires(key).await } else { Ok(Ok(Verdict::Unknown)) };
        };
        let tag_of = |prefix: &str| tag.strip_prefix(prefix);
        if SESSION_WORDS.contains(&word) {
            return self.judge_session(key, &ClientId::new(&unescape(tag)), word, now).await;
        }
        match (tag, word) {
            ("nodes", "hb" | "applied" | "dead" | "born" | "numbers" | "totals") => Ok(Ok(Verdict::Fine)),
            ("routes", "ver" | "log" | "sessions" | "nodes" | "sessions-ended" | "nodes-ended") => Ok(Ok(Verdict::Fine)),
            ("auth", "bans" | "bans-ver") | ("bridge", "keeper") => Ok(Ok(Verdict::Fine)),
            ("mcp", "due" | "requests" | "responses" | "dead" | "workers") => Ok(Ok(Verdict::Fine)),
            ("routes", word) => self.judge_routes(key, word, now).await,
            (_, "h" | "z" | "x") if tag_of("ret:").is_some() => Ok(Ok(Verdict::Fine)),
            (_, "cur") if tag_of("sh:").is_some() => self.expires(key).await,
            (_, "due") => Ok(Ok(Verdict::Fine)),
            (_, "in" | "sess") => match tag_of("n:").map(unescape) {
                Some(node) if !now.has(&node) => Ok(Err(gone(&node))),
                Some(_) => Ok(Ok(Verdict::Fine)),
                None => Ok(Ok(Verdict::Unknown)),
            },
            _ => Ok(Ok(Verdict::Unknown)),
        }
    }

    async fn judge_session(&self, key: &str, client_id: &ClientId, word: &str, now: &Now) -> Result<Judged, StoreError> {
        let keys = self.keys.session(client_id);
        match word {
            "s" => {}
            "once" => return self.expires(key).await,
            "wills" => return self.judge_wills(client_id).await,
            _ if self.exists(&keys.session()).await? => return Ok(Ok(Verdict::Fine)),
            _ => return Ok(Err("the Session that it is a part of is not there".to_owned())),
        }
        let Some(row) = self.rows(std::slice::from_ref(client_id)).await?.pop() else { return Ok(Ok(Verdict::Fine)) };
        match (row.owner, row.ends) {
            (Some(node), _) if !now.has(&node) => Ok(Err(gone(&node))),
            (Some(node), _) => {
                let listed = self.count(cmd("SISMEMBER").arg(self.cluster.sessions(&NodeId::new(&node))).arg(client_id.as_str()).take());
                Ok(if listed.await? == 1 { Ok(Verdict::Session) } else { Err(format!("{node} has it and would not be asked for it")) })
            }
            (None, Some(ends)) if ends + LATE < now.time => Ok(Err("its time was over a while ago".to_owned())),
            (None, Some(_)) if !self.is_looked_at(client_id, row.epoch).await? => {
                Ok(Err("it expires, and nobody will look at it".to_owned()))
            }
            (None, _) => Ok(Ok(Verdict::Session)),
        }
    }

    /// Whether the index of what is due has this epoch of the Session.
    async fn is_looked_at(&self, client_id: &ClientId, epoch: Epoch) -> Result<bool, StoreError> {
        let shard = self.keys.session(client_id).due_shard();
        let score = self.call(cmd("ZSCORE").arg(self.keys.due(shard)).arg(due::member(client_id, epoch)).take()).await?;
        Ok(score != redis::Value::Nil)
    }

    async fn judge_wills(&self, client_id: &ClientId) -> Result<Judged, StoreError> {
        let epochs = Reply::new(self.call(cmd("HKEYS").arg(self.keys.session(client_id).wills()).take()).await?)?.all_numbers()?;
        for epoch in epochs {
            if !self.is_looked_at(client_id, epoch).await? {
                return Ok(Err(format!("a will of epoch {epoch} is owed, and nobody will look at it")));
            }
        }
        Ok(Ok(Verdict::Fine))
    }

    async fn judge_routes(&self, key: &str, word: &str, now: &Now) -> Result<Judged, StoreError> {
        if let Some(node) = word.strip_prefix("n:").map(unescape) {
            return Ok(if now.has(&node) { Ok(Verdict::Fine) } else { Err(gone(&node)) });
        }
        let Some(client) = word.strip_prefix("s:").map(unescape) else { return Ok(Ok(Verdict::Unknown)) };
        let lives_on = Reply::new(self.call(cmd("HMGET").arg(key).arg(&["n"]).take()).await?)?.optional_bytes()?;
        match lives_on.as_deref().map(String::from_utf8_lossy) {
            Some(node) if !node.is_empty() => Ok(if now.has(&node) { Ok(Verdict::Fine) } else { Err(gone(&node)) }),
            Some(_) if !self.exists(&self.keys.session(&ClientId::new(&client)).session()).await? => {
                Ok(Err("the Session that subscribes is not there".to_owned()))
            }
            _ => Ok(Ok(Verdict::Fine)),
        }
    }

    async fn expires(&self, key: &str) -> Result<Judged, StoreError> {
        let left = self.call(cmd("PTTL").arg(key).take()).await?;
        Ok(if left == redis::Value::Int(-1) { Err("it does not expire".to_owned()) } else { Ok(Verdict::Fine) })
    }

    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.count(cmd("EXISTS").arg(key).take()).await? == 1)
    }

    async fn count(&self, command: Cmd) -> Result<u64, StoreError> {
        number(&self.call(command).await?)
    }
}

impl Findings {
    fn note_unknown(&mut self, key: &[u8]) {
        self.unknown += 1;
        if self.unknown_names.len() < UNKNOWN_MAX {
            self.unknown_names.push(String::from_utf8_lossy(key).into_owned());
        }
    }
}

fn gone(node: &str) -> String {
    format!("it is of the node {node}, which is no more")
}
