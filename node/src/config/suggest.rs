//! "Did you mean": the known name nearest to one that is not known.

use super::key::Key;
use super::keys::KEYS;

/// Names that people bring along from other brokers and from older versions.
const KNOWN_ELSEWHERE: [(&str, &str); 28] = [
    ("allow_anonymous", "auth.anonymous"),
    ("acl_file", "access.rules_file"),
    ("bind", "listen"),
    ("cafile", "tls.client_ca"),
    ("certfile", "tls.certificates"),
    ("enable_quic", "listen"),
    ("enable_tcp", "listen"),
    ("host", "listen"),
    ("keyfile", "tls.keys"),
    ("listeners", "listen"),
    ("max_connections", "limits.connections_max"),
    ("max_connections_per_ip", "limits.connections_per_address_max"),
    ("max_messages_per_second", "limits.messages_per_second_max"),
    ("max_subscriptions_per_minute", "limits.subscriptions_per_minute_max"),
    ("max_inflight_messages", "session.inflight_max"),
    ("max_keepalive", "protocol.keep_alive_max_s"),
    ("max_packet_size", "limits.packet_bytes_max"),
    ("max_queued_messages", "session.queue_messages_max"),
    ("use_identity_as_username", "auth.certificate_user"),
    ("use_subject_as_username", "auth.certificate_user"),
    ("persistent_client_expiration", "session.v3_expiry_s"),
    ("port", "listen"),
    ("quic_certfile", "tls.certificates"),
    ("quic_keyfile", "tls.keys"),
    ("quic_port", "listen"),
    ("redis_url", "store.url"),
    ("require_certificate", "tls.client_certificates"),
    ("sys_interval", "protocol.sys_interval_s"),
];

/// What to say of a key that is none.
pub fn unknown(path: &str) -> String {
    let next = match key_like(path) {
        Some(key) => format!("did you mean {}?", key.path()),
        None => "`mqttd config` prints every key".to_owned(),
    };
    format!("there is no key {path}; {next}")
}

/// The key that `path` was probably meant to be.
pub fn key_like(path: &str) -> Option<&'static Key> {
    let leaf = path.rsplit('.').next().unwrap_or(path);
    let elsewhere = KNOWN_ELSEWHERE.iter().find(|(name, _)| *name == leaf).map(|(_, path)| *path);
    let named = elsewhere.and_then(|path| KEYS.iter().find(|key| key.path() == path));
    let same_leaf = || KEYS.iter().find(|key| key.name == leaf);
    let near_path = || KEYS.iter().map(|key| (distance(path, &key.path()), key)).min_by_key(|(d, _)| *d).filter(|(d, _)| close(*d, path));
    let near_leaf = || KEYS.iter().map(|key| (distance(leaf, key.name), key)).min_by_key(|(d, _)| *d).filter(|(d, _)| close(*d, leaf));
    named.or_else(same_leaf).or_else(|| near_path().or_else(near_leaf).map(|(_, key)| key))
}

/// The one of `names` that `name` was probably meant to be.
pub fn name_like<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names.map(|known| (distance(name, known), known)).min_by_key(|(d, _)| *d).filter(|(d, _)| close(*d, name)).map(|(_, known)| known)
}

/// A third of the letters may differ; in short names, one.
fn close(distance: usize, name: &str) -> bool {
    distance <= (name.chars().count() / 3).max(1)
}

/// Letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}
