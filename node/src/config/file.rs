//! The file: TOML to values, each with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::key::{Allowed, Key};
use super::keys::{KEYS, SECTIONS};
use super::load::{Given, Origin};
use super::suggest::name_like;
use super::value::Value;

/// What the file says, key by key; what it says wrongly goes to `errors`.
pub(super) fn read(path: &Path, errors: &mut Vec<ConfigError>) -> Vec<Given> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text, errors),
        Err(error) => {
            errors.push(ConfigError::plain(format!("cannot read the configuration file {}: {error}", path.display())));
            Vec::new()
        }
    }
}

fn parse(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Vec<Given> {
    let line_of = |at: usize| Origin::File { path: path.to_owned(), line: 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count() };
    let (document, faults) = DeTable::parse_recoverable(text);
    for fault in &faults {
        errors.push(ConfigError::new(line_of(fault.span().map_or(0, |span| span.start)), format!("this is not TOML: {}", fault.message())));
    }
    if !faults.is_empty() {
        return Vec::new();
    }
    let mut given = Vec::new();
    let mut take = |section: &str, name: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>| {
        let path_of_key = if section.is_empty() { name.get_ref().to_string() } else { format!("{section}.{}", name.get_ref()) };
        match key_at(section, name.get_ref()) {
            Some(key) => {
                let value = anchor(value_of(value.get_ref()), is_path(key), path.parent().unwrap_or(Path::new("")));
                given.push(Given { key, value, origin: line_of(name.span().start) });
            }
            None => errors.push(ConfigError::unknown_key(line_of(name.span().start), &path_of_key)),
        }
    };
    let mut strangers = Vec::new();
    for (name, value) in document.get_ref().iter() {
        let is_section = SECTIONS.iter().any(|(section, _)| section == name.get_ref());
        match value.get_ref() {
            DeValue::Table(table) if is_section => table.iter().for_each(|(key, value)| take(name.get_ref(), key, value)),
            DeValue::Table(_) => strangers.push((name, section_unknown(name.get_ref()))),
            _ if is_section => strangers.push((name, format!("{0} is a section: write [{0}] and its keys below", name.get_ref()))),
            _ => take("", name, value),
        }
    }
    errors.extend(strangers.into_iter().map(|(name, text)| ConfigError::new(line_of(name.span().start), text)));
    given
}

fn section_unknown(name: &str) -> String {
    let known = || SECTIONS.iter().map(|(section, _)| *section);
    match name_like(name, known()) {
        Some(near) => format!("there is no section [{name}]; did you mean [{near}]?"),
        None => format!("there is no section [{name}]; there are [{}]", known().collect::<Vec<_>>().join("], [")),
    }
}

pub(super) fn key_at(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// One TOML value, as a variable may hold it.
pub(super) fn value_of_toml(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().map(|value| value_of(value.get_ref()))
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| Value::Other(number.to_string()), Value::Number)
        }
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Array(values) => Value::List(values.iter().map(|value| value_of(value.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::Table(table.iter().map(|(name, value)| (name.get_ref().to_string(), value_of(value.get_ref()))).collect())
        }
    }
}

/// Entries of tables that name files.
const PATHS: [&str; 4] = ["password_file", "certificates", "keys", "client_ca"];

fn is_path(key: &Key) -> bool {
    matches!(key.allowed, Allowed::File | Allowed::Files)
}

/// Makes every relative path one beside the configuration file that names it.
fn anchor(value: Value, is_path: bool, directory: &Path) -> Value {
    match value {
        Value::Text(path) if is_path && !path.is_empty() => Value::Text(directory.join(path).display().to_string()),
        Value::List(values) => Value::List(values.into_iter().map(|value| anchor(value, is_path, directory)).collect()),
        Value::Table(entries) => {
            let place = |(key, value): (String, Value)| {
                let is_path = PATHS.contains(&key.as_str());
                (key, anchor(value, is_path, directory))
            };
            Value::Table(entries.into_iter().map(place).collect())
        }
        value => value,
    }
}
