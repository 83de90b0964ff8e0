//! The node: puts the parts together, binds, runs, ends. The only room that reads the configuration.

pub(crate) mod admission;
mod bridge;
pub mod builder;
pub mod handle;
mod listeners;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::admin;
use crate::auth::doors::Doors;
use crate::auth::guard::House;
use crate::bridge as pub_sub;
use crate::broker::mailbox::Bounds;
use crate::broker::membership::Joined;
use crate::broker::{self, Broker};
use crate::clock::Clock;
use crate::config::keys::OverRate;
use crate::config::user::{Secret, read_secret};
use crate::config::{self, Admin, Config, ListenUrl, StoreUrl};
use crate::hook::client::Transport;
use crate::hook::hooks::Hooks;
use crate::listener::hall::Hall;
use crate::listener::{self, Bound};
use crate::mcp;
use crate::node::handle::Handle;
use crate::packet::QoS;
use crate::session::settings::Settings;
use crate::store::Store;
use crate::store::memory::{self, Memory};
use crate::store::redis::link::address::Access;
use crate::store::redis::link::settings::Durability;
use crate::store::redis::link::tls::Tls;
use crate::store::redis::{self, joining::Joining};
use crate::time::Span;
use crate::topic::filter::TopicFilter;

/// How long sockets may take to close when every Session is given back.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Of a node that has no name.
const NAME_DEFAULT: &str = "node";

/// A broker that is bound and not yet running.
pub struct Node {
    broker: Arc<Broker>,
    /// `None`: its Store could not be reached yet.
    joined: Option<Joined>,
    listeners: Vec<Bound>,
    addresses: Vec<(Transport, SocketAddr)>,
    hall: Arc<Hall>,
    renew: Arc<Notify>,
    sys_interval: Option<Duration>,
    requests: mcp::Settings,
    bridge: Option<pub_sub::Settings>,
    routes: mcp_worker_sdk::Routes,
    auth: Doors,
    doors: Vec<TcpListener>,
    admin: admin::Settings,
    handle: Handle,
    /// Told when the node has ended.
    ends: watch::Sender<bool>,
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
    /// An address that cannot be resolved or bound; a Store that cannot be relied on. One that cannot be reached is waited for while the node
    /// runs: until then it refuses Clients (0x88), and is not ready.
    pub async fn bind(config: &Config) -> io::Result<Node> {
        Node::assemble(config, Hooks::default(), mcp_worker_sdk::Routes::default()).await
    }

