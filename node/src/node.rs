//! The node: puts the parts together, binds, runs, ends. The only room that reads the configuration.

mod admission;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::admin;
use crate::auth::doors::Doors;
use crate::auth::guard::House;
use crate::broker::mailbox::Bounds;
use crate::broker::{self, Broker};
use crate::clock::Clock;
use crate::config::keys::OverRate;
use crate::config::{Admin, Config, ListenUrl, StoreUrl};
use crate::connection::Patience;
use crate::listener;
use crate::packet::QoS;
use crate::session::settings::Settings;
use crate::store::Store;
use crate::store::memory::{self, Memory};
use crate::store::redis::{self, Redis};
use crate::time::Span;

/// How long sockets may take to close when every Session is given back.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Of a node that has no name.
const NAME_DEFAULT: &str = "node";

/// Why a node has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Asked,
    /// It has lost its place in the cluster: begun again, it joins as another incarnation.
    Expelled,
}

/// A broker that is bound and not yet running.
pub struct Node {
    broker: Arc<Broker>,
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    patience: Patience,
    sys_interval: Option<Duration>,
    auth: Doors,
    doors: Vec<TcpListener>,
    admin: admin::Settings,
}

/// Makes a node that is ending do so without taking its time.
#[derive(Clone, Debug)]
pub struct Haste(Arc<Broker>);

impl Haste {
    pub fn hurry(&self) {
        self.0.life.hurry();
    }
}

impl Node {
    /// Puts a node together and binds its listeners. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be resolved or bound; a Store that cannot be reached or relied on.
    pub async fn bind(config: &Config) -> io::Result<Node> {
        let house = Arc::new(House::new(admission::settings(config)?, admission::bounds(config)).map_err(io::Error::other)?);
        let doors = doors(&config.admin).await?;
        let store = store(config).await?;
        let clock = match store.cluster() {
            Some(cluster) => Clock::start_at(cluster.time().await.map_err(|error| io::Error::other(format!("{error:?}")))?),
            None => Clock::start(),
        };
        let mut broker = Broker::new(Arc::new(settings(config)), house.clone(), store, broker_limits(config), clock);
        broker.metrics.auth = house.counts.clone();
        let broker = Arc::new(broker);
        let auth = Doors::open(house, broker.clone()).await.map_err(io::Error::other)?;
        broker.join().await.map_err(|error| io::Error::other(format!("the routing table cannot be loaded: {error:?}")))?;
        let mut listeners = Vec::new();
        for url in &config.listen {
            for address in resolve(url).await? {
                listeners.push(listener::tcp::bind(address).map_err(|error| at(&address, &error))?);
            }
        }
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let patience = Patience {
            connect: Duration::from_secs(config.limits.connect_timeout_s.into()),
            write: Duration::from_secs(config.limits.write_timeout_s.into()),
            connections_max: config.limits.connections_max,
        };
        let sys_interval = (config.protocol.sys_interval_s > 0).then(|| Duration::from_secs(config.protocol.sys_interval_s.into()));
        let admin = admin::Settings {
            node: config.node.id.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned()),
            connections_max: config.limits.connections_max,
        };
        Ok(Node { broker, listeners, addresses, patience, sys_interval, doors, admin, auth })
    }

    /// Where the node listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Who may come in, and what they may do, while it runs.
    pub fn auth(&self) -> &Doors {
        &self.auth
    }

    /// Where the administration answers; nowhere when it is off.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(|door| door.local_addr().ok()).collect()
    }

    /// For whoever asks it to end a second time.
    pub fn haste(&self) -> Haste {
        Haste(self.broker.clone())
    }

    /// Runs until `stop` is ready. Then the node is not ready any more, after the grace it accepts no more connections, its clients are sent
    /// away over the time of the drain, and when all have left, or were given up, it leaves the cluster.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Ended {
        let (stopping, stopped) = watch::channel(false);
        let (open, mut all_closed) = mpsc::channel::<()>(1);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(broker::reaper::run(self.broker.clone()));
        tasks.spawn(self.auth.clone().watch());
        if let Some(interval) = self.sys_interval {
            tasks.spawn(broker::sys::run(self.broker.clone(), interval));
        }
        if !self.doors.is_empty() {
            tasks.spawn(admin::run(self.doors, self.broker.clone(), self.admin));
        }
        for listener in self.listeners {
            tokio::spawn(listener::run(listener, self.broker.clone(), self.patience, stopped.clone(), open.clone()));
        }
        drop((open, stopped));
        let (broker, news) = (self.broker.clone(), self.broker.store().take_news());
        // A task: the others wait for what this node applies as long as it is a member.
        let (hears, mut expelled) = mpsc::channel::<()>(1);
        tasks.spawn(async move {
            let _hears = hears;
            match news {
                Some(news) => broker::inbox::run(broker, news).await,
                None => std::future::pending().await,
            }
        });
        let ended = tokio::select! {
            () = stop => Ended::Asked,
            _ = expelled.recv() => Ended::Expelled,
        };
        if ended == Ended::Expelled {
            self.broker.life.hurry();
        }
        // Nobody calls off the end of the process: a drain that was called off begins again.
        while !self.broker.leave().await {}
        let _ = stopping.send(true);
        while !self.broker.send_away().await && self.broker.leave().await {}
        let _ = tokio::time::timeout(LAST_WORDS, all_closed.recv()).await;
        if let Some(cluster) = self.broker.store().cluster() {
            let _ = cluster.leave().await;
        }
        ended
    }
}

