//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding, as carried by the
//! Authentication Data of CONNECT, AUTH and CONNACK (MQTT 5.0 section 4.12).
//!
//! ```text
//! client-first   n,,n=user,r=<client nonce>
//! server-first   r=<client nonce><server nonce>,s=<salt>,i=<iterations>
//! client-final   c=<gs2 header>,r=<both nonces>,p=<proof>
//! server-final   v=<signature>
//! ```
//!
//! The client proves that it knows the password without sending it; the server-final proves to the
//! client that the server has its verifier.

#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Credentials, Key, Verifier, hmac};
use crate::packet::reason::Reason;

/// The Authentication Method of CONNECT and AUTH.
pub const METHOD: &str = "SCRAM-SHA-256";

/// The longest message of a client in bytes. The RFC has no bound; a nonce and a user name of any sense fit.
pub const MAX_MESSAGE: usize = 4096;

/// Why an exchange ended without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The message breaks the grammar or asks for something that is not offered; the text says where.
    Malformed(&'static str),
    /// A well-formed message of somebody who did not prove to be the user. It does not say what was
    /// wrong, so that nobody learns which users exist.
    Credentials,
}

impl Denied {
    /// The Reason Code for the CONNACK or DISCONNECT.
    pub const fn reason(self) -> Reason {
        match self {
            Denied::Malformed(_) => Reason::PROTOCOL_ERROR,
            Denied::Credentials => Reason::NOT_AUTHORIZED,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Malformed(complaint) => write!(f, "malformed SCRAM message: {complaint}"),
            Denied::Credentials => f.write_str("wrong credentials"),
        }
    }
}

impl std::error::Error for Denied {}

/// An exchange that waits for the client-final message.
pub struct Exchange {
    user: String,
    verifier: Verifier,
    known: Choice,
    gs2_header: String,
    nonce: String,
    /// The two messages so far, as they begin AuthMessage (RFC 5802 section 3), with the comma after each.
    transcript: String,
}

impl Exchange {
    /// Takes the client-first message and gives the server-first message. An unknown user gets an answer like any other.
    ///
    /// # Panics
    ///
    /// If `server_nonce`, which must be fresh and random for each exchange, is empty or has bytes that a nonce must not have.
    pub fn begin(credentials: &Credentials, client_first: &[u8], server_nonce: &str) -> Result<(Exchange, Vec<u8>), Denied> {
        assert!(is_nonce(server_nonce), "a server nonce is printable ASCII without commas");
        let ClientFirst { gs2_header, authzid, bare, user, nonce } = ClientFirst::parse(client_first)?;
        // Nobody may act for somebody else. This does not depend on who exists, so it may be said at once.
        if authzid.is_some_and(|authzid| authzid != user) {
            return Err(Denied::Credentials);
        }
        let (verifier, known) = credentials.look_up(&user);
        let nonce = format!("{nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(verifier.salt), verifier.iterations);
        let transcript = format!("{bare},{server_first},");
        Ok((Exchange { user, verifier, known, gs2_header: gs2_header.to_owned(), nonce, transcript }, server_first.into_bytes()))
    }

    /// Takes the client-final message and gives the name of the user, who is now authenticated, and the server-final message.
    pub fn finish(self, client_final: &[u8]) -> Result<(String, Vec<u8>), Denied> {
        let ClientFinal { channel_binding, nonce, proof, without_proof } = ClientFinal::parse(client_final)?;
        // Both travel in the clear, so comparing them needs no constant time. A difference is a message
        // of another exchange, or one that was changed on its way.
        if channel_binding != self.gs2_header.as_bytes() || nonce != self.nonce {
            return Err(Denied::Credentials);
        }
        let auth_message = self.transcript + without_proof;
        if !bool::from(proves(&proof, &self.verifier.stored_key, &auth_message) & self.known) {
            return Err(Denied::Credentials);
        }
        let signature = hmac(&self.verifier.server_key, auth_message.as_bytes());
        Ok((self.user, format!("v={}", BASE64.encode(signature)).into_bytes()))
    }
}

/// Whether the proof, which is ClientKey XOR ClientSignature, holds the ClientKey that belongs to StoredKey.
fn proves(proof: &Key, stored_key: &Key, auth_message: &str) -> Choice {
    let mut client_key = hmac(stored_key, auth_message.as_bytes());
    for (byte, proof) in client_key.iter_mut().zip(proof) {
        *byte ^= proof;
    }
    let hashed: Key = Sha256::digest(client_key).into();
    hashed.ct_eq(stored_key)
}

/// `gs2-header client-first-message-bare` (RFC 5802 section 7).
struct ClientFirst<'a> {
    /// With the comma at its end.
    gs2_header: &'a str,
    authzid: Option<String>,
    bare: &'a str,
    user: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<ClientFirst<'a>, Denied> {
        let text = text(message)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Denied::Malformed("no gs2 header"));
        };
        match flag {
            // "y" says that the client would have bound the channel, had the server offered it; this one never does.
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(Denied::Malformed("channel binding is not offered")),
            _ => return Err(Denied::Malformed("unknown gs2 flag")),
        }
        let authzid = match authzid {
            "" => None,
            authzid => Some(saslname(value(Some(authzid), "a=", "not an authorization identity")?)?),
        };
        // A mandatory extension "m=" would stand before the name; none is known, so it fails here as it must.
        let mut attributes = bare.split(',');
        let user = saslname(value(attributes.next(), "n=", "no user name")?)?;
        let nonce = value(attributes.next(), "r=", "no nonce")?;
        if !is_nonce(nonce) {
            return Err(Denied::Malformed("nonce is not printable"));
        }
        skip_extensions(attributes)?;
        Ok(ClientFirst { gs2_header: &text[..text.len() - bare.len()], authzid, bare, user, nonce })
    }
}

