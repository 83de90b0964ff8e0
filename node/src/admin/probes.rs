//! Whether the process lives, and whether clients should be sent to it.
//!
//! | path | 200 | else |
//! |---|---|---|
//! | `/livez`, `/healthz` | the process answers; it says nothing of Redis, whose outage no restart of this node would end | |
//! | `/readyz`, `/ready` | it is a member, the Store answers, and it is not on its way out | 503 |
//! | `/health` | always: what it says is in its JSON | |
//! | `/status` | as `/readyz`, in the two sentences that other tools look for | 503 |

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Desk, Shared};
use crate::broker::Broker;
use crate::broker::life::Stage;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/status", get(status))
}

/// One thing that must hold for a node to be ready.
pub(super) struct Check {
    pub name: &'static str,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Desk {
    /// Everything that must hold for this node to be ready.
    pub(super) fn checks(&self) -> Vec<Check> {
        let health = self.broker.health();
        let stage = self.broker.life.stage();
        let check = |name, holds: bool, fault: &str| Check { name, fault: (!holds).then(|| fault.to_owned()) };
        let away = health.store.last_error.as_deref().unwrap_or("it does not answer");
        let mut checks = vec![
            check("running", stage == Stage::Running, stage.name()),
            check("store", health.store.is_reachable(), away),
            check("member", health.joined, "this node is no member of the cluster now"),
        ];
        if !health.is_ready() && checks.iter().all(|check| check.fault.is_none()) {
            checks.push(Check { name: "health", fault: Some(health.errors.join("; ")) });
        }
        checks
    }

    pub(super) fn is_ready(&self) -> bool {
        self.checks().iter().all(|check| check.fault.is_none())
    }
}

/// `?verbose` lists the checks; its value does not matter.
#[derive(Deserialize)]
struct Options {
    verbose: Option<String>,
}

async fn live(State(desk): Shared, Query(options): Query<Options>) -> Response {
    let checks = [Check { name: "process", fault: None }];
    answer(StatusCode::OK, options.verbose.is_some(), &checks, &desk)
}

async fn ready(State(desk): Shared, Query(options): Query<Options>) -> Response {
    let checks = desk.checks();
    let is_ready = checks.iter().all(|check| check.fault.is_none());
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // What is wrong is said without being asked for: somebody looks for it.
    answer(code, options.verbose.is_some() || !is_ready, &checks, &desk)
}

fn answer(code: StatusCode, verbose: bool, checks: &[Check], desk: &Desk) -> Response {
    let mut text = String::new();
    for check in checks.iter().filter(|_| verbose) {
        text += &match &check.fault {
            None => format!("[+] {} ok\n", check.name),
            Some(fault) => format!("[-] {} failed: {fault}\n", check.name),
        };
    }
    if verbose {
        text += &format!("node {}: ", desk.settings.node);
    }
    text += if code == StatusCode::OK { "ok\n" } else { "not ready\n" };
    plain(code, text)
}

pub(super) fn plain(code: StatusCode, text: String) -> Response {
    (code, [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

/// The state of a node, with the field names of the Python package `mqttd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `healthy` or `degraded`.
    pub status: &'static str,
    /// It takes Clients.
    pub running: bool,
    pub connections: usize,
    /// `None`: no limit.
    pub max_connections: Option<usize>,
    /// Redis answers; false when the Store is in memory.
    pub redis_connected: bool,
    pub errors: Vec<String>,
}

/// Each field true at the moment of asking. `connections_max` is zero where there is no limit.
pub fn health_of(broker: &Broker, connections_max: usize) -> Health {
    let (health, stage) = (broker.health(), broker.life.stage());
    let mut errors = health.errors;
    errors.extend((stage > Stage::Running).then(|| format!("this node is {}", stage.name())));
    Health {
        status: if errors.is_empty() { "healthy" } else { "degraded" },
        running: broker.life.takes_connections(),
        connections: broker.metrics.connections.load(Relaxed),
        max_connections: (connections_max > 0).then_some(connections_max),
        redis_connected: broker.store().is_shared() && health.store.is_reachable(),
        errors,
    }
}

async fn health(State(desk): Shared) -> Response {
    let mut body = json!(health_of(&desk.broker, desk.settings.connections_max));
    body["node"] = desk.settings.node.as_str().into();
    body["store"] = desk.broker.store().kind().into();
    body["stage"] = desk.broker.life.stage().name().into();
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

async fn status(State(desk): Shared) -> Response {
    let is_ready = desk.is_ready();
    let (code, is) = if is_ready { (StatusCode::OK, "running") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_running") };
    plain(code, format!("Node {} is started\nmqttd is {is}\n", desk.settings.node))
}
