//! The routing table: changes of it, the whole of it, and its log.

use std::sync::Arc;

use redis::{Value, cmd};

use super::core::{Core, pause};
use super::encoding;
use super::feed::{Entry, Feed};
use super::functions::{self, Function};
use super::keys::{self, Owners};
use crate::packet::connect::ClientId;
use crate::session::state::Epoch;
use crate::store::StoreError;
use crate::store::cluster::{News, NodeId, RouteChange, RouteVersion, Who};
use crate::store::redis::keys::unescape;
use crate::store::redis::{encoding as stored, reply};
use crate::subscription::Subscription;

/// Owners whose tables are read in one step.
const PAGE: usize = 500;

/// Entries of the log that are read at once.
const CHANGES_MAX: usize = 512;

/// Above all epochs: with the end of a dead node, no late change of it counts any more.
pub(super) const LAST_EPOCH: Epoch = (1 << 53) - 1;

impl Core {
    pub(super) async fn change(&self, change: &RouteChange, epoch: Epoch) -> Result<RouteVersion, StoreError> {
        let (function, who) = match change {
            RouteChange::Set { who, .. } => (Function::Set, who),
            RouteChange::Unset { who, .. } => (Function::Unset, who),
            RouteChange::End { who } => (Function::End, who),
        };
        let mut call = function.on(&self.keys.change(who));
        call.arg(keys::owner(who).1).arg(epoch).arg(&encoding::change(change, epoch)[..]).arg(self.settings.log_length_max);
        match change {
            RouteChange::Set { who, subscriptions } => {
                call.arg(node_of(who));
                for subscription in subscriptions {
                    call.arg(stored::selector(&subscription.selector)).arg(stored::subscription(subscription));
                }
            }
            RouteChange::Unset { selectors, .. } => {
                for selector in selectors {
                    call.arg(stored::selector(selector));
                }
            }
            RouteChange::End { who } => {
                call.arg(node_of(who));
            }
        }
        let version = functions::call(&self.link, call).await?;
        reply::number(&version)
    }

