//! What the configuration says to each room: plain arguments, and nothing of what they mean.

use std::io;
use std::time::Duration;

use crate::broker;
use crate::broker::mailbox::Bounds;
use crate::config::keys::OverRate;
use crate::config::user::Secret;
use crate::config::{self, Config, StoreUrl};
use crate::mcp;
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

/// Of a host name in the name of a node.
const HOST_CHARS_MAX: usize = 40;

/// Of a node that has no name, and its Store for itself.
const NAME_DEFAULT: &str = "node";

/// A node without a name that shares its Store with others is given one, once: its own under `$SYS`, `nodes/` and in the log.
pub(crate) fn give_name(config: &mut Config) {
    if config.node.id.is_none() && matches!(config.store.url, StoreUrl::Redis(_)) {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(HOST_CHARS_MAX).collect();
        let host = if host.is_empty() { NAME_DEFAULT } else { &host };
        let (_, mark) = uuid::Uuid::new_v4().as_u64_pair();
        config.node.id = Some(format!("{host}-{:06x}", mark & 0xff_ffff));
    }
}

/// The name of this node.
pub(crate) fn name(config: &Config) -> String {
    config.node.id.clone().unwrap_or_else(|| NAME_DEFAULT.to_owned())
}

/// What all Sessions are told of the Server.
pub(super) fn protocol(config: &Config) -> Settings {
    let (limits, session, protocol) = (&config.limits, &config.session, &config.protocol);
    Settings {
        receive_maximum: session.receive_maximum,
        in_flight_max: session.inflight_max,
        packet_bytes_max: packet_bytes_max(limits),
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

/// A packet is paid for when it has come, and nothing is read until it is: that takes no longer than this, for no packet is larger.
const PAID_WITHIN_S: u64 = 10;

/// What a packet may have at least, so that any Client can say something.
const PACKET_BYTES_LEAST: u32 = 256;

fn packet_bytes_max(limits: &config::keys::Limits) -> u32 {
    let paid = match limits.bytes_per_second_max {
        0 => u64::MAX,
        rate => rate.saturating_mul(PAID_WITHIN_S),
    };
    let paid = u32::try_from(paid).unwrap_or(u32::MAX).max(PACKET_BYTES_LEAST);
    limits.packet_bytes_max.min(paid)
}

/// The bounds of the node that are no matter of the protocol.
pub(super) fn limits(config: &Config) -> broker::Limits {
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
        connect_bytes_max: limits.connect_bytes_max,
        drain,
    }
}

/// How requests are answered.
///
/// # Errors
/// A filter is none.
pub(super) fn requests(config: &Config) -> io::Result<mcp::Settings> {
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
            in_flight_bytes_max: mcp.in_flight_bytes_max,
            rate_per_client_max: mcp.rate_per_client_max,
        },
    })
}

pub(super) fn filters(texts: &[String]) -> io::Result<Vec<TopicFilter>> {
    let filter = |text: &String| TopicFilter::new(text).ok_or_else(|| io::Error::other(format!("{text:?} is no Topic Filter")));
    texts.iter().map(filter).collect()
}

/// The Store that is named, not joined yet.
pub(super) fn store(config: &Config) -> Store {
    match redis(config) {
        Some(settings) => Store::Redis(Joining::new(settings)),
        None => Store::Memory(Memory::new(memory(config))),
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
        node: name(config),
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

pub(super) fn access(store: &config::keys::Store) -> Access {
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

fn memory(config: &Config) -> memory::Limits {
    memory::Limits {
        queue_messages_max: config.session.queue_messages_max as u64,
        queue_bytes_max: config.session.queue_bytes_max as u64,
        messages_max: config.store.messages_max as u64,
        bytes_max: config.store.bytes_max as u64,
        retained_max: config.store.retained_max as u64,
        ..memory::Limits::default()
    }
}
