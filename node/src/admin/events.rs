//! `events`: how the cluster is, every other second, as server-sent events. The dashboard lives on them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::api::all_nodes;
use super::questions::{Filter, Question};
use super::{Desk, Shared};

const INTERVAL: Duration = Duration::from_secs(2);

/// What is younger is told again. A little less than the interval, for no two ticks are quite so far apart.
const FRESH: Duration = Duration::from_millis(1900);

/// Slow clients that are named.
const SLOW_SHOWN: usize = 10;

/// Requests that are shown, those that are late first, and workers.
const REQUESTS_SHOWN: usize = 5;
const WORKERS_SHOWN: usize = 50;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/events", get(events))
}

async fn events(State(desk): Shared) -> Response {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = futures_util::stream::unfold((desk, ticks), |(desk, mut ticks)| async move {
        ticks.tick().await;
        let event = Event::default().event("state").data(desk.latest().await);
        Some((Ok::<_, Infallible>(event), (desk, ticks)))
    });
    ([(header::CACHE_CONTROL, "no-store"), (header::HeaderName::from_static("x-accel-buffering"), "no")], Sse::new(stream)).into_response()
}

/// What was told last, and when: all who look on share it.
pub(super) type Latest = Mutex<Option<(Instant, Arc<str>)>>;

impl Desk {
    /// However many look on, the cluster is asked once in an interval.
    async fn latest(self: &Arc<Desk>) -> Arc<str> {
        let mut latest = self.latest.lock().await;
        match &*latest {
            Some((at, state)) if at.elapsed() < FRESH => state.clone(),
            _ => {
                let asked = Instant::now();
                let state: Arc<str> = self.state().await.to_string().into();
                *latest = Some((asked, state.clone()));
                state
            }
        }
    }

    async fn state(self: &Arc<Desk>) -> serde_json::Value {
        let slow = Question::Clients { filter: Filter { slow: Some(true), ..Filter::default() }, reach: SLOW_SHOWN };
        let requests = Question::Requests { filter: Filter::default(), reach: REQUESTS_SHOWN };
        let (nodes, slow, mut requests) = tokio::join!(all_nodes(self), self.ask_all(&slow), self.ask_all(&requests));
        let count = requests.answers.iter().filter_map(|answer| answer["count"].as_u64()).sum::<u64>();
        let mut first: Vec<_> =
            requests.answers.iter_mut().filter_map(|answer| answer["data"].as_array_mut()).flat_map(std::mem::take).collect();
        first.sort_by(|a, b| a["deadline"].as_str().cmp(&b["deadline"].as_str()));
        first.truncate(REQUESTS_SHOWN);
        let mut workers = self.workers();
        let workers_count = workers.len();
        workers.truncate(WORKERS_SHOWN);
        let work = json!({ "requests": first, "requests_count": count, "workers": workers, "workers_count": workers_count });
        let slow: Vec<_> = slow.answers.iter().filter_map(|answer| answer["data"].as_array()).flatten().take(SLOW_SHOWN).collect();
        let retained = self.broker.store().stats().await.ok().map(|stats| stats.retained);
        json!({ "self": self.settings.node, "at": self.broker.clock.now().0, "nodes": nodes, "slow": slow, "work": work, "retained": retained })
    }
}