    /// As [`Node::bind`], with the functions of an embedding program.
    async fn assemble(config: &Config, hooks: Hooks, routes: mcp_worker_sdk::Routes) -> io::Result<Node> {
        let doors = doors(&config.admin).await?;
        let house = Arc::new(House::new(admission::settings(config)?, admission::bounds(config)).map_err(io::Error::other)?);
        let mut broker = Broker::new(Arc::new(settings(config)), house.clone(), store(config), broker_limits(config), Clock::start());
        broker.hooks = hooks;
        broker.name = config.node.id.as_deref().unwrap_or(NAME_DEFAULT).into();
        broker.tells_of_clients = config.protocol.sys_interval_s > 0;
        house.counts.join(&mut broker.metrics);
        let broker = Arc::new(broker);
        let joined = match broker.join().await {
            Ok(joined) => joined,
            Err(error) if error.passes() => {
                tracing::warn!("{}: {error}; trying again, and clients are refused (0x88) until then", config.store.url);
                None
            }
            Err(error) => return Err(io::Error::other(format!("{}: {error}", config.store.url))),
        };
        let listeners = listeners::bind(config).await?;
        let address = |bound: &Bound| Ok((bound.transport(), bound.address()?));
        let addresses = listeners.iter().map(address).collect::<io::Result<_>>()?;
        let hall = Arc::new(Hall::new(config.limits.connecting_max));
        let sys_interval = (config.protocol.sys_interval_s > 0).then(|| Duration::from_secs(config.protocol.sys_interval_s.into()));
        let admin = admin::Settings {
            token: token(config)?,
            limits: admin::Limits {
                messages_max: config.session.queue_messages_max,
                subscriptions_per_client_max: config.limits.subscriptions_per_client_max,
                mailbox_messages_max: config.limits.mailbox_messages_max,
            },
            node: config.node.id.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned()),
            connections_max: config.limits.connections_max,
        };
        let auth = Doors::open(house, broker.clone()).await;
        let (requests, bridge) = (requests(config)?, bridge::settings(config)?);
        let (ends, ended) = watch::channel(false);
        let (asked, connections_max) = (Arc::new(watch::Sender::new(false)), config.limits.connections_max);
        let handle = Handle { broker: broker.clone(), connections_max, asked, ended };
        Ok(Node {
            broker,
            joined,
            listeners,
            addresses,
            hall,
            renew: Arc::default(),
            sys_interval,
            auth,
            doors,
            admin,
            handle,
            ends,
            requests,
            bridge,
            routes,
        })
    }

    /// Where the node listens, in the order of the configuration.
    pub fn addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.addresses
    }

    /// Who may come in, and what they may do, while it runs.
    pub fn auth(&self) -> &Doors {
        &self.auth
    }

    /// Every time it is notified, all certificates are read again, also those whose files look as before.
    pub fn renew(&self) -> Arc<Notify> {
        self.renew.clone()
    }

    /// What its connections share, its counters among them.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Whether the files that listeners need, and what belongs together, are right, without binding anything.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn check(config: &Config) -> io::Result<()> {
        bridge::settings(config)?;
        listeners::check(config)
    }

    /// Where the administration answers; nowhere when it is off.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.doors.iter().filter_map(|door| door.local_addr().ok()).collect()
    }

    /// For the program around it, also before it runs and while it does.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// For whoever asks it to end a second time.
    pub fn haste(&self) -> Haste {
        Haste(self.broker.clone())
    }

    /// Runs until `stop` is ready. Then the node is not ready any more, after the grace it accepts no more connections, its clients are sent
    /// away over the time of the drain, and when all have left, or were given up, it leaves the cluster.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let (open, mut all_closed) = mpsc::channel::<()>(1);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(broker::reaper::run(self.broker.clone()));
        tasks.spawn(broker::census::run(self.broker.clone()));
        tasks.spawn(self.auth.clone().watch());
        if let Some(interval) = self.sys_interval {
            tasks.spawn(broker::sys::run(self.broker.clone(), interval));
        }
        // Before the first connection: a request that nobody takes would be a message as any other.
        let _requests = mcp::start(&self.broker, self.requests, self.routes);
        let _bridge = self.bridge.map(|settings| pub_sub::start(&self.broker, settings));
        // Without doors too: other nodes ask this one.
        tasks.spawn(admin::run(self.doors, self.auth, self.admin));
        let house = listener::House { broker: self.broker.clone(), hall: self.hall, open };
        let renewals: Vec<_> = self.listeners.iter().filter_map(Bound::renewal).collect();
        if !renewals.is_empty() {
            tasks.spawn(listener::renew(renewals, self.renew));
        }
        for listener in self.listeners {
            tokio::spawn(listener.run(house.clone(), stopped.clone()));
        }
        drop((house, stopped));
        // To the end: the others wait for what this node applies as long as it is a member.
        tasks.spawn(broker::membership::run(self.broker.clone(), self.joined));
        let mut asked = self.handle.asked.subscribe();
        tokio::select! {
            () = stop => {}
            Ok(_) = asked.wait_for(|asked| *asked) => {}
        }
        // Nobody calls off the end of the process: a drain that was called off begins again.
        while !self.broker.leave().await {}
        let _ = stopping.send(true);
        while !self.broker.send_away().await && self.broker.leave().await {}
        let _ = tokio::time::timeout(LAST_WORDS, all_closed.recv()).await;
        if let Some(cluster) = self.broker.store().cluster() {
            let _ = cluster.leave().await;
        }
        self.ends.send_replace(true);
    }
}

