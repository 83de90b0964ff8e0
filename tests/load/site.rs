//! Where a scenario takes place: at one broker, or at two nodes of ours on a Redis of their own.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use mqttd_tests::redis::Redis;

use crate::broker::{Broker, Kind};

/// A node hears of those that came after it with its next beat, once a second.
const BEATS: Duration = Duration::from_millis(1500);

/// It ends with this value, and with it every connection.
pub(crate) struct Site {
    brokers: Vec<Broker>,
    redis: Option<Redis>,
}

impl Site {
    pub(crate) fn alone(kind: Kind) -> Result<Site, String> {
        Ok(Site { brokers: vec![Broker::start(kind)?], redis: None })
    }

    /// Nothing where there is no redis-server.
    pub(crate) fn cluster() -> Result<Option<Site>, String> {
        let Some(redis) = Redis::start() else { return Ok(None) };
        let brokers = ["one", "two"].map(|name| Broker::node(name, &redis.url()));
        let brokers = brokers.into_iter().collect::<Result<_, String>>()?;
        thread::sleep(BEATS);
        Ok(Some(Site { brokers, redis: Some(redis) }))
    }

    pub(crate) fn publish_at(&self) -> SocketAddr {
        self.brokers[0].address()
    }

    /// In a cluster this is the other node.
    pub(crate) fn subscribe_at(&self) -> SocketAddr {
        self.brokers[self.brokers.len() - 1].address()
    }

    /// Of all brokers together.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.brokers.iter().map(Broker::cpu_s).sum()
    }

    /// What Redis has used of it, where there is one.
    pub(crate) fn redis_cpu_s(&self) -> Option<f64> {
        let info: String = self.redis.as_ref()?.query(&["INFO", "cpu"]);
        let used = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        Some(used("used_cpu_user:")? + used("used_cpu_sys:")?)
    }
}
