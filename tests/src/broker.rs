//! The broker under test: a node in this process on a port of its own, or the one that `MQTTD_TEST_TARGET` names.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use mqttd::config::{self, Config, ListenUrl, Scheme, StoreUrl};
use mqttd::hook::client::Transport;
use mqttd::metrics::Metrics;
use mqttd::node::Node;
use mqttd::packet::Version;
use mqttd::{Builder, Handle};
use tokio::sync::oneshot;

use crate::auth::Auth;
use crate::bridge;
use crate::build::message;
use crate::certificates::{self, Folder};
use crate::client::Client;
use crate::connecting::Connecting;
use crate::http::Admin;
use crate::redis::Redis;
use crate::unique;
use crate::way::Way;

pub struct Broker {
    address: SocketAddr,
    addresses: Vec<(Transport, SocketAddr)>,
    shared: Option<Arc<mqttd::broker::Broker>>,
    renew: Option<Arc<tokio::sync::Notify>>,
    admin: Option<SocketAddr>,
    /// Where its certificates are.
    folder: Option<Folder>,
    running: Option<Running>,
    auth: Option<Auth>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Broker {
    /// The one that tests share as long as they need no configuration of their own. `MQTTD_TEST_TARGET=HOST:PORT` puts another
    /// broker in its place.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var("MQTTD_TEST_TARGET") {
            Ok(target) => {
                let address: SocketAddr = target.parse().expect("MQTTD_TEST_TARGET is an address and a port");
                bridge::lead(address, Way::new(bridge::asked_for()));
                let addresses = vec![(bridge::asked_for(), address)];
                Broker { address, addresses, shared: None, renew: None, admin: None, auth: None, folder: None, running: None }
            }
            Err(_) => Broker::start(),
        })
    }

    /// A node of its own with the default configuration; its Store is on a real Redis when `MQTTD_TEST_STORE=redis`.
    pub fn start() -> Broker {
        Broker::with(|_| {})
    }

    /// A node of its own, with what `change` makes of the default configuration. It ends when this value is dropped.
    pub fn with(change: impl FnOnce(&mut Config)) -> Broker {
        Broker::over(&[bridge::asked_for()], change)
    }

    /// As [`Broker::with`], listening over each of these transports; clients of the kit come over the first.
    pub fn over(transports: &[Transport], change: impl FnOnce(&mut Config)) -> Broker {
        let mut config =
            Config { listen: transports.iter().copied().map(listen).collect(), admin: config::Admin::Off, ..Config::default() };
        if std::env::var("MQTTD_TEST_STORE").is_ok_and(|store| store == "redis") {
            let redis = Redis::shared().expect("MQTTD_TEST_STORE=redis needs a redis-server on the PATH");
            config.store.url = StoreUrl::Redis(redis.url());
            config.store.prefix = unique("test");
            config.node.id = Some("node".to_owned());
        }
        change(&mut config);
        let urls = config.listen.iter().chain(config.listener.0.iter().map(|listener| &listener.url));
        let folder = (config.tls.certificates.is_empty() && urls.into_iter().any(|url| url.scheme.is_tls())).then(|| Folder::new("tls"));
        if let Some(folder) = &folder {
            let (certificate, key) = certificates::localhost(folder.path());
            (config.tls.certificates, config.tls.keys) = (vec![certificate], vec![key]);
        }
        let (mut broker, _) = Broker::of(async move { Node::bind(&config).await.expect("the node binds") });
        broker.folder = folder;
        broker
    }

    /// A node that is a part of this program, on a port of its own, with the hooks of its builder.
    pub fn embed(builder: Builder) -> (Broker, Handle) {
        Broker::embed_at("tcp://127.0.0.1:0", builder)
    }

    /// The same, with an administration that answers.
    pub fn embed_administered(builder: Builder) -> (Broker, Handle) {
        let builder = builder.listen("tcp://127.0.0.1:0").set("admin", "127.0.0.1:0");
        Broker::of(async move { builder.bind().await.expect("the node binds") })
    }

    /// The same, listening at this URL.
    pub fn embed_at(url: &str, builder: Builder) -> (Broker, Handle) {
        let builder = builder.listen(url).set("admin", "off");
        Broker::of(async move { builder.bind().await.expect("the node binds") })
    }

    fn of(bind: impl Future<Output = Node> + Send + 'static) -> (Broker, Handle) {
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime starts");
            runtime.block_on(async {
                let node = bind.await;
                let (addresses, admin) = (node.addresses().to_vec(), node.admin_addresses().first().copied());
                let own = (node.broker().clone(), node.renew(), node.handle(), Auth::new(node.auth().clone()));
                bound.send((addresses, admin, own)).expect("somebody waits for the address");
                node.run_until(async { drop(stopped.await) }).await;
            });
        });
        let (addresses, admin, (shared, renew, handle, auth)) = address.recv().expect("the node has an address");
        for (transport, address) in &addresses {
            bridge::lead(*address, Way::new(*transport));
        }
        let (address, running) = (addresses[0].1, Some(Running { stop, thread }));
        (Broker { address, addresses, shared: Some(shared), renew: Some(renew), admin, auth: Some(auth), folder: None, running }, handle)
    }

    /// Where it listens over this transport.
    #[track_caller]
    pub fn address_of(&self, transport: Transport) -> SocketAddr {
        self.addresses.iter().find(|(other, _)| *other == transport).expect("it listens over this transport").1
    }

    /// Where it listens, in the order of its configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.iter().map(|(_, address)| *address).collect()
    }

    /// What a node of this process counts.
    #[track_caller]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.as_ref().expect("a node of this process").metrics
    }

    /// Who follows what becomes of messages at a node of this process.
    #[track_caller]
    pub fn fates(&self) -> &mqttd::broker::fates::Fates {
        &self.shared.as_ref().expect("a node of this process").fates
    }

    /// Makes it read its certificates again, as SIGHUP does.
    #[track_caller]
    pub fn renew(&self) {
        self.renew.as_ref().expect("a node of this process").notify_one();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who may come in and what they may do, to be changed while it runs; and its metrics.
    #[track_caller]
    pub fn auth(&self) -> &Auth {
        self.auth.as_ref().expect("a node of this process")
    }

    /// A node whose administration answers, with what `change` makes of the configuration.
    pub fn administered(change: impl FnOnce(&mut Config)) -> Broker {
        Broker::with(|config| {
            config.admin = config::Admin::at("127.0.0.1", 0);
            change(config);
        })
    }

    /// Its administration, if it has one.
    #[track_caller]
    pub fn admin(&self) -> Admin {
        Admin::new(self.admin.expect("Broker::administered starts one whose administration answers"))
    }

    /// A client of this broker, about to connect.
    pub fn client(&self, version: Version) -> Connecting {
        Connecting::new(self.address, version)
    }

    /// A socket on which nothing has been sent.
    pub fn open(&self, version: Version) -> Client {
        Client::open(self.address, version)
    }

    /// Two connected clients: one to publish, one to subscribe.
    #[track_caller]
    pub fn pair(&self, version: Version) -> (Client, Client) {
        (self.client(version).connect(), self.client(version).connect())
    }

    /// Asks the node to end, and comes back at once; dropping it waits.
    pub fn stop(&mut self) -> JoinHandle<()> {
        let running = self.running.take().expect("a node of this process that runs");
        let _ = running.stop.send(());
        running.thread
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.running.is_some() {
            // A test that fails may still hold clients; its own message is the better one.
            let _ = self.stop().join();
        }
    }
}

