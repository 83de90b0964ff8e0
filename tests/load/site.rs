//! Where a scenario takes place: at one broker, or at two nodes of ours on a Redis of their own.

use std::thread;
use std::time::Duration;

use mqttd::hook::client::Transport;
use mqttd_tests::redis::{self, Redis};

use crate::broker::{Broker, Kind};

/// A node hears of those that came after it with its next beat, once a second.
const BEATS: Duration = Duration::from_millis(1500);

/// It ends with this value, and with it every connection.
pub(crate) struct Site {
    brokers: Vec<Broker>,
    redis: Option<Redis>,
}

impl Site {
    pub(crate) fn alone(kind: Kind, transport: Transport) -> Result<Site, String> {
        Ok(Site { brokers: vec![Broker::start(kind, transport)?], redis: None })
    }

    /// Two nodes that know each other.
    pub(crate) fn cluster() -> Result<Site, String> {
        let redis = Redis::start().ok_or("redis-server does not start")?;
        let brokers = ["one", "two"].map(|name| Broker::node(name, &redis.url()));
        let brokers = brokers.into_iter().collect::<Result<_, String>>()?;
        thread::sleep(BEATS);
        Ok(Site { brokers, redis: Some(redis) })
    }

    pub(crate) fn publish_at(&self) -> &Broker {
        &self.brokers[0]
    }

    /// In a cluster this is the other node.
    pub(crate) fn subscribe_at(&self) -> &Broker {
        &self.brokers[self.brokers.len() - 1]
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

/// Why there can be no two nodes here.
pub(crate) fn lacking_redis() -> Option<String> {
    (!redis::is_installed()).then(|| "there is no redis-server on the PATH (Debian: apt install redis-server)".to_owned())
}
