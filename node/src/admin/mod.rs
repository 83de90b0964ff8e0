//! What people and their tools ask a node over HTTP: probes, metrics, the REST API and the dashboard. It reads the broker and tells it what to
//! do; it holds no state of its own, and no packet passes through it.
//!
//! What concerns all nodes is asked of all of them, by way of Redis ([`questions`]): any node answers for the cluster, and says who did not.

mod access;
mod answers;
mod api;
mod door;
mod events;
mod page;
mod probes;
mod prometheus;
mod questions;
mod reply;
mod trace;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::auth::doors::Doors;
use crate::broker::Broker;
use crate::time::Time;
pub use access::Token;
use door::{Door, From};
pub use probes::{Health, health_of};
pub use questions::{Kicked, kick};
use reply::Problem;

/// What the room is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configured name of this node.
    pub node: String,
    /// Whoever shows this one may ask for everything. Without one only programs on this machine may.
    pub token: watch::Receiver<Option<Token>>,
    /// 0: no limit.
    pub connections_max: usize,
    pub limits: Limits,
}

/// Bounds of the node that are shown, and kept by others.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub messages_max: usize,
    pub subscriptions_per_client_max: usize,
    pub mailbox_messages_max: usize,
}

/// What every answer is made from.
#[derive(Debug)]
struct Desk {
    broker: Arc<Broker>,
    auth: Doors,
    settings: Settings,
    started: Time,
    latest: events::Latest,
}

type Shared = State<Arc<Desk>>;

/// Answers on these listeners, and what other nodes ask, for as long as it is polled.
pub async fn run(listeners: Vec<TcpListener>, auth: Doors, settings: Settings) {
    let broker = auth.broker().clone();
    let started = broker.clock.now();
    let desk = Arc::new(Desk { broker, auth, settings, started, latest: events::Latest::default() });
    let mut doors = tokio::task::JoinSet::new();
    for listener in listeners {
        let service = router(desk.clone()).into_make_service_with_connect_info::<From>();
        doors.spawn(async move { drop(axum::serve(Door::new(listener), service).await) });
    }
    doors.spawn(questions::answer_others(desk));
    while doors.join_next().await.is_some() {}
}

fn router(desk: Arc<Desk>) -> Router {
    let guarded = api::routes().merge(events::routes()).merge(trace::routes()).fallback(nothing).method_not_allowed_fallback(not_so);
    let guarded = guarded.layer(axum::middleware::from_fn_with_state(desk.clone(), access::guard));
    let open = probes::routes().merge(prometheus::routes()).merge(page::routes());
    open.nest("/api/v1", guarded).with_state(desk)
}

async fn nothing() -> Problem {
    Problem::not_found("there is nothing at this path; /api-docs/openapi.json lists what there is")
}

async fn not_so() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "not with this method; /api-docs/openapi.json lists what there is")
}