/// Binds where the administration answers. The default address may be taken, by another node on this machine for example: then this one runs
/// without, for nobody has asked for it. Any other address was asked for.
async fn doors(admin: &Admin) -> io::Result<Vec<TcpListener>> {
    let Admin::At { host, port } = admin else { return Ok(Vec::new()) };
    let mut doors = Vec::new();
    for address in listeners::resolve(&ListenUrl::tcp(host, *port)).await? {
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

/// What opens the REST API to other machines.
fn token(config: &Config) -> io::Result<Option<String>> {
    let token = match (&config.api.token, &config.api.token_file) {
        (Some(_), Some(_)) => return Err(io::Error::other("both api.token and api.token_file are set; keep one")),
        (Some(token), None) => Some(token.reveal().to_owned()),
        (None, Some(file)) => Some(read_secret(Path::new(file)).map_err(io::Error::other)?),
        (None, None) => None,
    };
    match token {
        Some(token) if token.trim().is_empty() => Err(io::Error::other("the token of the API is empty")),
        token => Ok(token),
    }
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

fn requests(config: &Config) -> io::Result<mcp::Settings> {
    let mcp = &config.mcp;
    Ok(mcp::Settings {
        request_filters: filters(&mcp.request_filters)?,
        route_to_subscribers: mcp.route_to_subscribers,
        lanes: redis::requests::Lanes { channel: mcp.delivery != "streams", stream: mcp.delivery != "pubsub" },
        no_worker_is_error: mcp.no_worker == "error",
        timeout: Span::seconds(mcp.timeout_s),
        payload_bytes_max: mcp.payload_bytes_max,
        bounds: mcp::waiting::Bounds {
            in_flight_max: mcp.in_flight_max,
            in_flight_per_client_max: mcp.in_flight_per_client_max,
            rate_per_client_max: mcp.rate_per_client_max,
        },
    })
}

fn filters(texts: &[String]) -> io::Result<Vec<TopicFilter>> {
    let filter = |text: &String| TopicFilter::new(text).ok_or_else(|| io::Error::other(format!("{text:?} is no Topic Filter")));
    texts.iter().map(filter).collect()
}

fn store(config: &Config) -> Store {
    match redis(config) {
        Some(settings) => Store::Redis(Joining::new(settings)),
        None => Store::Memory(Memory::new(limits(config))),
    }
}

/// What this configuration says of Redis; `None` where the Store is another.
pub(crate) fn redis(config: &Config) -> Option<redis::Settings> {
    let StoreUrl::Redis(url) = &config.store.url else { return None };
    Some(redis::Settings {
        url: url.clone(),
        access: access(&config.store),
        durability: match config.store.durability {
            config::Durability::Relaxed => Durability::Relaxed,
            config::Durability::Replicated => Durability::Replicated {
                replicas: config.store.replicas.into(),
                within: Duration::from_millis(config.store.replicas_wait_ms.into()),
            },
            config::Durability::Fsync => Durability::Fsync,
        },
        prefix: config.store.prefix.clone(),
        bridge: config.bridge.enabled.then(|| config.bridge.prefix.clone()),
        node: config.node.id.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned()),
        limits: redis::Limits {
            queue_messages_max: config.session.queue_messages_max as u64,
            retained_max: config.store.retained_max as u64,
        },
        cluster: redis::cluster::settings::Settings {
            outage_max: Duration::from_secs(config.cluster.outage_s.into()),
            ..redis::cluster::settings::Settings::of_lease(Duration::from_secs(config.cluster.lease_s.into()))
        },
    })
}

fn access(store: &config::keys::Store) -> Access {
    let reveal = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
    let path = |text: &Option<String>| text.as_ref().map(Into::into);
    Access {
        user: store.user.clone(),
        password: reveal(&store.password),
        sentinel_user: store.sentinel_user.clone(),
        sentinel_password: reveal(&store.sentinel_password),
        tls: Tls {
            ca: path(&store.tls_ca),
            certificate: path(&store.tls_certificate),
            key: path(&store.tls_key),
            server_name: store.tls_server_name.clone(),
        },
    }
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