/// `client-final-message-without-proof "," proof` (RFC 5802 section 7).
struct ClientFinal<'a> {
    channel_binding: Vec<u8>,
    nonce: &'a str,
    proof: Key,
    without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    fn parse(message: &'a [u8]) -> Result<ClientFinal<'a>, Denied> {
        let (without_proof, proof) = text(message)?.rsplit_once(',').ok_or(Denied::Malformed("no proof"))?;
        let proof = base64(value(Some(proof), "p=", "no proof at the end")?)?;
        let proof = proof.try_into().map_err(|_| Denied::Malformed("proof is not 32 bytes long"))?;
        let mut attributes = without_proof.split(',');
        let channel_binding = base64(value(attributes.next(), "c=", "no channel binding")?)?;
        let nonce = value(attributes.next(), "r=", "no nonce")?;
        skip_extensions(attributes)?;
        Ok(ClientFinal { channel_binding, nonce, proof, without_proof })
    }
}

/// What every message must be: not too long, UTF-8, and without NUL.
fn text(message: &[u8]) -> Result<&str, Denied> {
    if message.len() > MAX_MESSAGE {
        return Err(Denied::Malformed("too long"));
    }
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err(Denied::Malformed("NUL")),
        Err(_) => Err(Denied::Malformed("not UTF-8")),
    }
}

/// The value of the attribute that must stand here. The order of attributes is fixed (RFC 5802 section 5.1).
fn value<'a>(attribute: Option<&'a str>, prefix: &str, complaint: &'static str) -> Result<&'a str, Denied> {
    attribute.and_then(|attribute| attribute.strip_prefix(prefix)).filter(|value| !value.is_empty()).ok_or(Denied::Malformed(complaint))
}

/// Optional extensions are ignored as RFC 5802 section 5.1 asks, but they must look like attributes. The names
/// of its own attributes are no extensions: a second "r=" could be read in two ways, and "m=" must always fail.
fn skip_extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), Denied> {
    for attribute in attributes {
        match attribute.as_bytes() {
            [b'a' | b'c' | b'e' | b'i' | b'm' | b'n' | b'p' | b'r' | b's' | b'v', b'=', ..] => {
                return Err(Denied::Malformed("attribute out of place"));
            }
            [name, b'=', _, ..] if name.is_ascii_alphabetic() => {}
            _ => return Err(Denied::Malformed("not an attribute")),
        }
    }
    Ok(())
}

/// A `saslname` with its escapes undone: "=2C" is a comma and "=3D" an equals sign, and no other "=" may stand in it.
fn saslname(escaped: &str) -> Result<String, Denied> {
    let mut pieces = escaped.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Denied::Malformed("unknown escape in a name")),
        };
        name.push(character);
        name.push_str(rest);
    }
    Ok(name)
}

/// `1*(%x21-2B / %x2D-7E)`: printable ASCII without the comma.
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Padding is required and unused bits must be zero: one value has one spelling.
fn base64(value: &str) -> Result<Vec<u8>, Denied> {
    BASE64.decode(value).map_err(|_| Denied::Malformed("not base64"))
}
