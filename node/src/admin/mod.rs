//! What people and their tools ask a node over HTTP: probes, metrics, the REST API and the dashboard. It reads the broker and tells it what to
//! do; it holds no state of its own, and no packet passes through it.

mod door;
mod probes;

use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;

use crate::broker::Broker;
use door::Door;

/// What the room is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configured name of this node.
    pub node: String,
    /// 0: no limit.
    pub connections_max: usize,
}

/// What every answer is made from.
#[derive(Debug)]
struct Desk {
    broker: Arc<Broker>,
    settings: Settings,
}

type Shared = axum::extract::State<Arc<Desk>>;

/// Answers on these listeners for as long as it is polled.
pub async fn run(listeners: Vec<TcpListener>, broker: Arc<Broker>, settings: Settings) {
    let desk = Arc::new(Desk { broker, settings });
    let mut doors = tokio::task::JoinSet::new();
    for listener in listeners {
        let service = router(desk.clone());
        doors.spawn(async move { axum::serve(Door::new(listener), service).await });
    }
    while doors.join_next().await.is_some() {}
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new().merge(probes::routes()).with_state(desk)
}
