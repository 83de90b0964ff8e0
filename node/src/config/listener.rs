//! A listener with settings of its own: `[[listener]]`.

use std::str::FromStr;

use super::url::{BadUrl, ListenUrl};
use super::value::{Refusal, Setting, Value};

/// One listener. What it does not say is as for all: in `[tls]`, `[websocket]`, `[limits]` and `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub url: ListenUrl,
    /// For the log and the metrics; its URL when it has none.
    pub name: Option<String>,
    /// Every connection begins with a header of the PROXY protocol, version 1 or 2.
    pub proxy_protocol: bool,
    /// Addresses, as in `10.0.0.0/8`, that may send one; empty is everybody who reaches the listener.
    pub proxy_from: Vec<String>,
    /// Clients at a time; 0 is no limit.
    pub connections_max: usize,
    /// New ones in a second; 0 is no limit.
    pub connections_per_second_max: Option<u32>,
    pub connect_timeout_s: Option<u32>,
    pub certificates: Option<Vec<String>>,
    pub keys: Option<Vec<String>>,
    pub client_ca: Option<String>,
    pub client_certificates: Option<ClientCertificates>,
    pub origins: Option<Vec<String>>,
    pub anonymous: Option<bool>,
    /// What a client can be believed by here, of what there is in `auth.order`; not set: all of it.
    pub auth: Option<Vec<String>>,
}

impl Listener {
    /// The keys of such a table.
    pub const KEYS: &'static str = "url, name, proxy_protocol, proxy_from, connections_max, connections_per_second_max, \
                                    connect_timeout_s, certificates, keys, client_ca, client_certificates, origins, anonymous, auth";

    pub fn new(url: ListenUrl) -> Listener {
        Listener {
            url,
            name: None,
            proxy_protocol: false,
            proxy_from: Vec::new(),
            connections_max: 0,
            connections_per_second_max: None,
            connect_timeout_s: None,
            certificates: None,
            keys: None,
            client_ca: None,
            client_certificates: None,
            origins: None,
            anonymous: None,
            auth: None,
        }
    }

    /// Its name, or its URL.
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.url.to_string())
    }
}

/// The listeners of `[[listener]]`. Writes nothing when there are none, so that the commented default shows its example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners(pub Vec<Listener>);

impl Setting for Listeners {
    fn read(value: &Value) -> Result<Listeners, Refusal> {
        Vec::read(value).map(Listeners)
    }

    fn write(&self) -> Option<Value> {
        if self.0.is_empty() { None } else { self.0.write() }
    }
}

impl Setting for Listener {
    fn read(value: &Value) -> Result<Listener, Refusal> {
        let Value::Table(entries) = value else { return Err(Refusal::NotAllowed) };
        let url = entries.iter().find(|(key, _)| key == "url").ok_or_else(|| because("a listener has no url"))?;
        let mut listener = Listener::new(set("url", &url.1)?);
        for (key, value) in entries {
            match key.as_str() {
                "url" => {}
                "name" => listener.name = Some(set(key, value)?),
                "proxy_protocol" => listener.proxy_protocol = set(key, value)?,
                "proxy_from" => listener.proxy_from = set(key, value)?,
                "connections_max" => listener.connections_max = set(key, value)?,
                "connections_per_second_max" => listener.connections_per_second_max = Some(set(key, value)?),
                "connect_timeout_s" => listener.connect_timeout_s = Some(set(key, value)?),
                "certificates" => listener.certificates = Some(set(key, value)?),
                "keys" => listener.keys = Some(set(key, value)?),
                "client_ca" => listener.client_ca = Some(set(key, value)?),
                "client_certificates" => listener.client_certificates = Some(set(key, value)?),
                "origins" => listener.origins = Some(set(key, value)?),
                "anonymous" => listener.anonymous = Some(set(key, value)?),
                "auth" => listener.auth = Some(set(key, value)?),
                other => return Err(because(format!("a listener has no {other:?}; it has {}", Listener::KEYS))),
            }
        }
        check(&listener)?;
        Ok(listener)
    }

