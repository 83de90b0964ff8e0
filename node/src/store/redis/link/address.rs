//! Where Redis is, as one URL. No I/O.

use std::fmt;

use super::start::StartError;
use super::tls::Tls;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What the URL of the configuration says. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) place: Place,
    /// `None`: in the clear.
    pub(super) tls: Option<Tls>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// Of the Sentinels, which have users of their own.
    pub(super) sentinel: (Option<String>, Option<String>),
    pub(super) database: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Standalone(Host),
    /// The Sentinels are asked for the primary of this name at every connect.
    Sentinel {
        sentinels: Vec<Host>,
        master: String,
    },
    Cluster(Vec<Host>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Address {
    /// `redis://[user[:password]@]host[:port][/db]`, `redis+sentinel://[…@]host[:port],…/master[/db]`, `redis+cluster://[…@]host[:port],…`;
    /// each begins with `rediss` for TLS. What URLs reserve is written `%XX` in the user name and the password.
    pub fn parse(url: &str) -> Result<Address, StartError> {
        let fault = |what: &str| StartError::Address(what.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| fault("it begins with redis:// or the like"))?;
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (username, password) = login.map_or(Ok((None, None)), parse_login)?;
        let (place, database) = match scheme.replacen("rediss", "redis", 1).as_str() {
            "redis" => (Place::Standalone(parse_host(hosts, PORT)?), path),
            "redis+cluster" => (Place::Cluster(parse_hosts(hosts, PORT)?), path),
            "redis+sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(fault("the name of the master is missing: redis+sentinel://host:port/master"));
                }
                (Place::Sentinel { sentinels: parse_hosts(hosts, SENTINEL_PORT)?, master: master.to_owned() }, database)
            }
            _ => return Err(fault("it begins with redis://, redis+sentinel:// or redis+cluster://, or with rediss for TLS")),
        };
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| fault("the database is a number"))? };
        if database != 0 && matches!(place, Place::Cluster(_)) {
            return Err(fault("a Redis Cluster has no databases but 0"));
        }
        let tls = scheme.starts_with("rediss").then(Tls::default);
        Ok(Address { place, tls, username, password, sentinel: (None, None), database })
    }

    /// Adds what does not stand in the URL.
    pub fn with(mut self, access: Access) -> Result<Address, StartError> {
        let fault = |what: &str| Err(StartError::Address(what.to_owned()));
        if self.tls.is_none() && access.tls != Tls::default() {
            return fault("it says nothing of TLS, but there are settings for TLS (store.tls_...): write rediss://");
        }
        if (access.user.is_some() || access.password.is_some()) && (self.username.is_some() || self.password.is_some()) {
            return fault("user and password stand in it, and beside it too (store.user, store.password): keep one");
        }
        if self.tls.is_some() {
            access.tls.check().map_err(StartError::Tls)?;
            self.tls = Some(access.tls);
        }
        if access.user.is_some() || access.password.is_some() {
            (self.username, self.password) = (access.user, access.password);
        }
        self.sentinel = (access.sentinel_user, access.sentinel_password);
        Ok(self)
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }
}

/// How a node may come in, as far as the URL does not say it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    pub user: Option<String>,
    pub password: Option<String>,
    pub sentinel_user: Option<String>,
    pub sentinel_password: Option<String>,
    pub tls: Tls,
}

/// Without the passwords.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("user", &self.user).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// `password` alone cannot be said: the part before the first colon is a user name, `:password` one without.
fn parse_login(login: &str) -> Result<(Option<String>, Option<String>), StartError> {
    let (username, password) = login.split_once(':').map_or((login, None), |(username, password)| (username, Some(password)));
    let username = Some(unescape(username)?).filter(|name| !name.is_empty());
    Ok((username, password.map(unescape).transpose()?))
}

fn unescape(text: &str) -> Result<String, StartError> {
    let fault = || StartError::Address("% is followed by two hexadecimal digits, and what they stand for is UTF-8".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())).ok_or_else(fault)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| fault())?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| fault())
}

fn parse_hosts(hosts: &str, port: u16) -> Result<Vec<Host>, StartError> {
    hosts.split(',').map(|host| parse_host(host, port)).collect()
}

fn parse_host(host: &str, port: u16) -> Result<Host, StartError> {
    let fault = || StartError::Address(format!("`{host}` is not a host, or a host and a port"));
    // An IPv6 address stands in brackets, for it has colons of its own.
    let (name, rest) = match host.strip_prefix('[') {
        Some(host) => host.split_once(']').ok_or_else(fault)?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| fault())?,
        None if rest.is_empty() => port,
        None => return Err(fault()),
    };
    if name.is_empty() { Err(fault()) } else { Ok(Host { name: name.to_owned(), port }) }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') { write!(f, "[{}]:{}", self.name, self.port) } else { write!(f, "{}:{}", self.name, self.port) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[Host]| hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(",");
        f.write_str(if self.tls.is_some() { "rediss" } else { "redis" })?;
        match &self.place {
            Place::Standalone(host) => write!(f, "://{host}")?,
            Place::Sentinel { sentinels, master } => write!(f, "+sentinel://{}/{master}", list(sentinels))?,
            Place::Cluster(hosts) => write!(f, "+cluster://{}", list(hosts))?,
        }
        if self.database == 0 { Ok(()) } else { write!(f, "/{}", self.database) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_redis_is() {
        let rows = [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://me:se%2Fcret@[::1]:7000/3", "redis://[::1]:7000/3"),
            ("rediss://:secret@r:1", "rediss://r:1"),
            ("redis+sentinel://a,b:2/main/1", "redis+sentinel://a:26379,b:2/main/1"),
            ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
            ("rediss+sentinel://a/main", "rediss+sentinel://a:26379/main"),
            ("rediss+cluster://a", "rediss+cluster://a:6379"),
        ];
        for (url, expected) in rows {
            assert_eq!(Address::parse(url).unwrap().to_string(), expected, "{url}");
        }
        for url in [
            "localhost",
            "http://a",
            "redis://",
            "redis://a:b",
            "redis://a/b",
            "redis://%zz@a",
            "redis://[::1",
            "redis+sentinel://a",
            "redis+cluster://a/1",
        ] {
            assert!(matches!(Address::parse(url), Err(StartError::Address(_))), "{url}");
        }
    }

    #[test]
    fn a_password_is_kept_to_itself() {
        let address = Address::parse("redis://me:s%40:cret@a/1").unwrap();
        assert_eq!((address.username.as_deref(), address.password.as_deref()), (Some("me"), Some("s@:cret")));
        assert_eq!(format!("{address:?}"), "Address(redis://a:6379/1)");
    }
}