/// On this machine, on a port that the system picks.
fn listen(transport: Transport) -> ListenUrl {
    let scheme = match transport {
        Transport::Tcp => Scheme::Tcp,
        Transport::Tls => Scheme::Tls,
        Transport::WebSocket => Scheme::Ws,
        Transport::SecureWebSocket => Scheme::Wss,
        Transport::Quic => Scheme::Quic,
    };
    ListenUrl::new(scheme, "127.0.0.1", 0)
}

/// A client of the shared broker, about to connect.
pub fn client(version: Version) -> Connecting {
    Broker::shared().client(version)
}

/// A socket to the shared broker on which nothing has been sent.
pub fn open(version: Version) -> Client {
    Broker::shared().open(version)
}

/// Two connected clients of the shared broker: one to publish, one to subscribe.
#[track_caller]
pub fn pair(version: Version) -> (Client, Client) {
    Broker::shared().pair(version)
}

/// Lets time pass on the broker and comes back after at least so many seconds, by its own clock: a Will that it has to delay.
#[track_caller]
pub fn pass(broker: &Broker, seconds: u32) {
    let topic = unique("clock");
    let mut watcher = broker.client(Version::V5).connect();
    watcher.subscribe(&topic, 0);
    broker.client(Version::V5).expiry(seconds + 60).will_after(seconds, message(&topic, "now")).connect().cut();
    watcher.expect_publish(message(&topic, "now"));
}
