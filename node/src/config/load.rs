//! The layers, one over the other: defaults, the file, the environment, flags.

use std::fmt;
use std::path::PathBuf;

use super::error::{ConfigError, ConfigErrors};
use super::key::{Allowed, Key};
use super::keys::{Config, KEYS};
use super::value::Value;
use super::{environment, file};

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Files over that one, each over those before it.
    pub drop_ins: Vec<PathBuf>,
    /// The variables of the process; those that do not begin with `MQTTD_` are passed over.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

/// A flag of the command line that sets a key. Where the key takes a list, the same flag again adds to it.
#[derive(Clone, Debug)]
pub struct Flag {
    pub flag: &'static str,
    pub key: &'static str,
    pub value: String,
}

/// Who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// What one layer says for one key.
pub(super) struct Given {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// The configuration that holds, and who said what of it.
#[derive(Clone, Debug)]
pub struct Effective {
    pub config: Config,
    /// In the order of [`KEYS`].
    origins: Vec<Origin>,
}

impl Effective {
    /// Each key with who set it.
    pub fn keys(&self) -> impl Iterator<Item = (&'static Key, &Origin)> {
        KEYS.iter().zip(&self.origins)
    }

    pub fn origin(&self, path: &str) -> &Origin {
        self.keys().find(|(key, _)| key.path() == path).map_or(&Origin::Default, |(_, origin)| origin)
    }
}

impl Config {
    /// Puts the layers together. A value that is wrong is an error even where a higher layer hides it.
    pub fn load(sources: &Sources) -> Result<Effective, ConfigErrors> {
        let mut errors = Vec::new();
        let mut given = sources.file.as_deref().map(|path| file::read(path, &mut errors)).unwrap_or_default();
        sources.drop_ins.iter().for_each(|path| given.extend(file::read(path, &mut errors)));
        given.extend(environment::read(&sources.environment, &mut errors));
        given.extend(flags(&sources.flags));

        let mut effective = Effective { config: Config::default(), origins: vec![Origin::Default; KEYS.len()] };
        for Given { key, value, origin } in given {
            match key.apply(&mut effective.config, &value) {
                Ok(()) => effective.origins[KEYS.iter().position(|known| std::ptr::eq(known, key)).unwrap_or_default()] = origin,
                Err(refusal) => errors.push(ConfigError::refused(origin, key, &value, refusal)),
            }
        }
        // Who says where else to listen has not asked for the default port.
        if !effective.config.listener.0.is_empty() && *effective.origin("listen") == Origin::Default {
            effective.config.listen.clear();
        }
        // The parser sorts keys by name; people read a file from its beginning.
        errors.sort_by_key(|error| match error.origin {
            Some(Origin::File { line, .. }) => line,
            None => 0,
            Some(_) => usize::MAX,
        });
        if errors.is_empty() { Ok(effective) } else { Err(ConfigErrors(errors)) }
    }
}

fn flags(flags: &[Flag]) -> Vec<Given> {
    let mut given: Vec<Given> = Vec::new();
    for Flag { flag, key, value } in flags {
        let Some(key) = KEYS.iter().find(|known| known.path() == *key) else {
            debug_assert!(false, "the flag {flag} sets {key}, which is no key");
            continue;
        };
        let value = key.value_of_text(value);
        let earlier = given.iter_mut().find(|earlier| std::ptr::eq(earlier.key, key));
        match (earlier, value, key.allowed) {
            (Some(Given { value: Value::List(values), .. }), Value::List(more), Allowed::Forms(_) | Allowed::Files) => values.extend(more),
            (_, value, _) => given.push(Given { key, value, origin: Origin::Flag(flag) }),
        }
    }
    given
}
