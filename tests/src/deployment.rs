//! Redis as it is deployed: alone, behind Sentinels, or as a Cluster, from real servers of a test's own.

use std::process::Child;
use std::sync::OnceLock;

use crate::cluster::until;
use crate::redis::{Redis, free_port};

/// How Redis is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Standalone,
    /// A primary, a replica, and three Sentinels, two of which have to agree.
    Sentinel,
    /// Three primaries.
    Cluster,
}

/// The servers of one kind. They end when this value is dropped.
pub struct Deployment {
    kind: Kind,
    /// The primaries first, then the replicas.
    pub servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

/// Primaries of a Cluster, and the first and last slot of each.
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];

impl Deployment {
    /// `None`, and a word about it, where there is no `redis-server`, as [`Redis::start`].
    pub fn start(kind: Kind) -> Option<Deployment> {
        match kind {
            Kind::Standalone => Some(Deployment { kind, servers: vec![Redis::start()?], sentinels: Vec::new() }),
            Kind::Sentinel => Deployment::sentinel(),
            Kind::Cluster => Deployment::cluster(0),
        }
    }

    /// The one that the tests of this process share; it ends with the process.
    pub fn shared(kind: Kind) -> Option<&'static Deployment> {
        type Shared = OnceLock<Option<(Deployment, Vec<Child>)>>;
        static SHARED: [Shared; 3] = [const { OnceLock::new() }; 3];
        let shared = SHARED[kind as usize].get_or_init(|| {
            let deployment = Deployment::start(kind)?;
            let shells = deployment.servers.iter().chain(&deployment.sentinels).map(Redis::die_with_us).collect();
            Some((deployment, shells))
        });
        shared.as_ref().map(|(deployment, _)| deployment)
    }

    fn sentinel() -> Option<Deployment> {
        let primary = Redis::with(&["--repl-diskless-sync-delay", "0"])?;
        let replica = Redis::with(&["--replicaof", "127.0.0.1", &primary.port().to_string(), "--repl-diskless-sync-delay", "0"])?;
        until("the replica follows", || primary.query::<String>(&["INFO", "replication"]).contains("state=online"));
        let sentinels = (0..3).map(|_| Redis::sentinel_of(&primary, 2)).collect::<Option<Vec<_>>>()?;
        let deployment = Deployment { kind: Kind::Sentinel, servers: vec![primary, replica], sentinels };
        until("the Sentinels know each other", || deployment.sentinels.iter().all(knows_the_others));
        Some(deployment)
    }

    /// A Cluster of three primaries with so many replicas for each.
    pub fn cluster(replicas: usize) -> Option<Deployment> {
        let server = |_| {
            let bus = free_port().to_string();
            let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", &bus];
            Some((Redis::with(&[&options[..], &["--repl-diskless-sync-delay", "0"]].concat())?, bus))
        };
        let servers = (0..SLOTS.len() * (1 + replicas)).map(server).collect::<Option<Vec<_>>>()?;
        for (at, (server, _)) in servers.iter().enumerate() {
            server.query::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
            if let Some((first, last)) = SLOTS.get(at) {
                server.query::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            }
        }
        for (server, bus) in &servers[1..] {
            servers[0].0.query::<()>(&["CLUSTER", "MEET", "127.0.0.1", &server.port().to_string(), bus]);
        }
        let servers: Vec<_> = servers.into_iter().map(|(server, _)| server).collect();
        let all = format!("cluster_known_nodes:{}\r", servers.len());
        until("the nodes of the Cluster know each other", || {
            servers.iter().all(|server| {
                let info: String = server.query(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&all)
            })
        });
        for (at, replica) in servers.iter().enumerate().skip(SLOTS.len()) {
            let primary: String = servers[at % SLOTS.len()].query(&["CLUSTER", "MYID"]);
            replica.query::<()>(&["CLUSTER", "REPLICATE", &primary]);
        }
        until("the replicas follow", || {
            servers[SLOTS.len()..].iter().all(|replica| replica.query::<String>(&["INFO", "replication"]).contains("master_link_status:up"))
        });
        Some(Deployment { kind: Kind::Cluster, servers, sentinels: Vec::new() })
    }

    pub fn url(&self) -> String {
        let hosts = |servers: &[Redis]| servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect::<Vec<_>>().join(",");
        match self.kind {
            Kind::Standalone => self.servers[0].url(),
            Kind::Sentinel => format!("redis+sentinel://{}/main", hosts(&self.sentinels)),
            Kind::Cluster => format!("redis+cluster://{}", hosts(&self.servers)),
        }
    }

    /// Whether all Sentinels say that this server is the primary.
    pub fn sentinels_say(&self, server: usize) -> bool {
        let port = self.servers[server].port().to_string();
        let says = |sentinel: &Redis| sentinel.query::<Vec<String>>(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]).get(1) == Some(&port);
        self.sentinels.iter().all(says)
    }

    /// The Sentinels know no primary: what follows is done by hand.
    pub fn dismiss_primary(&self) {
        self.sentinels.iter().for_each(|sentinel| sentinel.query::<()>(&["SENTINEL", "REMOVE", "main"]));
    }

    /// The Sentinels say that this server is the primary.
    pub fn name_primary(&self, server: usize) {
        let port = self.servers[server].port().to_string();
        let name = ["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "2"];
        self.sentinels.iter().for_each(|sentinel| sentinel.query::<()>(&name));
    }

    /// The primary of a Cluster that has this slot, by its place among the servers.
    pub fn owner(&self, slot: u16) -> usize {
        let owns = |server: &Redis| {
            let nodes: String = server.try_query(&["CLUSTER", "NODES"]).unwrap_or_default();
            let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            let ranges = own.split(' ').skip(8).filter_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?))
            });
            own.contains("master") && ranges.into_iter().any(|(first, last)| (first..=last).contains(&slot))
        };
        self.servers.iter().position(owns).expect("a primary has the slot")
    }

    /// All slots of a Cluster with keys in them.
    pub fn used_slots(&self) -> Vec<u16> {
        let keys = self.servers.iter().flat_map(|server| server.query::<Vec<String>>(&["KEYS", "*"]));
        let mut slots: Vec<u16> = keys.map(|key| self.servers[0].query(&["CLUSTER", "KEYSLOT", &key])).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Moves a slot with all its keys to this server of a Cluster, key by key, as an administrator does it under load.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        let [source, target] = [&self.servers[from], &self.servers[to]];
        let [source_id, target_id]: [String; 2] = [source, target].map(|server| server.query(&["CLUSTER", "MYID"]));
        let slot = slot.to_string();
        target.query::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]);
        source.query::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]);
        loop {
            let keys: Vec<String> = source.query(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]);
            let Some(key) = keys.first() else { break };
            source.query::<redis::Value>(&["MIGRATE", "127.0.0.1", &target.port().to_string(), key, "0", "5000"]);
        }
        // The target first: nobody is ever sent to a server that does not know yet that the slot is its own.
        target.query::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
        source.query::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]);
    }
}

fn knows_the_others(sentinel: &Redis) -> bool {
    let others: Vec<redis::Value> = sentinel.query(&["SENTINEL", "SENTINELS", "main"]);
    let replicas: Vec<redis::Value> = sentinel.query(&["SENTINEL", "REPLICAS", "main"]);
    others.len() == 2 && replicas.len() == 1
}
