//! What the configuration says of the bridge to Pub/Sub.

use std::io;

use crate::bridge::{Incoming, Settings, check_prefix};
use crate::config::{Config, StoreUrl};
use crate::packet::QoS;

/// `None`: there is none.
pub(super) fn settings(config: &Config) -> io::Result<Option<Settings>> {
    let bridge = &config.bridge;
    if !bridge.enabled {
        return Ok(None);
    }
    if !matches!(config.store.url, StoreUrl::Redis(_)) {
        return Err(io::Error::other("bridge.enabled wants the Store on Redis: set store.url, or leave the bridge off"));
    }
    check_prefix(&bridge.prefix, &config.store.prefix)
        .map_err(|error| io::Error::other(format!("bridge.prefix = {:?}: {error}", bridge.prefix)))?;
    let protocol = super::settings(config);
    Ok(Some(Settings {
        prefix: bridge.prefix.clone(),
        out_filters: super::filters(&bridge.out_filters)?,
        incoming: Incoming {
            filters: super::filters(&bridge.in_filters)?,
            qos: QoS::from_bits(bridge.qos).unwrap_or_default(),
            packet_bytes_max: protocol.packet_bytes_max as usize,
            topic_levels_max: protocol.topic_levels_max,
            topic_bytes_max: protocol.topic_bytes_max,
        },
    }))
}
