//! What a worker is made of.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use redis::{ClientTlsConfig, TlsCertificates};

use crate::error::{Error, Kind};
use crate::handler::Handler;
use crate::reply::Failure;
use crate::routes::Routes;
use crate::wire::Names;
use crate::worker::Worker;
use crate::worker::address::{Access, Address};

/// How requests come to a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// A Redis Stream: each request goes to one worker of the group, and to another when that one dies.
    #[default]
    Stream,
    /// The channel of the plain contract: at most once, and workers claim what they hear. For nodes with `mcp.delivery = "pubsub"`.
    Channel,
}

/// All hands are taken at the end by a number of 32 bits.
const CONCURRENCY_MAX: usize = u32::MAX as usize;

pub(crate) type OnError = Arc<dyn Fn(&str, &Failure) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    pub(crate) names: Names,
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) concurrency: usize,
    pub(crate) delivery: Delivery,
    pub(crate) lease: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) drain_timeout: Duration,
    pub(crate) on_error: Option<OnError>,
    pub(crate) health_key: Option<String>,
    pub(crate) routes: Routes,
}

/// Makes a [`Worker`]; what is not said has a default.
#[derive(Clone)]
pub struct WorkerBuilder {
    redis_url: String,
    access: Access,
    prefix: String,
    name: Option<String>,
    group: Option<String>,
    concurrency: usize,
    delivery: Delivery,
    lease: Duration,
    max_attempts: u32,
    request_timeout: Option<Duration>,
    drain_timeout: Duration,
    on_error: Option<OnError>,
    health_key: Option<String>,
    routes: Routes,
    refused: Option<String>,
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder").field("routes", &self.routes).field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

impl Default for WorkerBuilder {
    fn default() -> WorkerBuilder {
        WorkerBuilder {
            redis_url: "redis://127.0.0.1:6379/".to_owned(),
            access: Access::default(),
            prefix: "mqttd".to_owned(),
            name: None,
            group: None,
            concurrency: 32,
            delivery: Delivery::default(),
            lease: Duration::from_secs(15),
            max_attempts: 3,
            request_timeout: None,
            drain_timeout: Duration::from_secs(30),
            on_error: None,
            health_key: None,
            routes: Routes::default(),
            refused: None,
        }
    }
}

impl WorkerBuilder {
    /// The Redis of the nodes, as their `store.url` says it: `redis://[user:password@]host[:port][/db]`,
    /// `redis+sentinel://[…@]host[:port],…/master[/db]` or `redis+cluster://[…@]host[:port],…`; each begins with `rediss` for TLS. Of a Cluster
    /// name several servers: any of them that lives leads to the others. Default: `redis://127.0.0.1:6379/`.
    pub fn redis_url(mut self, url: impl Into<String>) -> WorkerBuilder {
        self.redis_url = url.into();
        self
    }

    /// The password of Redis, as it is: for those who keep it apart from the address, as in a file. It wins over one in the address. With a user
    /// name in the address (`redis://user@host`) it is that user's.
    pub fn redis_password(mut self, password: impl Into<String>) -> WorkerBuilder {
        self.access.password = Some(password.into());
        self
    }

    /// The user name, which may be empty, and the password of the Sentinels: they have users of their own.
    pub fn sentinel_login(mut self, user: impl Into<String>, password: impl Into<String>) -> WorkerBuilder {
        self.access.sentinel = Some((user.into(), password.into()));
        self
    }

    /// The authorities, in PEM, that may have signed the certificate of Redis (`rediss://`). Default: those of this machine.
    pub fn redis_authorities(mut self, pem: impl Into<Vec<u8>>) -> WorkerBuilder {
        self.certificates().root_cert = Some(pem.into());
        self
    }

    /// What Redis is shown, where it wants to know its clients by certificates (`tls-auth-clients yes`): a certificate and its key, in PEM.
    pub fn redis_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> WorkerBuilder {
        self.certificates().client_tls = Some(ClientTlsConfig { client_cert: certificate.into(), client_key: key.into() });
        self
    }

    /// The name that the certificate of Redis is for (`rediss://`), where that is not the host of the address, as behind a tunnel or by an IP address.
    /// With Sentinels it is that of all of them and of all primaries. Not for a Cluster, whose servers name each other.
    pub fn redis_server_name(mut self, name: impl Into<String>) -> WorkerBuilder {
        self.access.server_name = Some(name.into());
        self
    }

    fn certificates(&mut self) -> &mut TlsCertificates {
        self.access.certificates.get_or_insert(TlsCertificates { client_tls: None, root_cert: None })
    }

    /// The `store.prefix` of the nodes. Default: `mqttd`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> WorkerBuilder {
        self.prefix = prefix.into();
        self
    }

    /// What this worker is called in Redis; no two that live may have one name. Default: the machine, the process and a number.
    pub fn name(mut self, name: impl Into<String>) -> WorkerBuilder {
        self.name = Some(name.into());
        self
    }

