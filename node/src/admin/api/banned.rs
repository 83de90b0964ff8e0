//! `banned`: clients, users and addresses that are shut out.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::reply::{Asked, Body, Named, Nothing, Object, Problem, Reply, date};
use crate::admin::{Desk, Shared};
use crate::store::bans::{Ban, Banned};
use crate::time::{Span, Time};

/// Characters of a reason.
const REASON_MAX: usize = 1000;

/// Longest Client Identifier or User Name: what MQTT has room for.
const NAME_BYTES_MAX: usize = 65_535;

pub(super) fn routes() -> Router<Arc<Desk>> {
    // Addresses as in 10.0.0.0/8 have a slash.
    Router::new().route("/banned", get(list).post(ban)).route("/banned/{as}/{*who}", delete(unban))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBan {
    #[serde(rename = "as")]
    kind: Kind,
    who: String,
    #[serde(default)]
    reason: String,
    /// How long it holds; for ever when it is not named.
    #[serde(default)]
    seconds: Option<u32>,
}

/// What is banned, in the words of EMQX.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    ClientId,
    UserName,
    /// An address, or addresses that begin alike.
    PeerHost,
}

impl Kind {
    fn of(self, who: &str) -> Result<Banned, Problem> {
        if who.is_empty() || who.len() > NAME_BYTES_MAX || who.contains('\0') {
            return Err(Problem::bad(format!("who: 1 to {NAME_BYTES_MAX} bytes, and no NUL")));
        }
        match self {
            Kind::ClientId => Ok(Banned::Client(who.to_owned())),
            Kind::UserName => Ok(Banned::User(who.to_owned())),
            Kind::PeerHost => who.parse().map(Banned::Addresses).map_err(|fault| Problem::bad(format!("who: {fault}"))),
        }
    }
}

async fn list(State(desk): Shared, asked: Asked) -> Reply {
    let (Nothing {}, page) = asked.paged(&[])?;
    let mut bans = desk.auth.bans().await?;
    bans.sort_by(|a, b| a.who.cmp(&b.who));
    let count = bans.len();
    Ok(Json(page.of(bans.iter().take(page.reach()).map(shown).collect(), count)))
}

fn shown(ban: &Ban) -> Value {
    let (kind, who) = match &ban.who {
        Banned::Client(id) => ("clientid", id.clone()),
        Banned::User(name) => ("username", name.clone()),
        Banned::Addresses(network) => ("peerhost", network.to_string()),
    };
    json!({ "as": kind, "who": who, "reason": ban.why, "until": ban.until.map(date) })
}

/// Whoever is meant and connected, at any node, is disconnected. A ban of the same takes the place of the one before.
async fn ban(State(desk): Shared, Body(Object(new)): Body<Object<NewBan>>) -> Reply {
    if new.reason.chars().count() > REASON_MAX {
        return Err(Problem::bad(format!("reason: at most {REASON_MAX} characters")));
    }
    let until = |seconds| -> Time { desk.broker.clock.now() + Span::seconds(seconds) };
    let ban = Ban { who: new.kind.of(&new.who)?, until: new.seconds.map(until), why: new.reason };
    let answer = shown(&ban);
    desk.auth.ban(ban).await?;
    Ok(Json(answer))
}

async fn unban(State(desk): Shared, Named((kind, who)): Named<(Kind, String)>) -> Result<StatusCode, Problem> {
    match desk.auth.unban(&kind.of(&who)?).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("there is no ban of {who:?}"))),
    }
}
