//! Addresses as they are written: where to listen, where the Store is, where the administration answers.

use std::fmt;
use std::str::FromStr;

use super::value::{Refusal, Setting, Value};

/// What carries the bytes of a Network Connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Tcp,
    Tls,
    Ws,
    Wss,
    Quic,
}

impl Scheme {
    const ALL: [Scheme; 5] = [Scheme::Tcp, Scheme::Tls, Scheme::Ws, Scheme::Wss, Scheme::Quic];

    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Quic => "quic",
        }
    }

    pub const fn port(self) -> u16 {
        match self {
            Scheme::Tcp => 1883,
            Scheme::Tls => 8883,
            Scheme::Ws => 8083,
            Scheme::Wss => 8084,
            Scheme::Quic => 14567,
        }
    }

    pub const fn is_tls(self) -> bool {
        matches!(self, Scheme::Tls | Scheme::Wss | Scheme::Quic)
    }

    pub const fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    pub const fn is_over_tcp(self) -> bool {
        !matches!(self, Scheme::Quic)
    }
}

/// Where to listen: `tcp://127.0.0.1:1883`, `tls://[::1]:8883`, `ws://:8083/mqtt` (all addresses), `1883` (this machine only).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenUrl {
    pub scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address without its brackets; empty for all addresses.
    pub host: String,
    pub port: u16,
    /// Of `ws` and `wss`, with its slash; [`ListenUrl::PATH_DEFAULT`] when the URL has none. Empty for the others.
    pub path: String,
}

/// What is wrong with a URL, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadUrl(pub String);

impl ListenUrl {
    pub const FORM: &'static str = "tcp://HOST:PORT, tcp://[IPV6]:PORT, tcp://:PORT (all addresses) or PORT (tcp, this machine only); \
                                    in place of tcp also tls, ws, wss and quic";

    /// Where a WebSocket is, unless its URL says otherwise.
    pub const PATH_DEFAULT: &'static str = "/mqtt";

    pub fn new(scheme: Scheme, host: &str, port: u16) -> ListenUrl {
        let path = if scheme.is_websocket() { ListenUrl::PATH_DEFAULT } else { "" };
        ListenUrl { scheme, host: host.to_owned(), port, path: path.to_owned() }
    }

    pub fn tcp(host: &str, port: u16) -> ListenUrl {
        ListenUrl::new(Scheme::Tcp, host, port)
    }

    /// Only programs on this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for ListenUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<ListenUrl, BadUrl> {
        if let Ok(port) = text.parse() {
            return Ok(ListenUrl::tcp("127.0.0.1", port));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let Some(scheme) = Scheme::ALL.into_iter().find(|known| known.name() == scheme) else {
            return Err(BadUrl(format!("{text:?} begins with an unknown scheme")));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (authority, path) = if scheme.is_websocket() { rest.split_at(rest.find('/').unwrap_or(rest.len())) } else { (rest, "") };
        let (host, port) =
            split_port(authority, scheme.port()).ok_or_else(|| BadUrl(format!("{text:?} is no HOST:PORT after the scheme")))?;
        let url = ListenUrl::new(scheme, host, port);
        Ok(if path.is_empty() { url } else { ListenUrl { path: path.to_owned(), ..url } })
    }
}

/// `HOST:PORT`, `[IPV6]:PORT`, `:PORT`, `HOST`.
fn split_port(text: &str, port_default: u16) -> Option<(&str, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        let port = if rest.is_empty() { port_default } else { rest.strip_prefix(':')?.parse().ok()? };
        return Some((host, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, port_default),
    };
    let good = host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.*".contains(c));
    (good && !text.is_empty()).then_some((if host == "*" { "" } else { host }, port))
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port, path) = (self.scheme.name(), self.port, &self.path);
        let path = if path == ListenUrl::PATH_DEFAULT { "" } else { path };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{port}{path}", self.host)
    }
}

impl Setting for ListenUrl {
    fn read(value: &Value) -> Result<ListenUrl, Refusal> {
        match value {
            Value::Text(text) => text.parse().map_err(|BadUrl(text)| Refusal::Because(text)),
            Value::Number(port) => u16::try_from(*port).map(|port| ListenUrl::tcp("127.0.0.1", port)).map_err(|_| Refusal::NotAllowed),
            _ => Err(Refusal::NotAllowed),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Text(self.to_string()))
    }
}