/// Binds where the administration answers. The default address may be taken, by another node on this machine for example: then this one runs
/// without, for nobody has asked for it. Any other address was asked for.
async fn doors(admin: &Admin) -> io::Result<Vec<TcpListener>> {
    let Admin::At { host, port } = admin else { return Ok(Vec::new()) };
    let mut doors = Vec::new();
    for address in resolve(&ListenUrl::tcp(host, *port)).await? {
        match listener::tcp::bind(address) {
            Ok(door) => doors.push(door),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && *admin == Config::default().admin => {
                tracing::warn!("{address} is taken: this node runs without its administration; --admin gives it another address");
            }
            Err(error) => return Err(at(&address, &error)),
        }
    }
    Ok(doors)
}

/// A host may have several addresses; no host is every address of the machine.
async fn resolve(url: &ListenUrl) -> io::Result<Vec<SocketAddr>> {
    if url.host.is_empty() {
        let ipv4 = SocketAddr::from(([0, 0, 0, 0], url.port));
        let ipv6 = SocketAddr::from(([0u16; 8], url.port));
        // A machine without IPv6 has only the one; and two listeners cannot share a port that the system picks.
        let both = url.port != 0 && std::net::TcpListener::bind(ipv6.to_string().replace(&format!(":{}", url.port), ":0")).is_ok();
        return Ok(if both { vec![ipv4, ipv6] } else { vec![ipv4] });
    }
    let host = url.host.trim_matches(['[', ']']);
    let addresses: Vec<_> = tokio::net::lookup_host((host, url.port)).await.map_err(|error| at(&url, &error))?.collect();
    // `localhost` may be named for both families; with a port that the system picks only the first can be meant.
    Ok(if url.port == 0 { addresses.into_iter().take(1).collect() } else { addresses })
}

fn at(place: &dyn std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

fn settings(config: &Config) -> Settings {
    let (limits, session, protocol) = (&config.limits, &config.session, &config.protocol);
    Settings {
        receive_maximum: session.receive_maximum,
        in_flight_max: session.inflight_max,
        packet_bytes_max: limits.packet_bytes_max,
        topic_alias_maximum: protocol.topic_alias_maximum,
        topic_alias_outbound_max: protocol.topic_alias_outbound_max,
        topic_levels_max: if limits.topic_levels_max == u16::MAX { usize::MAX } else { limits.topic_levels_max.into() },
        topic_bytes_max: limits.topic_bytes_max.into(),
        client_id_bytes_max: limits.client_id_bytes_max.into(),
        maximum_qos: QoS::from_bits(protocol.maximum_qos).unwrap_or(QoS::ExactlyOnce),
        retain_available: protocol.retain_available,
        wildcard_available: protocol.wildcard_available,
        shared_available: protocol.shared_available,
        subscription_ids_available: protocol.subscription_ids_available,
        keep_alive_max_s: protocol.keep_alive_max_s,
        server_keep_alive_s: protocol.server_keep_alive_s,
        expiry_max_s: session.expiry_max_s,
        v3_expiry_s: session.v3_expiry_s,
        response_information: protocol.response_information.as_deref().map(Into::into),
        server_reference: protocol.server_reference.as_deref().map(Into::into),
    }
}

fn broker_limits(config: &Config) -> broker::Limits {
    let mailbox = Bounds { messages_max: config.limits.mailbox_messages_max, bytes_max: config.limits.mailbox_bytes_max };
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let drain = broker::life::Settings {
        grace: seconds(config.drain.grace_s),
        time: seconds(config.drain.time_s),
        wills_wait: Span::seconds(config.drain.wills_wait_s),
        moved: config.drain.moved,
    };
    let limits = &config.limits;
    broker::Limits {
        rates: broker::Rates {
            messages_per_second_max: limits.messages_per_second_max,
            bytes_per_second_max: limits.bytes_per_second_max,
            subscriptions_per_minute_max: limits.subscriptions_per_minute_max,
            drops: limits.over_rate == OverRate::Drop,
        },
        addresses: broker::addresses::Limits {
            connections_max: limits.connections_per_address_max,
            connections_per_second_max: limits.connections_per_second_per_address_max,
        },
        mailbox,
        subscriptions_per_client_max: limits.subscriptions_per_client_max,
        drain,
    }
}

async fn store(config: &Config) -> io::Result<Store> {
    let StoreUrl::Redis(url) = &config.store.url else { return Ok(Store::Memory(Memory::new(limits(config)))) };
    let settings = redis::Settings {
        url: url.clone(),
        prefix: config.store.prefix.clone(),
        node: config.node.id.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned()),
        limits: redis::Limits {
            queue_messages_max: config.session.queue_messages_max as u64,
            retained_max: config.store.retained_max as u64,
        },
        cluster: redis::cluster::settings::Settings::of_lease(Duration::from_secs(config.cluster.lease_s.into())),
    };
    Redis::connect(settings).await.map(Store::Redis).map_err(|error| io::Error::other(format!("{}: {error}", config.store.url)))
}

fn limits(config: &Config) -> memory::Limits {
    memory::Limits {
        queue_messages_max: config.session.queue_messages_max as u64,
        queue_bytes_max: config.session.queue_bytes_max as u64,
        messages_max: config.store.messages_max as u64,
        bytes_max: config.store.bytes_max as u64,
        retained_max: config.store.retained_max as u64,
        ..memory::Limits::default()
    }
}
