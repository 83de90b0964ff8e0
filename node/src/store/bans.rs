//! Who is shut out: Clients, users and addresses, until a time or for ever. The Store has them, so that they hold at every node. No I/O.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::time::Time;

/// Bans of a Store; more are refused.
pub const BANS_MAX: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    pub who: Banned,
    /// `None`: for ever.
    pub until: Option<Time>,
    /// For whoever reads the list; never told to the Client.
    pub why: String,
}

impl Ban {
    pub fn holds(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Banned {
    Client(String),
    User(String),
    Addresses(Network),
}

/// Addresses that begin alike, as in `10.1.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    pub fn has(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.bits) == Some(self.first)
    }
}

/// `None`: the family of the address has no such length.
fn masked(address: IpAddr, bits: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Some(IpAddr::V6((u128::from(address) & mask).into()))
        }
        _ => None,
    }
}

impl FromStr for Network {
    type Err = String;

    /// An address, or one with the number of bits that count.
    fn from_str(text: &str) -> Result<Network, String> {
        let fault = || format!("{text:?} is neither an address nor addresses as in 10.1.0.0/16");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let address = address.to_canonical();
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), str::parse).map_err(|_| fault())?;
        let first = masked(address, bits).ok_or_else(fault)?;
        Ok(Network { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl FromStr for Banned {
    type Err = String;

    /// `client:ID`, `user:NAME` or `address:ADDRESS[/BITS]`.
    fn from_str(text: &str) -> Result<Banned, String> {
        match text.split_once(':') {
            Some(("client", id)) if !id.is_empty() => Ok(Banned::Client(id.to_owned())),
            Some(("user", name)) if !name.is_empty() => Ok(Banned::User(name.to_owned())),
            Some(("address", addresses)) => addresses.parse().map(Banned::Addresses),
            _ => Err(format!("{text:?} is not client:ID, user:NAME or address:ADDRESS")),
        }
    }
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Banned::Client(id) => write!(f, "client:{id}"),
            Banned::User(name) => write!(f, "user:{name}"),
            Banned::Addresses(network) => write!(f, "address:{network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (text, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.3", "10.2.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.9.8.7/8", "::ffff:10.1.1.1", "11.0.0.0"),
            ("0.0.0.0/0", "1.2.3.4", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
        ] {
            let network: Network = text.parse().unwrap();
            assert!(network.has(inside.parse().unwrap()) && !network.has(outside.parse().unwrap()), "{text}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "ann", "10.0.0/8"] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_written_as_they_are_read() {
        for text in ["client:a:b", "user:ann", "address:10.0.0.0/8"] {
            assert_eq!(text.parse::<Banned>().unwrap().to_string(), text);
        }
        for text in ["ann", "client:", "user:", "address:x", "group:x"] {
            assert!(text.parse::<Banned>().is_err());
        }
    }
}
