//! The broker under test: a node in this process on a port of its own, or the one that `MQTTD_TEST_TARGET` names.

use std::net::SocketAddr;
use std::sync::OnceLock;

use mqttd::packet::Version;

use crate::build::message;
use crate::client::Client;
use crate::connecting::Connecting;
use crate::unique;

pub struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// The one that tests share as long as they need no configuration of their own.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| {
            let target = std::env::var("MQTTD_TEST_TARGET").expect("no node yet");
            Broker { address: target.parse().expect("MQTTD_TEST_TARGET is an address and a port") }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of this broker, about to connect.
    pub fn client(&self, version: Version) -> Connecting {
        Connecting::new(self.address, version)
    }

    /// A socket on which nothing has been sent.
    pub fn open(&self, version: Version) -> Client {
        Client::open(self.address, version)
    }
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
    (client(version).connect(), client(version).connect())
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