    /// Workers of one group share the work, so all of them have the same routes. Default: a name made from the routes, so that programs with the
    /// same routes share, and programs with different routes do not take each other's requests away.
    pub fn group(mut self, group: impl Into<String>) -> WorkerBuilder {
        self.group = Some(group.into());
        self
    }

    /// How many requests are worked on at once. Default: 32.
    pub fn concurrency(mut self, concurrency: usize) -> WorkerBuilder {
        self.concurrency = concurrency.clamp(1, tokio::sync::Semaphore::MAX_PERMITS.min(CONCURRENCY_MAX));
        self
    }

    /// Default: [`Delivery::Stream`].
    pub fn delivery(mut self, delivery: Delivery) -> WorkerBuilder {
        self.delivery = delivery;
        self
    }

    /// A request whose worker was not heard of for so long goes to another one. A worker that lives is heard of three times as often, however
    /// long its handler takes. Default: 15 s.
    pub fn lease(mut self, lease: Duration) -> WorkerBuilder {
        self.lease = lease.max(Duration::from_millis(100));
        self
    }

    /// As often a request is tried, when workers die or return [`Failure::retry`]; then the requester is told, and the request is put into the
    /// stream of dead letters. Default: 3.
    pub fn max_attempts(mut self, attempts: u32) -> WorkerBuilder {
        self.max_attempts = attempts.max(1);
        self
    }

    /// How long a handler may take; [`Request::extend`](crate::Request::extend) gives it more. Default: until the deadline of the requester.
    pub fn request_timeout(mut self, timeout: Duration) -> WorkerBuilder {
        self.request_timeout = Some(timeout);
        self
    }

    /// How long what runs may go on when the worker is asked to end; the rest is handed back. Default: 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> WorkerBuilder {
        self.drain_timeout = timeout;
        self
    }

    /// Is told the Topic Name and the failure whenever a requester gets an error in place of an answer.
    pub fn on_error(mut self, told: impl Fn(&str, &Failure) + Send + Sync + 'static) -> WorkerBuilder {
        self.on_error = Some(Arc::new(told));
        self
    }

    /// Where the worker says in Redis that it lives. Default: `PREFIX:mcp:worker:NAME`, where the nodes look.
    pub fn health_key(mut self, key: impl Into<String>) -> WorkerBuilder {
        self.health_key = Some(key.into());
        self
    }

    /// Answers requests whose Topic Name matches this Topic Filter. Of several that match, the most specific one answers.
    pub fn route(mut self, filter: &str, handler: impl Handler) -> WorkerBuilder {
        if !self.routes.add(filter, handler) {
            self.refused = Some(filter.to_owned());
        }
        self
    }

    /// # Errors
    /// No route, a route whose filter is no Topic Filter, or an address that is none.
    pub fn build(self) -> Result<Worker, Error> {
        if let Some(filter) = self.refused {
            return Err(Kind::Filter(filter).into());
        }
        if self.routes.is_empty() {
            return Err(Kind::NoRoute.into());
        }
        let address = Address::parse(&self.redis_url, self.access)?;
        let group = self.group.unwrap_or_else(|| group_of(&self.routes));
        Ok(Worker::new(Settings {
            address,
            names: Names::new(&self.prefix),
            name: self.name.unwrap_or_else(name),
            group,
            concurrency: self.concurrency,
            delivery: self.delivery,
            lease: self.lease,
            max_attempts: self.max_attempts,
            request_timeout: self.request_timeout,
            drain_timeout: self.drain_timeout,
            on_error: self.on_error,
            health_key: self.health_key,
            routes: self.routes,
        }))
    }
}

/// The same for the same filters, whatever their order, in every process.
fn group_of(routes: &Routes) -> String {
    let mut filters: Vec<_> = routes.filters().collect();
    filters.sort_unstable();
    // FNV-1a: the standard library's hash may change between its versions.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = filters.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("workers-{hash:016x}")
}

fn name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let machine = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let machine = machine.or_else(|| std::fs::read_to_string("/etc/hostname").ok()).unwrap_or_default();
    // Two machines may have one name, and process numbers come again.
    let mut random = DefaultHasher::new();
    std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), std::process::id()).hash(&mut random);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{:08x}-{number}", machine.trim(), std::process::id(), random.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;

    #[test]
    fn a_group_is_its_routes() {
        let of = |filters: &[&str]| {
            let mut routes = Routes::default();
            filters.iter().for_each(|filter| assert!(routes.add(filter, |_: Request| async { "" })));
            group_of(&routes)
        };
        assert_eq!(of(&["a", "b/#"]), of(&["b/#", "a"]));
        assert_ne!(of(&["a"]), of(&["b"]));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let echo = |r: Request| async move { r.payload };
        assert!(Worker::builder().build().unwrap_err().is_configuration());
        assert!(Worker::builder().route("a/#/b", echo).build().unwrap_err().is_configuration());
        assert!(Worker::builder().redis_url("nowhere").route("a", echo).build().unwrap_err().is_configuration());
        assert!(Worker::builder().route("a", echo).build().is_ok());
    }
}
