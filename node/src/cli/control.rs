//! `mqttd status`, `clients`, `kick`, `ban`, `unban`, `bans`, `drain`, `rebalance`: what the REST API of a node says and does, for people and scripts.

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::{Failure, http, print};
use crate::config::user::read_secret;
use crate::store::bans::Banned;

/// One request; a node waits for others for two seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Args, Clone, Debug)]
pub(super) struct Target {
    /// The node to ask, as http://HOST:PORT or HOST:PORT [default: the node that this configuration makes]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with the token of the API [default: api.token or api.token_file of this configuration]
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// Print the JSON as it comes
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ClientsArguments {
    /// Only those with this in their Client Identifier
    part: Option<String>,
    /// How many are shown at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct KickArguments {
    /// Its Client Identifier
    id: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct BanArguments {
    /// client:ID, user:NAME, or address:ADDRESS, also as address:10.1.0.0/16
    who: Banned,
    /// For how long; for ever when it is not given
    #[arg(long)]
    seconds: Option<u32>,
    /// For whoever reads the list; the client is not told
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct UnbanArguments {
    /// As it was banned
    who: Banned,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct BansArguments {
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct DrainArguments {
    /// The node to empty [default: the one that is asked]
    node: Option<String>,
    /// Call it off: the node takes clients again
    #[arg(long)]
    off: bool,
    /// Do not wait until the node is empty
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Args, Clone, Debug)]
pub(super) struct RebalanceArguments {
    #[command(flatten)]
    target: Target,
}

/// A node that is asked.
pub(super) struct Node {
    base: Url,
    token: Option<String>,
    client: reqwest::Client,
    json: bool,
}

impl Target {
    pub(super) fn node(&self) -> Result<Node, Failure> {
        let base = http::parse(&match &self.url {
            Some(url) => url.clone(),
            None => http::own_node()?,
        })?;
        let token = match &self.token_file {
            Some(file) => Some(read_secret(file).map_err(Failure::Usage)?),
            None => http::own_token()?,
        };
        Ok(Node { base, token, client: http::client(PATIENCE)?, json: self.json })
    }
}

impl Node {
    /// The answer of `/api/v1/SEGMENTS`; each segment may have any characters.
    async fn tell(&self, method: Method, segments: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Value, Failure> {
        let url = self.url(segments, query)?;
        let mut request = self.request(method, &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Err(self.silent()),
            Err(error) => return Err(http::unreachable(&url, &error)),
        };
        let answer = accepted(answer, &url).await?;
        let text = answer.text().await.map_err(|error| http::unreachable(&url, &error))?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// How a node is that is about to end. `None`: it has ended, or whoever was asked has.
    async fn look(&self, name: &str) -> Result<Option<Value>, Failure> {
        let url = self.url(&["nodes", name], &[])?;
        loop {
            let answer = match self.request(Method::GET, &url).send().await {
                Ok(answer) => answer,
                Err(error) if error.is_timeout() => return Err(http::unreachable(&url, &error)),
                Err(_) => return Ok(None),
            };
            match answer.status() {
                StatusCode::NOT_FOUND => return Ok(None),
                // It lives by the word of the others and says nothing: they will know soon.
                StatusCode::SERVICE_UNAVAILABLE => continue,
                _ => {}
            }
            let text = accepted(answer, &url).await?.text().await;
            return Ok(text.ok().map(|text| serde_json::from_str(&text).unwrap_or_default()));
        }
    }

    /// An answer that goes on for as long as it is read.
    pub(super) async fn open(&self, segments: &[&str], query: &[(&str, &str)], patience: Duration) -> Result<reqwest::Response, Failure> {
        let url = self.url(segments, query)?;
        match self.request(Method::GET, &url).timeout(patience).send().await {
            Ok(answer) => accepted(answer, &url).await,
            Err(error) if error.is_connect() => Err(self.silent()),
            Err(error) => Err(http::unreachable(&url, &error)),
        }
    }

    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage(format!("{} has no paths", self.base)))?
            .clear()
            .extend(["api", "v1"])
            .extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: &Url) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url.clone());
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn ask(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.tell(method, segments, query, None).await
    }

    fn silent(&self) -> Failure {
        Failure::Runtime(format!("nothing answers at {}: is the node running, and admin not off?", self.base))
    }

    fn show(&self, answer: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { print(&format!("{answer:#}\n")) } else { print(&text()) }
    }
}

/// What the node has against it, in its words.
async fn accepted(answer: reqwest::Response, url: &Url) -> Result<reqwest::Response, Failure> {
    let code = answer.status();
    if code.is_success() {
        return Ok(answer);
    }
    let body: Value = answer.text().await.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let said = body["message"].as_str().map_or_else(|| format!("{url} answered {code}"), str::to_owned);
    Err(Failure::Runtime(said))
}

pub(super) fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    http::block_on(async {
        let answer = node.ask(Method::GET, &["nodes"], &[]).await?;
        node.show(&answer, || {
            let mut rows = vec![["NODE", "STATUS", "CLIENTS", "WAITING", "STORE", "UP", "VERSION"].map(str::to_owned).to_vec()];
            for one in answer["data"].as_array().into_iter().flatten() {
                let status = match one["node_status"].as_str().unwrap_or_default() {
                    _ if one["ready"] == true => "ready",
                    "running" => "not ready",
                    status => status,
                };
                let store = if one["store_reachable"] == false { "does not answer" } else { one["store"].as_str().unwrap_or("?") };
                let up = one["uptime"].as_u64().map_or_else(String::new, |ms| lasting(ms / 1000));
                rows.push(vec![
                    text(&one["node"]),
                    status.into(),
                    text(&one["connections"]),
                    text(&one["mailbox_messages"]),
                    store.into(),
                    up,
                    text(&one["version"]),
                ]);
                rows.extend(one["errors"].as_array().into_iter().flatten().map(|error| vec![String::new(), text(error)]));
            }
            table(&rows)
        })
    })
}

pub(super) fn clients(arguments: &ClientsArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    let limit = arguments.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(arguments.part.as_deref().map(|part| ("like_clientid", part)));
    http::block_on(async {
        let answer = node.ask(Method::GET, &["clients"], &query).await?;
        node.show(&answer, || {
            let mut rows = vec![["CLIENT", "NODE", "ADDRESS", "VERSION", "SUBSCRIPTIONS", "WAITING", "SINCE"].map(str::to_owned).to_vec()];
            for one in answer["data"].as_array().into_iter().flatten() {
                let address = format!("{}:{}", text(&one["ip_address"]), text(&one["port"]));
                let version = match one["proto_ver"].as_u64() {
                    Some(3) => "3.1",
                    Some(4) => "3.1.1",
                    _ => "5.0",
                };
                rows.push(vec![
                    text(&one["clientid"]),
                    text(&one["node"]),
                    address,
                    version.into(),
                    text(&one["subscriptions_cnt"]),
                    text(&one["mailbox_messages"]),
                    text(&one["connected_at"]),
                ]);
            }
            let (shown, count) = (rows.len() - 1, answer["meta"]["count"].as_u64().unwrap_or_default());
            let more = if count > shown as u64 { format!("the first {shown} of {count}\n") } else { String::new() };
            table(&rows) + &more
        })
    })
}

pub(super) fn kick(arguments: &KickArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    http::block_on(async { node.ask(Method::DELETE, &["clients", &arguments.id], &[]).await.map(drop) })
}

/// In the words of the API.
fn words(who: &Banned) -> (&'static str, String) {
    match who {
        Banned::Client(id) => ("clientid", id.clone()),
        Banned::User(name) => ("username", name.clone()),
        Banned::Addresses(network) => ("peerhost", network.to_string()),
    }
}

pub(super) fn ban(arguments: &BanArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    let (kind, who) = words(&arguments.who);
    let body = json!({ "as": kind, "who": who, "reason": arguments.reason, "seconds": arguments.seconds });
    http::block_on(async {
        let answer = node.tell(Method::POST, &["banned"], &[], Some(&body)).await?;
        node.show(&answer, String::new)
    })
}

pub(super) fn unban(arguments: &UnbanArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    let (kind, who) = words(&arguments.who);
    http::block_on(async { node.ask(Method::DELETE, &["banned", kind, &who], &[]).await.map(drop) })
}

pub(super) fn bans(arguments: &BansArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    http::block_on(async {
        let answer = node.ask(Method::GET, &["banned"], &[("limit", "1000")]).await?;
        node.show(&answer, || {
            let mut rows = vec![["WHAT", "WHO", "UNTIL", "REASON"].map(str::to_owned).to_vec()];
            for one in answer["data"].as_array().into_iter().flatten() {
                let until = one["until"].as_str().unwrap_or("for ever").to_owned();
                rows.push(vec![text(&one["as"]), text(&one["who"]), until, text(&one["reason"])]);
            }
            let (shown, count) = (rows.len() - 1, answer["meta"]["count"].as_u64().unwrap_or_default());
            let more = if count > shown as u64 { format!("the first {shown} of {count}\n") } else { String::new() };
            table(&rows) + &more
        })
    })
}

/// Comes back when the node is empty: a hook before its end can wait for that. When the node ends meanwhile, that is as good.
pub(super) fn drain(arguments: &DrainArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    let name = arguments.node.as_deref().unwrap_or("self");
    http::block_on(async {
        let method = if arguments.off { Method::DELETE } else { Method::POST };
        let mut answer = node.ask(method, &["nodes", name, "drain"], &[]).await?;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !arguments.off && !arguments.no_wait && answer["node_status"] != "drained" {
            looks.tick().await;
            let Some(now) = node.look(name).await? else { return Ok(()) };
            if now["incarnation"] != answer["incarnation"] {
                return Ok(()); // it has ended, and another one came under its name
            }
            if now["node_status"] == "running" {
                return Err(Failure::Runtime("the drain was called off".to_owned()));
            }
            answer = now;
        }
        node.show(&answer, String::new)
    })
}

pub(super) fn rebalance(arguments: &RebalanceArguments) -> Result<(), Failure> {
    let node = arguments.target.node()?;
    http::block_on(async {
        let answer = node.ask(Method::POST, &["rebalance"], &[]).await?;
        node.show(&answer, || {
            let mut rows = vec![["NODE", "CLIENTS", "SENT AWAY"].map(str::to_owned).to_vec()];
            let data = answer["data"].as_array().into_iter().flatten();
            rows.extend(data.map(|one| ["node", "connections", "sent_away"].map(|name| text(&one[name])).to_vec()));
            let missing = answer["missing"].as_array().into_iter().flatten();
            rows.extend(missing.map(|node| [text(node), "does not answer".to_owned(), String::new()].to_vec()));
            table(&rows)
        })
    })
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn lasting(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Columns as wide as their widest cell. Control characters of a name that a client chose do nothing to the terminal.
fn table(rows: &[Vec<String>]) -> String {
    let clean = |cell: &String| cell.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| rows.iter().filter(|row| row.len() == columns).map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
