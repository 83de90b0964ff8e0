//! CONNECT in the making: a fresh Client Identifier, Clean Start, no Keep Alive, nothing kept, unless a test says otherwise.

use std::net::SocketAddr;
use std::time::Duration;

use mqttd::packet::connack::Connack;
use mqttd::packet::connect::{Connect, Will};
use mqttd::packet::publish::PublishProperties;
use mqttd::packet::reason::Reason;
use mqttd::packet::{Packet, Version};

use crate::bridge::Wire;
use crate::build::{Message, text};
use crate::client::{Came, Client};
use crate::unique;

#[derive(Clone)]
pub struct Connecting {
    address: SocketAddr,
    packet: Connect,
}

impl Connecting {
    pub fn new(address: SocketAddr, version: Version) -> Connecting {
        let packet = Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: unique("c").into(),
            will: None,
            user_name: None,
            password: None,
            properties: Default::default(),
        };
        Connecting { address, packet }
    }

    pub fn id(mut self, id: &str) -> Connecting {
        self.packet.client_id = text(id);
        self
    }

    /// Takes up a Session that may exist, and keeps it for an hour after the connection.
    pub fn durable(self) -> Connecting {
        self.resume().expiry(3600)
    }

    /// Clean Start 0.
    pub fn resume(mut self) -> Connecting {
        self.packet.clean_start = false;
        self
    }

    /// Session Expiry Interval; 3.1.1 has none.
    pub fn expiry(mut self, seconds: u32) -> Connecting {
        if self.packet.version == Version::V5 {
            self.packet.properties.session_expiry_s = Some(seconds);
        }
        self
    }

    pub fn keep_alive(mut self, seconds: u16) -> Connecting {
        self.packet.keep_alive_s = seconds;
        self
    }

    pub fn will(self, will: impl Into<Message>) -> Connecting {
        self.will_after(0, will)
    }

    /// A Will with a Will Delay Interval.
    pub fn will_after(mut self, delay_s: u32, will: impl Into<Message>) -> Connecting {
        let will = will.into().publish().clone();
        let (qos, retain, topic, payload) = (will.qos, will.retain, will.topic, will.payload);
        self.packet.will = Some(Will { qos, retain, topic, payload, delay_s, properties: will.properties });
        self
    }

    pub fn user(mut self, name: &str, password: &str) -> Connecting {
        self.packet.user_name = Some(text(name));
        self.packet.password = Some(password.to_owned().into());
        self
    }

    pub fn receive_maximum(mut self, count: u16) -> Connecting {
        self.packet.properties.receive_maximum = Some(count);
        self
    }

    pub fn maximum_packet_size(mut self, bytes: u32) -> Connecting {
        self.packet.properties.maximum_packet_size = Some(bytes);
        self
    }

    pub fn topic_alias_maximum(mut self, count: u16) -> Connecting {
        self.packet.properties.topic_alias_maximum = Some(count);
        self
    }

    pub fn authenticate(mut self, method: &str, data: &[u8]) -> Connecting {
        self.packet.properties.authentication_method = Some(text(method));
        self.packet.properties.authentication_data = Some(data.to_vec().into());
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Connect)) -> Connecting {
        change(&mut self.packet);
        self
    }

    /// The properties of the Will.
    pub fn will_with(self, change: impl FnOnce(&mut PublishProperties)) -> Connecting {
        self.with(|packet| change(packet.will.as_mut().expect("there is a Will").properties.get_or_insert_default()))
    }

    pub fn packet(&self) -> Packet {
        Packet::Connect(Box::new(self.packet.clone()))
    }

    /// Opens a connection and sends CONNECT; what the broker says to it is the test's matter.
    #[track_caller]
    pub fn send(&self) -> Client {
        self.send_on(Wire::connect(self.address).expect("the broker accepts connections"))
    }

    /// As [`Connecting::send`], on a stream that is open already.
    #[track_caller]
    pub fn send_on(&self, stream: Wire) -> Client {
        let mut client = Client::on(stream, self.packet.version);
        client.id = self.packet.client_id.to_string();
        client.send(self.packet());
        client
    }

    /// Connects and is accepted.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.accepted(self.send())
    }

    /// As [`Connecting::connect`], on a stream that is open already.
    #[track_caller]
    pub fn connect_on(&self, stream: Wire) -> Client {
        self.accepted(self.send_on(stream))
    }

    #[track_caller]
    fn accepted(&self, mut client: Client) -> Client {
        let connack = client.expect_connack();
        if connack.reason != Reason::SUCCESS {
            client.fail("CONNACK that accepts", &connack);
        }
        if let Some(assigned) = &connack.properties.assigned_client_id {
            client.id = assigned.to_string();
        }
        client.connack = Some(connack);
        client
    }

    /// Goes to another node.
    pub fn to(mut self, address: SocketAddr) -> Connecting {
        self.address = address;
        self
    }

    /// Connects where it may be refused, or not be answered in time.
    #[track_caller]
    pub fn try_connect(&self, patience: Duration) -> Option<Client> {
        let mut client = Client::try_open(self.address, self.packet.version).ok()?;
        client.id = self.packet.client_id.to_string();
        client.send(self.packet());
        match client.came_within(patience) {
            Came::Packet(Packet::Connack(connack)) if connack.reason == Reason::SUCCESS => client.connack = Some(*connack),
            _ => return None,
        }
        Some(client)
    }

    /// Connects and is refused with this Reason Code, then sees the connection end.
    #[track_caller]
    pub fn refused(&self, reason: Reason) -> Connack {
        self.send().expect_refused(reason)
    }
}
