//! The environment: `MQTTD_SECTION__KEY`, a few short names, and `…_FILE` for what is secret.

use std::path::Path;

use super::error::ConfigError;
use super::key::Key;
use super::keys::KEYS;
use super::load::{Given, Origin};
use super::suggest::{key_like, name_like};
use super::user::read_secret;

/// Short names for what is set most often.
pub const SHORT_NAMES: [(&str, &str); 4] =
    [("MQTTD_LOG", "log.filter"), ("MQTTD_LOG_FORMAT", "log.format"), ("MQTTD_NODE_ID", "node.id"), ("MQTTD_REDIS_URL", "store.url")];

/// Names that other programs have too, with what is added to their values. Ours win over them, and the first of two.
const COMMON_NAMES: [(&str, &str, &str); 3] = [
    ("RUST_LOG", "log.filter", ""),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "log.otlp_url", ""),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "log.otlp_url", "/v1/traces"),
];

/// Names the configuration file itself; read by the command line, before any key.
pub const FILE_VARIABLE: &str = "MQTTD_CONFIG";

/// What the variables say; an empty one says nothing, as `VARIABLE: ${OTHER:-}` in a compose file means it.
pub(super) fn read(variables: &[(String, String)], errors: &mut Vec<ConfigError>) -> Vec<Given> {
    let mut given: Vec<Given> = Vec::new();
    for (name, text) in variables {
        if !name.starts_with("MQTTD_") || text.is_empty() || name == FILE_VARIABLE || is_from_kubernetes(name) {
            continue;
        }
        let origin = Origin::Environment(name.clone());
        let Some((key, is_file)) = key_of(name) else {
            errors.push(unknown(name));
            continue;
        };
        if let Some(twice) = given.iter().find(|other| std::ptr::eq(other.key, key)) {
            errors.push(ConfigError::new(origin, format!("sets {} a second time, after {}; keep one", key.path(), twice.origin)));
            continue;
        }
        match if is_file { read_secret(Path::new(text)) } else { Ok(text.clone()) } {
            Ok(text) => given.push(Given { key, value: key.value_of_text(text.trim()), origin }),
            Err(text) => errors.push(ConfigError::new(origin, text)),
        }
    }
    for (name, path, more) in COMMON_NAMES {
        let said = variables.iter().find(|(known, text)| known == name && !text.is_empty());
        let key = KEYS.iter().find(|key| key.path() == path).filter(|key| !given.iter().any(|other| std::ptr::eq(other.key, *key)));
        if let (Some((_, text)), Some(key)) = (said, key) {
            let text = if more.is_empty() { text.trim().to_owned() } else { format!("{}{more}", text.trim().trim_end_matches('/')) };
            given.push(Given { key, value: key.value_of_text(&text), origin: Origin::Environment(name.to_owned()) });
        }
    }
    given
}

/// The key that a variable sets, and whether by way of a file.
fn key_of(variable: &str) -> Option<(&'static Key, bool)> {
    let path = SHORT_NAMES.iter().find(|(name, _)| *name == variable).map(|(_, path)| *path);
    let plain = |variable: &str| KEYS.iter().find(|key| Some(key.path().as_str()) == path || key.variable() == variable);
    let by_file = || variable.strip_suffix("_FILE").and_then(plain).filter(|key| key.is_secret());
    plain(variable).map(|key| (key, false)).or_else(|| by_file().map(|key| (key, true)))
}

/// A Kubernetes Service named `mqttd` or `mqttd-…` puts such variables into every pod of its namespace; they are not ours.
fn is_from_kubernetes(name: &str) -> bool {
    let is_port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    let after = |part: &str| name.split_once(part).map(|(_, rest)| rest);
    !name.contains("__")
        && (name.ends_with("_SERVICE_HOST") || after("_SERVICE_PORT").is_some_and(is_port) || after("_PORT").is_some_and(is_port))
}

fn unknown(name: &str) -> ConfigError {
    let path = name.trim_start_matches("MQTTD_").replace("__", ".").to_lowercase();
    let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
    let near = name_like(name, variables.iter().map(String::as_str)).map(str::to_owned).or_else(|| key_like(&path).map(Key::variable));
    let next = match near {
        Some(near) => format!("did you mean {near}?"),
        None => "`mqttd config` prints every key; section.key is MQTTD_SECTION__KEY here".to_owned(),
    };
    ConfigError::new(Origin::Environment(name.to_owned()), format!("sets no key; {next}"))
}
