//! What is known of a key: its name, its help, what it takes, and how to read and set it.

use std::fmt;

use super::keys::Config;
use super::value::{Refusal, Value, grouped};

/// One key of the configuration.
pub struct Key {
    /// Empty for the keys that stand above all sections.
    pub section: &'static str,
    pub name: &'static str,
    /// The lines of the help, as they stand in the commented default.
    pub help: &'static [&'static str],
    pub allowed: Allowed,
    /// TOML to show where the default is "not set".
    pub example: Option<&'static str>,
    pub get: fn(&Config) -> Option<Value>,
    pub set: fn(&mut Config, &Value) -> Result<(), Refusal>,
}

/// The form of a key's values, from which come the check, the help, and how the text of a variable or flag is read.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    Number(u64, u64),
    Flag,
    Text,
    /// A text that is never shown.
    Secret,
    Choice(&'static [&'static str]),
    /// A text with a form of its own.
    Form(&'static str),
    /// A list of such texts.
    Forms(&'static str),
    /// A list of texts that are not empty.
    Texts,
    /// The path of a file; a relative one in the configuration file is beside it.
    File,
    /// A list of them.
    Files,
    /// Topic Filters.
    Filters,
    /// Tables of listeners.
    Listeners,
    /// Tables; never shown as they are, because there are passwords in them.
    Users,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Number(least, most) => write!(f, "{} to {}", grouped(i128::from(*least)), grouped(i128::from(*most))),
            Allowed::Flag => f.write_str("true or false"),
            Allowed::Text | Allowed::Secret => f.write_str("a text that is not empty"),
            Allowed::Choice(choices) => f.write_str(&choices.join(", ")),
            Allowed::Form(form) => f.write_str(form),
            Allowed::Forms(form) => write!(f, "a list of {form}"),
            Allowed::Filters => f.write_str("a list of Topic Filters, as [\"secret/#\", \"+/private\"]"),
            Allowed::Texts => f.write_str("a list of texts that are not empty"),
            Allowed::File => f.write_str("the path of a file"),
            Allowed::Files => f.write_str("a list of paths of files"),
            Allowed::Listeners => write!(f, "tables with a url, and any of: {}", super::listener::Listener::KEYS),
            Allowed::Users => f.write_str("tables with a name and either password or password_file"),
        }
    }
}

impl Allowed {
    fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Allowed::Number(least, most), Value::Number(number)) => (i128::from(*least)..=i128::from(*most)).contains(number),
            (Allowed::Text | Allowed::Secret | Allowed::Form(_) | Allowed::File, Value::Text(text)) => !text.is_empty(),
            (Allowed::Texts | Allowed::Files, Value::List(values)) => {
                values.iter().all(|v| matches!(v, Value::Text(text) if !text.is_empty()))
            }
            (Allowed::Choice(choices), Value::Text(text)) => choices.contains(&text.as_str()),
            (Allowed::Filters, Value::List(values)) => values.iter().all(|v| matches!(v, Value::Text(text) if is_filter(text))),
            (Allowed::Flag, Value::Flag(_)) | (Allowed::Forms(_) | Allowed::Users | Allowed::Listeners, Value::List(_)) => true,
            _ => false,
        }
    }
}

/// The rules of MQTT 5.0 section 4.7.1, said once more here so that `mqttd check` finds a bad filter without a broker.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let good_level = |(i, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => i + 1 == levels.len(),
        level => !level.contains(['+', '#', '\0']),
    };
    !text.is_empty() && text.len() <= 65_535 && levels.iter().enumerate().all(good_level)
}

impl Key {
    /// As in `limits.packet_bytes_max`.
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// As in `MQTTD_LIMITS__PACKET_BYTES_MAX`.
    pub fn variable(&self) -> String {
        format!("MQTTD_{}", self.path().replace('.', "__").to_uppercase())
    }

    /// A key that can hold a secret: its variable may end in `_FILE` and name a file instead, and it is never printed as it is.
    pub fn is_secret(&self) -> bool {
        matches!(self.allowed, Allowed::Users | Allowed::Secret) || self.name.ends_with("url")
    }

    pub fn apply(&self, config: &mut Config, value: &Value) -> Result<(), Refusal> {
        if !self.allowed.admits(value) {
            return Err(Refusal::NotAllowed);
        }
        (self.set)(config, value)
    }

    /// Reads what a variable or a flag says. Text that does not fit stays text, and is refused with the others by [`Key::apply`].
    pub fn value_of_text(&self, text: &str) -> Value {
        let as_text = || Value::Text(text.to_owned());
        match self.allowed {
            Allowed::Number(..) => text.replace('_', "").parse().map_or_else(|_| as_text(), Value::Number),
            Allowed::Flag => text.parse().map_or_else(|_| as_text(), Value::Flag),
            Allowed::Forms(_) | Allowed::Filters | Allowed::Users | Allowed::Texts | Allowed::Files | Allowed::Listeners
                if text.starts_with('[') =>
            {
                super::file::value_of_toml(text).unwrap_or_else(as_text)
            }
            Allowed::Forms(_) | Allowed::Filters | Allowed::Texts | Allowed::Files => {
                Value::List(text.split(',').map(|part| Value::Text(part.trim().to_owned())).collect())
            }
            Allowed::Text
            | Allowed::Secret
            | Allowed::Choice(_)
            | Allowed::Form(_)
            | Allowed::File
            | Allowed::Users
            | Allowed::Listeners => as_text(),
        }
    }

    /// The value as it may be shown to anyone: without passwords, also where they stand under a misspelled name.
    pub fn shown(&self, value: &Value) -> String {
        match (self.allowed, value) {
            (Allowed::Users, Value::List(users)) => Value::List(users.iter().map(masked_user).collect()).to_string(),
            (Allowed::Users | Allowed::Secret, _) => HIDDEN.to_owned(),
            (Allowed::Form(_), Value::Text(url)) => Value::Text(masked_url(url)).to_string(),
            _ => value.to_string(),
        }
    }
}

const HIDDEN: &str = "(not shown)";

fn masked_user(user: &Value) -> Value {
    let hidden = || Value::Other(HIDDEN.to_owned());
    let Value::Table(entries) = user else { return hidden() };
    let mask = |(name, value): &(String, Value)| {
        let open = name == "name" || name == "password_file";
        (name.clone(), if open { value.clone() } else { hidden() })
    };
    Value::Table(entries.iter().map(mask).collect())
}

/// Without user and password, and without the query, where a token may stand.
fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match (rest.rfind('@'), rest.find('?')) {
        (None, None) => url.to_owned(),
        (Some(at), None) => format!("{scheme}://{HIDDEN}@{}", &rest[at + 1..]),
        (None, Some(query)) => format!("{scheme}://{}?{HIDDEN}", &rest[..query]),
        (Some(at), Some(query)) if at < query => format!("{scheme}://{HIDDEN}@{}?{HIDDEN}", &rest[at + 1..query]),
        // Which of it is a password and which a query cannot be told.
        (Some(_), Some(_)) => format!("{scheme}://{HIDDEN}"),
    }
}