    /// The version first: what changes while the tables are read is in the log after it, and to apply it twice does no harm.
    pub(super) async fn load(&self, mut take: impl FnMut(Epoch, Who, Vec<Subscription>) + Send) -> Result<RouteVersion, StoreError> {
        let version = self.history(0).await?;
        for owners in [Owners::Sessions, Owners::Nodes] {
            let mut cursor = 0;
            loop {
                let scan = cmd("HSCAN").arg(self.keys.owners(owners)).arg(cursor).arg("COUNT").arg(PAGE).take();
                let mut page = reply::list(self.link.call(scan).await?)?;
                let found = reply::list(page.pop().unwrap_or_default())?;
                self.load_tables(owners, found, &mut take).await?;
                cursor = reply::number(&page.pop().unwrap_or_default())?;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(version)
    }

    /// `found`: names and epochs in turn.
    async fn load_tables(
        &self,
        owners: Owners,
        found: Vec<Value>,
        take: &mut (impl FnMut(Epoch, Who, Vec<Subscription>) + Send),
    ) -> Result<(), StoreError> {
        let (pairs, _) = found.as_chunks::<2>();
        let names = pairs.iter().map(|[name, epoch]| Ok((reply::text(name.clone())?, reply::number(epoch)?)));
        let names = names.collect::<Result<Vec<_>, StoreError>>()?;
        // A small hash comes whole from HSCAN, whatever was asked for.
        for names in names.chunks(PAGE) {
            let reads = names.iter().map(|(name, _)| cmd("HGETALL").arg(self.keys.table(owners, name)).take()).collect();
            let tables = self.write("routes", reads).await?;
            for ((name, epoch), table) in names.iter().zip(tables) {
                let (who, subscriptions) = read(owners, name, reply::list(table)?)?;
                if !subscriptions.is_empty() {
                    take(*epoch, who, subscriptions);
                }
            }
        }
        Ok(())
    }

    /// The newest version, which after this call is not below the one that was seen.
    pub(super) async fn history(&self, seen: RouteVersion) -> Result<RouteVersion, StoreError> {
        let version = functions::call(&self.link, Function::History.on(&[self.keys.version()]).arg(seen).take()).await?;
        reply::number(&version)
    }
}

fn node_of(who: &Who) -> &str {
    match who {
        Who::Session { node: Some(node), .. } => node.as_str(),
        Who::Session { node: None, .. } | Who::Node(_) => "",
    }
}

/// Whose table it is, and what is in it; nothing: it has gone.
fn read(owners: Owners, name: &str, table: Vec<Value>) -> Result<(Who, Vec<Subscription>), StoreError> {
    let (mut node, mut subscriptions) = (None, Vec::new());
    let mut fields = table.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        let (field, value) = (reply::bytes(field)?, reply::bytes(value)?);
        if field == "n" {
            node = std::str::from_utf8(&value).ok().filter(|node| !node.is_empty()).map(NodeId::new);
        } else {
            subscriptions.extend(understood(name, stored::take_subscription(&field, &value)));
        }
    }
    let name = unescape(name);
    let who = match owners {
        Owners::Sessions => Who::Session { client_id: ClientId::new(&name), node },
        Owners::Nodes => Who::Node(NodeId::new(&name)),
    };
    Ok((who, subscriptions))
}

fn understood(name: &str, subscription: Option<Subscription>) -> Option<Subscription> {
    if subscription.is_none() {
        tracing::error!(name, "a subscription in the routing table is not understood");
    }
    subscription
}

/// Tells the news of the log after this version, and when some of it is lost.
pub(super) async fn follow(core: Arc<Core>, mut last: RouteVersion, mut generation: u64) {
    let log = core.keys.log();
    loop {
        let mut feed = Feed::open(&core.link, &log).await;
        if feed.generation != generation {
            // What this node has seen may be forgotten, and its version used again: from here on it is not.
            let Ok(newest) = core.history(last).await else {
                pause().await;
                continue;
            };
            (last, generation) = (newest, feed.generation);
            tell(&core, News::RoutesLost).await;
        }
        while let Ok(entries) = feed.read(&log, (last, 0), CHANGES_MAX).await {
            last = hand_over(&core, entries, last).await;
        }
        pause().await;
    }
}

/// Returns the version of the last.
async fn hand_over(core: &Core, entries: Vec<Entry>, last: RouteVersion) -> RouteVersion {
    let versions = entries.iter().map(|entry| entry.id.0);
    if versions.zip(last + 1..).any(|(found, expected)| found != expected) {
        tell(core, News::RoutesLost).await;
    }
    let Some(version) = entries.last().map(|entry| entry.id.0) else { return last };
    let changes = entries.into_iter().filter_map(|entry| {
        let change = encoding::take_change(entry.value);
        if change.is_none() {
            tracing::error!(version = entry.id.0, "a change in the log of routes is not understood");
        }
        change
    });
    tell(core, News::Routes { version, changes: changes.collect() }).await;
    version
}

/// Waits for room: the log does not run away.
async fn tell(core: &Core, news: News) {
    let _ = core.news.send(news).await; // nobody wants any more: the tasks end soon
}

/// Tells the others what this node has applied: the newest, when it has told the last. The beat tells it again.
pub(super) async fn herald(core: Arc<Core>) {
    let mut applied = core.applied.subscribe();
    while applied.changed().await.is_ok() {
        let version = *applied.borrow_and_update();
        let message = [&version.to_be_bytes()[..], core.node.as_str().as_bytes()].concat();
        if let Err(error) = core.link.call(cmd("PUBLISH").arg(core.keys.applied()).arg(message).take()).await {
            tracing::debug!(%error, version, "the others are told of applied routes by the next beat");
        }
    }
}
