//! What the configuration and its files say of who may come in and what they may do: read as a whole, replaced as a whole.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::Credentials;
use super::password::Verifier;
use super::rules::Rules;
use super::{http, jwt, password_file, shared};
use crate::hook::client::Listener;
use crate::packet::reason::Reason;
use crate::topic::filter::TopicFilter;

/// A way to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Certificate,
    Users,
    PasswordFile,
    Redis,
    Jwt,
    Http,
}

impl Mechanism {
    /// In the order in which they are asked when nothing else is said: what costs little comes first.
    pub const ALL: [Mechanism; 6] =
        [Mechanism::Certificate, Mechanism::Jwt, Mechanism::Users, Mechanism::PasswordFile, Mechanism::Redis, Mechanism::Http];

    pub const fn name(self) -> &'static str {
        match self {
            Mechanism::Certificate => "certificate",
            Mechanism::Users => "users",
            Mechanism::PasswordFile => "password_file",
            Mechanism::Redis => "redis",
            Mechanism::Jwt => "jwt",
            Mechanism::Http => "http",
        }
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Mechanism, String> {
        let found = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == text);
        found.ok_or_else(|| format!("auth.order: {text:?} is none of {}", Mechanism::ALL.map(Mechanism::name).join(", ")))
    }
}

/// As the configuration gives it.
#[derive(Clone)]
pub struct Settings {
    /// Whether Clients that nobody vouches for come in; `None`: as long as there is no mechanism.
    pub anonymous: Option<bool>,
    pub order: Vec<Mechanism>,
    /// User names and plain passwords.
    pub users: Vec<(String, String)>,
    pub password_file: Option<PathBuf>,
    pub certificate_user: bool,
    pub jwt: Option<jwt::Settings>,
    pub http: Option<http::Settings>,
    pub redis: Option<shared::Settings>,
    pub rules_file: Option<PathBuf>,
    pub deny_subscribe: Vec<TopicFilter>,
    /// The Reason Code of a subscription that these deny.
    pub deny_subscribe_reason: Reason,
    pub deny_publish: Vec<TopicFilter>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            anonymous: None,
            order: Mechanism::ALL.to_vec(),
            users: Vec::new(),
            password_file: None,
            certificate_user: false,
            jwt: None,
            http: None,
            redis: None,
            rules_file: None,
            deny_subscribe: Vec::new(),
            deny_subscribe_reason: Reason::NOT_AUTHORIZED,
            deny_publish: Vec::new(),
        }
    }
}

/// The settings, and what their files hold.
pub struct Policy {
    pub settings: Settings,
    pub credentials: std::sync::Arc<Credentials>,
    /// Of the plain passwords of the settings.
    user_stamps: HashMap<String, u64>,
    pub file_users: HashMap<String, Verifier>,
    pub tokens: Option<std::sync::Arc<jwt::Tokens>>,
    pub hook: Option<http::Hook>,
    pub shared: Option<shared::Shared>,
    /// Of the file.
    pub rules: Rules,
    /// Hashes to compare with where there is no user, so that the time of an answer does not tell; which one depends on the name alone.
    decoys: Vec<Verifier>,
    decoy_secret: [u8; 16],
}

impl Policy {
    /// Reads everything that the settings name. The error says which of it is wrong.
    pub fn read(settings: Settings) -> Result<Policy, String> {
        let salt = || *uuid::Uuid::new_v4().as_bytes();
        let credentials = Credentials::new(settings.users.clone(), salt).into();
        let file_users = settings.password_file.as_deref().map(password_file::read).transpose()?.unwrap_or_default();
        let mut decoys: Vec<_> = file_users.values().cloned().collect();
        decoys.sort_by_key(Verifier::stamp);
        if decoys.is_empty() && settings.redis.is_some() {
            decoys.push(Verifier::new(&salt())?);
        }
        let stamps = settings.users.iter().map(|(user, password)| (user.clone(), stamp(password)));
        Ok(Policy {
            user_stamps: stamps.collect(),
            credentials,
            tokens: settings.jwt.clone().map(jwt::Tokens::read).transpose()?.map(Into::into),
            hook: settings.http.clone().map(http::Hook::new).transpose()?,
            shared: settings.redis.as_ref().map(shared::Shared::new).transpose()?,
            rules: settings.rules_file.as_deref().map(read_rules).transpose()?.unwrap_or_default(),
            file_users,
            decoys,
            decoy_secret: salt(),
            settings,
        })
    }

    /// The mechanisms that there are, in their order.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> + '_ {
        self.settings.order.iter().copied().filter(|mechanism| match mechanism {
            Mechanism::Certificate => self.settings.certificate_user,
            Mechanism::Users => !self.credentials.is_empty(),
            Mechanism::PasswordFile => self.settings.password_file.is_some(),
            Mechanism::Redis => self.shared.is_some(),
            Mechanism::Jwt => self.tokens.is_some(),
            Mechanism::Http => self.hook.is_some(),
        })
    }

    /// Those that a listener offers.
    pub fn mechanisms_at<'a>(&'a self, listener: &'a Listener) -> impl Iterator<Item = Mechanism> + 'a {
        let offers = |mechanism: &Mechanism| listener.mechanisms.as_ref().is_none_or(|names| names.contains(&mechanism.name()));
        self.mechanisms().filter(offers)
    }

    /// Tells whether the password of a user of the settings is still the one that it was; `None`: there is no such user.
    pub fn user_stamp(&self, user: &str) -> Option<u64> {
        self.user_stamps.get(user).copied()
    }

    /// Whether Clients come in by this listener that nobody vouches for.
    pub fn admits_anonymous(&self, listener: &Listener) -> bool {
        listener.anonymous.or(self.settings.anonymous).unwrap_or_else(|| self.mechanisms().next().is_none())
    }

    /// Without any mechanism a name is only a name, as in other brokers that let everybody in. With one, of whatever listener, a name has rules
    /// and belongs to somebody: it must be proven.
    pub fn takes_any_name(&self) -> bool {
        self.mechanisms().next().is_none()
    }

    pub fn decoy(&self, user: &str) -> Option<Verifier> {
        let digest = Sha256::new_with_prefix(self.decoy_secret).chain_update(user).finalize();
        let at = u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
        self.decoys.get(at.checked_rem(self.decoys.len() as u64)? as usize).cloned()
    }
}

/// The same for one password or key as long as the process lives, and worth nothing outside of it.
pub(super) fn stamp(secret: impl AsRef<[u8]>) -> u64 {
    static SECRET: std::sync::OnceLock<[u8; 16]> = std::sync::OnceLock::new();
    let digest = Sha256::new_with_prefix(SECRET.get_or_init(|| *uuid::Uuid::new_v4().as_bytes())).chain_update(secret).finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

fn read_rules(path: &std::path::Path) -> Result<Rules, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse().map_err(|fault| format!("{}: {fault}", path.display()))
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("mechanisms", &self.mechanisms().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
