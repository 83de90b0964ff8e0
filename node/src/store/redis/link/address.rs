//! Where Redis is, as one URL. No I/O.

use std::fmt;

use super::start::StartError;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What the URL of the configuration says. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) place: Place,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Standalone(Host),
    /// The Sentinels are asked for the primary of this name at every connect, without a password.
    Sentinel {
        sentinels: Vec<Host>,
        master: String,
    },
    Cluster(Vec<Host>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl Address {
    /// `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS, `redis+sentinel://[…@]host[:port],…/master[/db]`,
    /// `redis+cluster://[…@]host[:port],…`. What URLs reserve is written `%XX` in the user name and the password.
    pub fn parse(url: &str) -> Result<Address, StartError> {
        let fault = |what: &str| StartError::Address(what.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(|| fault("it begins with redis:// or the like"))?;
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (username, password) = login.map_or(Ok((None, None)), parse_login)?;
        let (place, database) = match scheme {
            "redis" | "rediss" => (Place::Standalone(parse_host(hosts, PORT)?), path),
            "redis+cluster" => (Place::Cluster(parse_hosts(hosts, PORT)?), path),
            "redis+sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(fault("the name of the master is missing: redis+sentinel://host:port/master"));
                }
                (Place::Sentinel { sentinels: parse_hosts(hosts, SENTINEL_PORT)?, master: master.to_owned() }, database)
            }
            _ => return Err(fault("it begins with redis://, rediss://, redis+sentinel:// or redis+cluster://")),
        };
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| fault("the database is a number"))? };
        Ok(Address { place, tls: scheme == "rediss", username, password, database })
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
        match &self.place {
            Place::Standalone(host) => write!(f, "redis{}://{host}", if self.tls { "s" } else { "" })?,
            Place::Sentinel { sentinels, master } => write!(f, "redis+sentinel://{}/{master}", list(sentinels))?,
            Place::Cluster(hosts) => write!(f, "redis+cluster://{}", list(hosts))?,
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
        ];
        for (url, expected) in rows {
            assert_eq!(Address::parse(url).unwrap().to_string(), expected, "{url}");
        }
        for url in
            ["localhost", "http://a", "redis://", "redis://a:b", "redis://a/b", "redis://%zz@a", "redis://[::1", "redis+sentinel://a"]
        {
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
