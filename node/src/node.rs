//! The node: puts the parts together, binds, runs, ends. The only room that reads the configuration.

pub(crate) mod admission;
mod bridge;
pub mod builder;
pub mod handle;
mod listeners;
pub mod opener;
pub(crate) mod settings;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::admin;
use crate::auth::doors::Doors;
use crate::auth::guard::House;
use crate::auth::policy::Policy;
use crate::bridge as pub_sub;
use crate::broker::membership::Joined;
use crate::broker::{self, Broker};
use crate::clock::Clock;
use crate::config::{Admin, Config, ListenUrl};
use crate::hook::client::Transport;
use crate::hook::hooks::Hooks;
use crate::listener::hall::Hall;
use crate::listener::{self, Bound};
use crate::mcp;
use crate::node::handle::Handle;
use crate::node::opener::Opener;
use crate::store::redis::link::address::Address;

/// How long sockets may take to close when every Session is given back.
const LAST_WORDS: Duration = Duration::from_secs(3);

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
    opener: Opener,
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
        let mut config = config.clone();
        settings::give_name(&mut config);
        let config = &config;
        let doors = doors(&config.admin).await?;
        let house = Arc::new(House::new(admission::settings(config)?, admission::bounds(config)).map_err(io::Error::other)?);
        let mut broker = Broker::new(
            Arc::new(settings::protocol(config)),
            house.clone(),
            settings::store(config),
            settings::limits(config),
            Clock::start(),
        );
        broker.hooks = hooks;
        broker.name = settings::name(config).into();
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
        let opener = Opener::new(config)?;
        let admin = admin::Settings {
            token: opener.watch(),
            limits: admin::Limits {
                messages_max: config.session.queue_messages_max,
                subscriptions_per_client_max: config.limits.subscriptions_per_client_max,
                mailbox_messages_max: config.limits.mailbox_messages_max,
            },
            node: settings::name(config),
            connections_max: config.limits.connections_max,
        };
        let auth = Doors::open(house, broker.clone()).await;
        let (requests, bridge) = (settings::requests(config)?, bridge::settings(config)?);
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
            opener,
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

    /// Its listeners, in the same order.
    pub fn listeners(&self) -> impl Iterator<Item = &listener::Settings> {
        self.listeners.iter().map(Bound::settings)
    }

    /// Who may come in, and what they may do, while it runs.
    pub fn auth(&self) -> &Doors {
        &self.auth
    }

    /// Every time it is notified, all certificates are read again, also those whose files look as before.
    pub fn renew(&self) -> Arc<Notify> {
        self.renew.clone()
    }

    /// What opens its REST API, to be read again.
    pub fn opener(&self) -> Opener {
        self.opener.clone()
    }

    /// What its connections share, its counters among them.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Whether the files that listeners need are right, those that say who may come in, the token of the API, how Redis is named, and what
    /// belongs together, without binding anything.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn check(config: &Config) -> io::Result<()> {
        listeners::check(config)?;
        bridge::settings(config)?;
        settings::requests(config)?;
        Opener::check(config)?;
        if let Some(redis) = settings::redis(config) {
            let address = Address::parse(&redis.url).and_then(|address| address.with(redis.access));
            address.map_err(|error| io::Error::other(format!("{}: {error}", config.store.url)))?;
        }
        Policy::read(admission::settings(config)?).map(drop).map_err(io::Error::other)
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
        loop {
            while !self.broker.leave().await {}
            stopping.send_replace(true);
            if self.broker.send_away().await {
                break;
            }
        }
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

fn at(place: &dyn std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}