    fn write(&self) -> Option<Value> {
        let entries = [
            ("url", self.url.write()),
            ("name", self.name.write()),
            ("proxy_protocol", self.proxy_protocol.then_some(Value::Flag(true))),
            ("proxy_from", (!self.proxy_from.is_empty()).then(|| self.proxy_from.write()).flatten()),
            ("connections_max", (self.connections_max > 0).then(|| self.connections_max.write()).flatten()),
            ("connections_per_second_max", self.connections_per_second_max.write()),
            ("connect_timeout_s", self.connect_timeout_s.write()),
            ("certificates", self.certificates.write()),
            ("keys", self.keys.write()),
            ("client_ca", self.client_ca.write()),
            ("client_certificates", self.client_certificates.write()),
            ("origins", self.origins.write()),
            ("anonymous", self.anonymous.write()),
            ("auth", self.auth.write()),
        ];
        Some(Value::Table(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()))
    }
}

/// What a scheme has no use for is a mistake, and better told than passed over.
fn check(listener: &Listener) -> Result<(), Refusal> {
    let scheme = listener.url.scheme;
    let tls =
        [listener.certificates.is_some(), listener.keys.is_some(), listener.client_ca.is_some(), listener.client_certificates.is_some()];
    let refuse = |what: &str| Err(because(format!("{} has no {what}", listener.url)));
    match () {
        () if listener.proxy_protocol && !scheme.is_over_tcp() => refuse("PROXY protocol: it comes over UDP"),
        () if !listener.proxy_from.is_empty() && !listener.proxy_protocol => refuse("proxy_from without proxy_protocol"),
        () if tls.contains(&true) && !scheme.is_tls() => refuse("certificates: only tls://, wss:// and quic:// do"),
        () if listener.origins.is_some() && !scheme.is_websocket() => refuse("origins: only ws:// and wss:// do"),
        () if listener.connect_timeout_s == Some(0) => refuse("connect_timeout_s of 0"),
        () => Ok(()),
    }
}

fn set<T: Setting>(key: &str, value: &Value) -> Result<T, Refusal> {
    T::read(value).map_err(|refusal| match refusal {
        Refusal::NotAllowed => because(format!("{key} = {value} is not allowed")),
        Refusal::Because(text) => because(format!("{key}: {text}")),
    })
}

fn because(text: impl Into<String>) -> Refusal {
    Refusal::Because(text.into())
}

/// What is asked of a client's certificate, where there are authorities to check it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client may come without one.
    Optional,
    Required,
}

/// Which name of a client's certificate is its name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The Common Name of its subject.
    CommonName,
    /// The first name of its Subject Alternative Names: a DNS name, an e-mail address or a URI.
    AlternativeName,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// A text of a few that mean something.
macro_rules! choice {
    ($Type:ident: $($text:literal => $variant:ident),*) => {
        impl $Type {
            pub const CHOICES: &'static [&'static str] = &[$($text),*];
        }

        impl FromStr for $Type {
            type Err = BadUrl;

            fn from_str(text: &str) -> Result<$Type, BadUrl> {
                match text {
                    $($text => Ok($Type::$variant),)*
                    _ => Err(BadUrl(format!("{text:?} is none of {}", $Type::CHOICES.join(", ")))),
                }
            }
        }

        impl Setting for $Type {
            fn read(value: &Value) -> Result<$Type, Refusal> {
                let Value::Text(text) = value else { return Err(Refusal::NotAllowed) };
                text.parse().map_err(|BadUrl(text)| Refusal::Because(text))
            }

            fn write(&self) -> Option<Value> {
                Some(Value::Text(match self { $($Type::$variant => $text,)* }.to_owned()))
            }
        }
    };
}

choice!(ClientCertificates: "optional" => Optional, "required" => Required);
choice!(CertificateName: "cn" => CommonName, "san" => AlternativeName);
choice!(TlsVersion: "1.2" => V1_2, "1.3" => V1_3);
