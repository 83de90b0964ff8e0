//! `mqttd sessions`, `inspect`, `fsck`: a look into the Redis of a cluster, from beside it. They ask Redis itself, so they work when no node
//! does, on whatever a node runs on: one Redis, Sentinels, a Redis Cluster. Nothing is changed.

use std::fmt::Write;

use clap::Args;

use super::run::RunArguments;
use super::{Failure, http, print};
use crate::node;
use crate::packet::connect::ClientId;
use crate::store::StoreError;
use crate::store::redis::survey::{Row, Scan, Session, Survey};
use crate::subscription::Selector;
use crate::time::Time;

#[derive(Args, Clone, Debug)]
pub(super) struct SessionsArguments {
    /// About how many are shown
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Where to go on, as the last line of the answer before says
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Args, Clone, Debug)]
pub(super) struct InspectArguments {
    /// Its Client Identifier
    client_id: String,
    /// How many messages of its queue are shown
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Args, Clone, Debug)]
pub(super) struct FsckArguments {
    #[command(flatten)]
    run: RunArguments,
}

pub(super) fn sessions(arguments: &SessionsArguments) -> Result<(), Failure> {
    let from = arguments.from.as_deref().map_or(Ok(Scan::default()), place)?;
    http::block_on(async {
        let survey = open(&arguments.run).await?;
        let (rows, next) = survey.sessions(from, arguments.limit.max(1)).await.map_err(failed)?;
        let now = survey.time().await.map_err(failed)?;
        let mut text = String::from("STATE      QUEUED  SUBSCRIPTIONS  EXPIRES     NODE                  CLIENT\n");
        for row in &rows {
            let Row { queued, subscriptions, .. } = row;
            let owner = row.owner.as_deref().map_or("-", |owner| owner.rsplit_once('.').map_or(owner, |(name, _)| name));
            let _ = writeln!(
                text,
                "{:<9} {queued:>7}  {subscriptions:>13}  {:<10}  {owner:<20}  {}",
                state(row),
                expires(row, now),
                row.client_id.as_str().escape_debug()
            );
        }
        if let Some(next) = next {
            let _ = writeln!(text, "more: --from {next}");
        }
        print(&text)
    })
}

pub(super) fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    http::block_on(async {
        let survey = open(&arguments.run).await?;
        let client_id = ClientId::new(&arguments.client_id);
        let session = survey.session(&client_id, arguments.limit).await.map_err(failed)?;
        let session = session.ok_or_else(|| Failure::Runtime(format!("there is no Session of {:?}", arguments.client_id)))?;
        print(&told(&session, survey.time().await.map_err(failed)?))
    })
}

pub(super) fn fsck(arguments: &FsckArguments) -> Result<(), Failure> {
    http::block_on(async {
        let survey = open(&arguments.run).await?;
        let found = survey.check().await.map_err(failed)?;
        let mut text = format!("{} keys, {} Sessions\n", found.keys, found.sessions);
        if found.unknown > 0 {
            let _ = writeln!(text, "{} keys with our prefix that this version does not know, such as:", found.unknown);
            for key in &found.unknown_names {
                let _ = writeln!(text, "  {}", key.escape_debug());
            }
        }
        for (key, why) in &found.faults {
            let _ = writeln!(text, "{}: {why}", key.escape_debug());
        }
        if found.faults.is_empty() {
            text += "clean: every key is a Session's, a node's, the cluster's, or expires\n";
        }
        print(&text)?;
        match found.faults.len() {
            0 => Ok(()),
            faults => Err(Failure::Runtime(format!("{faults} keys that nobody has"))),
        }
    })
}

async fn open(arguments: &RunArguments) -> Result<Survey, Failure> {
    let loaded = arguments.load()?;
    let Some(settings) = node::settings::redis(&loaded.config) else {
        let why = "the Store of this configuration is memory:, which only its node can see; name a Redis with --store or -c";
        return Err(Failure::Usage(why.to_owned()));
    };
    Survey::open(settings).await.map_err(|error| Failure::Runtime(format!("{}: {error}", loaded.config.store.url)))
}

fn failed(error: StoreError) -> Failure {
    Failure::Runtime(format!("Redis did not do what it was asked: {error:?}"))
}

fn place(text: &str) -> Result<Scan, Failure> {
    Scan::parse(text).ok_or_else(|| Failure::Usage(format!("--from {text}: PRIMARY:CURSOR, as an answer has said it")))
}

fn state(row: &Row) -> &'static str {
    match (&row.owner, row.durable) {
        (Some(_), true) => "connected",
        (Some(_), false) => "live",
        (None, _) => "away",
    }
}

fn expires(row: &Row, now: Time) -> String {
    match (&row.owner, row.ends, row.expiry_ms) {
        (None, Some(ends), _) => format!("in {} s", ends.since(now).0 / 1000),
        (Some(_), _, Some(0)) => "at its end".to_owned(),
        (Some(_), _, Some(after)) => format!("{} s after", after / 1000),
        _ => "never".to_owned(),
    }
}

fn told(session: &Session, now: Time) -> String {
    let row = &session.row;
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<14} {value}\n");
    line("client", row.client_id.as_str().escape_debug().to_string());
    line("state", state(row).to_owned());
    line("node", row.owner.clone().unwrap_or_else(|| "none".to_owned()));
    line("epoch", row.epoch.to_string());
    line("expires", expires(row, now));
    line("will", if row.has_will { "yes".to_owned() } else { "no".to_owned() });
    line("wills owed", listed(&session.wills_owed));
    line("queued", row.queued.to_string());
    line("handed up to", row.handed.to_string());
    line("to release", format!("{}: {}", row.released, listed(&session.released)));
    let received = session.received.iter().map(|(id, pending)| if *pending { format!("{id} (pending)") } else { id.to_string() });
    line("received", format!("{}: {}", row.received, listed(&received.collect::<Vec<_>>())));
    line("subscriptions", row.subscriptions.to_string());
    for subscription in &session.subscriptions {
        let Selector { share, filter } = &subscription.selector;
        let share = share.as_ref().map_or_else(String::new, |share| format!("$share/{}/", share.as_str()));
        line("", format!("{share}{} QoS {}", filter.as_str().escape_debug(), subscription.options.qos as u8));
    }
    for (sequence, grant, message) in &session.queue {
        let sent = if *sequence <= row.handed { "perhaps sent" } else { "not sent" };
        let qos = message.qos.min(grant.qos) as u8;
        line("", format!("{sequence} {} QoS {qos}, {} bytes, {sent}", message.topic.as_str().escape_debug(), message.payload.len()));
    }
    text
}

fn listed(items: &[impl ToString]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") }
}
