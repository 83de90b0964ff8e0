//! The configuration as text: the commented default, and who said what.

use super::environment::{FILE_VARIABLE, SHORT_NAMES};
use super::key::Key;
use super::keys::{Config, KEYS, SECTIONS};
use super::load::Effective;

/// Every key with its help and its default: a file to start from. `deploy/mqttd.toml` is this text.
pub fn commented_default() -> String {
    let mut text = head();
    KEYS.iter().filter(|key| key.section.is_empty()).for_each(|key| write_key(key, &mut text));
    for (section, help) in SECTIONS {
        for line in *help {
            text.push_str(&format!("\n#{line}"));
        }
        text.push_str(&format!("\n[{section}]\n"));
        KEYS.iter().filter(|key| key.section == *section).for_each(|key| write_key(key, &mut text));
    }
    text
}

fn head() -> String {
    let short: Vec<&str> = SHORT_NAMES.iter().map(|(name, _)| *name).collect();
    format!(
        "# mqttd: every option, with its default. What you do not change you can delete.\n\
         # Flags win over the environment, the environment over this file.\n\
         # In the environment section.key is MQTTD_SECTION__KEY, as MQTTD_LIMITS__PACKET_BYTES_MAX=65536; lists are separated by commas.\n\
         # Short names: {}; {FILE_VARIABLE} names this file.\n\
         # `mqttd check -c FILE` says what holds and where it comes from.\n",
        short.join(", ")
    )
}

fn write_key(key: &Key, text: &mut String) {
    text.push('\n');
    for line in key.help {
        text.push_str(&format!("#{line}\n"));
    }
    text.push_str(&format!("# Allowed: {}\n", key.allowed));
    match (key.get)(&Config::default()) {
        Some(value) => text.push_str(&format!("{} = {value}\n", key.name)),
        None => text.push_str(&format!("# {} = {}\n", key.name, key.example.unwrap_or("\"\""))),
    }
}

/// A line for each key: what holds, and who said so.
pub fn effective(effective: &Effective) -> String {
    let line = |key: &Key| {
        let value = (key.get)(&effective.config).map_or_else(|| "(not set)".to_owned(), |value| key.shown(&value));
        format!("{} = {value}", key.path())
    };
    let lines: Vec<(String, String)> = effective.keys().map(|(key, origin)| (line(key), origin.to_string())).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default().min(64);
    lines.into_iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect()
}