/// Where the truth is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`: in this process; it is gone when the process ends.
    Memory,
    /// `redis://…`, `redis+sentinel://…` or `redis+cluster://…`, with `rediss` for TLS, and with a password in it perhaps. The Store reads it.
    Redis(String),
}

impl StoreUrl {
    /// Those of Redis.
    pub const REDIS_FORM: &'static str = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], redis+sentinel://HOST[:PORT],…/MASTER[/DATABASE] or redis+cluster://HOST[:PORT],…; rediss for TLS";
    pub const FORM: &'static str = "memory:, redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], redis+sentinel://HOST[:PORT],…/MASTER[/DATABASE] or redis+cluster://HOST[:PORT],…; rediss for TLS";
}

/// Without user and password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Memory => f.write_str("memory:"),
            StoreUrl::Redis(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
                write!(f, "{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
            }
        }
    }
}

impl Setting for StoreUrl {
    fn read(value: &Value) -> Result<StoreUrl, Refusal> {
        let Value::Text(text) = value else { return Err(Refusal::NotAllowed) };
        if text == "memory:" || text == "memory" {
            return Ok(StoreUrl::Memory);
        }
        match text.split_once("://") {
            Some((scheme, place)) if is_of_redis(scheme) && !place.is_empty() => Ok(StoreUrl::Redis(text.clone())),
            _ => Err(Refusal::NotAllowed),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Text(match self {
            StoreUrl::Memory => "memory:".to_owned(),
            StoreUrl::Redis(url) => url.clone(),
        }))
    }
}

fn is_of_redis(scheme: &str) -> bool {
    let rest = scheme.strip_prefix("rediss").or_else(|| scheme.strip_prefix("redis"));
    rest.is_some_and(|rest| matches!(rest, "" | "+sentinel" | "+cluster"))
}

/// What an acknowledged message outlives in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Relaxed,
    Replicated,
    Fsync,
}

impl Durability {
    pub const NAMES: &'static [&'static str] = &["relaxed", "replicated", "fsync"];
    const ALL: [Durability; 3] = [Durability::Relaxed, Durability::Replicated, Durability::Fsync];
}

impl Setting for Durability {
    fn read(value: &Value) -> Result<Durability, Refusal> {
        let Value::Text(text) = value else { return Err(Refusal::NotAllowed) };
        let named = Durability::ALL.into_iter().zip(Durability::NAMES).find(|(_, name)| *name == text);
        named.map(|(durability, _)| durability).ok_or(Refusal::NotAllowed)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Text(Durability::NAMES[*self as usize].to_owned()))
    }
}

/// Where the administration answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    Off,
    /// No host is every address of the machine.
    At {
        host: String,
        port: u16,
    },
}

impl Admin {
    pub const FORM: &'static str = "HOST:PORT, [IPV6]:PORT, :PORT (all addresses), PORT (this machine only) or off";
    pub const PORT: u16 = 8080;

    pub fn at(host: &str, port: u16) -> Admin {
        Admin::At { host: host.to_owned(), port }
    }
}

impl Setting for Admin {
    fn read(value: &Value) -> Result<Admin, Refusal> {
        match value {
            Value::Text(text) if text == "off" => Ok(Admin::Off),
            Value::Text(text) => match (text.parse(), split_port(text, Admin::PORT)) {
                (Ok(port), _) => Ok(Admin::at("127.0.0.1", port)),
                (Err(_), Some((host, port))) if text.contains(':') => Ok(Admin::at(host, port)),
                (Err(_), _) => Err(Refusal::NotAllowed),
            },
            Value::Number(port) => u16::try_from(*port).map(|port| Admin::at("127.0.0.1", port)).map_err(|_| Refusal::NotAllowed),
            _ => Err(Refusal::NotAllowed),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Text(match self {
            Admin::Off => "off".to_owned(),
            Admin::At { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Admin::At { host, port } => format!("{host}:{port}"),
        }))
    }
}
