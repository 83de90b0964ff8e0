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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{ITERATIONS, salted_password};

    const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";

    fn credentials(users: &[(&str, &str)]) -> Credentials {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        Credentials::new(users.iter().map(|(u, p)| ((*u).to_owned(), (*p).to_owned())), || salt)
    }

    fn begin(credentials: &Credentials, client_first: impl AsRef<[u8]>) -> Result<(Exchange, String), Denied> {
        let (exchange, server_first) = Exchange::begin(credentials, client_first.as_ref(), SERVER_NONCE)?;
        Ok((exchange, String::from_utf8(server_first).unwrap()))
    }

    fn started() -> Exchange {
        begin(&credentials(&[("user", "pencil")]), CLIENT_FIRST).ok().unwrap().0
    }

    /// A client: what it must remember to write a client-final and to check a server-final.
    struct Client {
        salted: Key,
        auth_message: String,
        client_final: String,
    }

    impl Client {
        /// `alter` changes the client-final before it is signed, so that its proof is right for what is sent.
        fn answer(client_first: &str, server_first: &str, password: &str, alter: impl Fn(String) -> String) -> Client {
            let bare = client_first.splitn(3, ',').nth(2).unwrap();
            let gs2_header = client_first.strip_suffix(bare).unwrap();
            let fields: Vec<&str> = server_first.split(',').collect();
            let [nonce, salt, iterations] = fields[..] else { panic!("{server_first}") };
            let salt = BASE64.decode(salt.strip_prefix("s=").unwrap()).unwrap();
            let iterations = iterations.strip_prefix("i=").unwrap().parse().unwrap();
            let salted = salted_password(password.as_bytes(), &salt, iterations);
            let without_proof = alter(format!("c={},{nonce}", BASE64.encode(gs2_header)));
            let auth_message = format!("{bare},{server_first},{without_proof}");
            let client_key = hmac(&salted, b"Client Key");
            let signature = hmac(&Sha256::digest(client_key), auth_message.as_bytes());
            let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
            let client_final = format!("{without_proof},p={}", BASE64.encode(proof));
            Client { salted, auth_message, client_final }
        }

        fn accepts(&self, server_final: &[u8]) -> bool {
            let signature = hmac(&hmac(&self.salted, b"Server Key"), self.auth_message.as_bytes());
            server_final == format!("v={}", BASE64.encode(signature)).as_bytes()
        }
    }

    fn unaltered(sent: String) -> String {
        sent
    }

    /// A whole exchange; on success also checks that the client believes the server.
    fn log_in(credentials: &Credentials, client_first: &str, password: &str, alter: impl Fn(String) -> String) -> Result<String, Denied> {
        let (exchange, server_first) = begin(credentials, client_first)?;
        let client = Client::answer(client_first, &server_first, password, alter);
        let (user, server_final) = exchange.finish(client.client_final.as_bytes())?;
        assert!(client.accepts(&server_final));
        Ok(user)
    }

    #[test]
    fn the_example_of_rfc_7677_section_3() {
        let (exchange, server_first) = begin(&credentials(&[("user", "pencil")]), CLIENT_FIRST).ok().unwrap();
        assert_eq!(server_first, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let client_final = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let (user, server_final) = exchange.finish(client_final).unwrap();
        assert_eq!(user, "user");
        assert_eq!(server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn forms_of_client_first_that_are_let_in() {
        let credentials = credentials(&[("user", "pencil"), ("a,b=c", "pencil"), ("=2C", "pencil"), ("zoë", "pencil")]);
        for (client_first, user) in [
            ("n,,n=user,r=x", "user"),
            ("y,,n=user,r=x", "user"),
            ("n,a=user,n=user,r=x", "user"),
            ("n,,n=a=2Cb=3Dc,r=x", "a,b=c"),
            ("y,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x", "a,b=c"),
            ("n,,n==3D2C,r=x", "=2C"),
            ("n,,n=zoë,r=x", "zoë"),
            ("n,,n=user,r=x=y,x=1,Z==,N=ü", "user"),
        ] {
            assert_eq!(log_in(&credentials, client_first, "pencil", unaltered).as_deref(), Ok(user), "{client_first}");
        }
        assert_eq!(log_in(&credentials, CLIENT_FIRST, "pencil", |sent| sent + ",x=1,P=2").as_deref(), Ok("user"));
    }

    fn malformed(complaint: &'static str) -> Option<Denied> {
        Some(Denied::Malformed(complaint))
    }

    #[test]
    fn malformed_client_first_messages() {
        let credentials = credentials(&[]);
        for (client_first, complaint) in [
            ("", "no gs2 header"),
            ("n", "no gs2 header"),
            ("n,", "no gs2 header"),
            ("n=user,r=x", "no gs2 header"),
            ("n,,", "no user name"),
            (",,n=user,r=x", "unknown gs2 flag"),
            ("N,,n=user,r=x", "unknown gs2 flag"),
            ("p,,n=user,r=x", "unknown gs2 flag"),
            ("n ,,n=user,r=x", "unknown gs2 flag"),
            ("F,n,,n=user,r=x", "unknown gs2 flag"),
            ("p=tls-unique,,n=user,r=x", "channel binding is not offered"),
            ("p=,,n=user,r=x", "channel binding is not offered"),
            ("n,user,n=user,r=x", "not an authorization identity"),
            ("n,a=,n=user,r=x", "not an authorization identity"),
            ("n,a=us=er,n=user,r=x", "unknown escape in a name"),
            ("n,n=user,r=x", "not an authorization identity"),
            ("n,,r=x,n=user", "no user name"),
            ("n,,n=,r=x", "no user name"),
            ("n,,N=user,r=x", "no user name"),
            ("n,, n=user,r=x", "no user name"),
            ("n,,m=1,n=user,r=x", "no user name"),
            ("n,,n=us=2cer,r=x", "unknown escape in a name"),
            ("n,,n=us=er,r=x", "unknown escape in a name"),
            ("n,,n=user=,r=x", "unknown escape in a name"),
            ("n,,n=user=2,r=x", "unknown escape in a name"),
            ("n,,n=user=é,r=x", "unknown escape in a name"),
            ("n,,n=user", "no nonce"),
            ("n,,n=user,", "no nonce"),
            ("n,,n=user,r=", "no nonce"),
            ("n,,n=user,x=1,r=x", "no nonce"),
            ("n,,n=user,r=x y", "nonce is not printable"),
            ("n,,n=user,r=é", "nonce is not printable"),
            ("n,,n=user,r=x\n", "nonce is not printable"),
            ("n,,n=user,r=x,", "not an attribute"),
            ("n,,n=user,r=x,x", "not an attribute"),
            ("n,,n=user,r=x,x=", "not an attribute"),
            ("n,,n=user,r=x,1=1", "not an attribute"),
            ("n,,n=user,r=x,xx=1", "not an attribute"),
            ("n,,n=user,r=x,é=1", "not an attribute"),
            ("n,,n=user,r=x,r=y", "attribute out of place"),
            ("n,,n=user,r=x,m=1", "attribute out of place"),
            ("n,,n=user,r=x,x=1,n=root", "attribute out of place"),
            ("n,,n=us\0er,r=x", "NUL"),
        ] {
            assert_eq!(begin(&credentials, client_first).err(), malformed(complaint), "{client_first:?}");
        }
        assert_eq!(begin(&credentials, b"n,,n=\xff,r=x").err(), malformed("not UTF-8"));
    }

    #[test]
    fn malformed_client_final_messages() {
        let proof = BASE64.encode([7; 32]);
        let short = BASE64.encode([7; 31]);
        let long = BASE64.encode([7; 33]);
        let unpadded = proof.trim_end_matches('=');
        for (client_final, complaint) in [
            (String::new(), "no proof"),
            ("c=biws".into(), "no proof"),
            ("c=biws,r=x".into(), "no proof at the end"),
            ("c=biws,r=x,p=".into(), "no proof at the end"),
            (format!("c=biws,r=x,P={proof}"), "no proof at the end"),
            (format!("c=biws,r=x,p={proof},x=1"), "no proof at the end"),
            (format!("c=biws,r=x,p={proof},"), "no proof at the end"),
            (format!("c=biws,r=x,p={short}"), "proof is not 32 bytes long"),
            (format!("c=biws,r=x,p={long}"), "proof is not 32 bytes long"),
            (format!("c=biws,r=x,p={unpadded}"), "not base64"),
            (format!("c=biws,r=x,p={proof}\n"), "not base64"),
            ("c=biws,r=x,p=%%%%".into(), "not base64"),
            (format!("p={proof}"), "no proof"),
            (format!(",p={proof}"), "no channel binding"),
            (format!("r=x,p={proof}"), "no channel binding"),
            (format!("r=x,c=biws,p={proof}"), "no channel binding"),
            (format!("m=1,c=biws,r=x,p={proof}"), "no channel binding"),
            (format!("c=,r=x,p={proof}"), "no channel binding"),
            (format!("c=biw,r=x,p={proof}"), "not base64"),
            (format!("c=n,,r=x,p={proof}"), "not base64"),
            (format!("c=biws,p={proof}"), "no nonce"),
            (format!("c=biws,r=,p={proof}"), "no nonce"),
            (format!("c=biws,x=1,r=x,p={proof}"), "no nonce"),
            (format!("c=biws,r=x,m=1,p={proof}"), "attribute out of place"),
            (format!("c=biws,r=x,p={proof},p={proof}"), "attribute out of place"),
            (format!("c=biws,r=x,,p={proof}"), "not an attribute"),
            (format!("c=biws,r=\0,p={proof}"), "NUL"),
        ] {
            assert_eq!(started().finish(client_final.as_bytes()).err(), malformed(complaint), "{client_final:?}");
        }
        assert_eq!(started().finish(b"c=biws,r=\xc3,p=eA==").err(), malformed("not UTF-8"));
    }

    #[test]
    fn messages_have_a_longest_length() {
        let credentials = credentials(&[]);
        let longest = format!("{CLIENT_FIRST:x<MAX_MESSAGE$}");
        assert_eq!(longest.len(), MAX_MESSAGE);
        assert!(begin(&credentials, &longest).is_ok());
        assert_eq!(begin(&credentials, longest + "x").err(), malformed("too long"));
        assert_eq!(started().finish(&[b'x'; MAX_MESSAGE]).err(), malformed("no proof"));
        assert_eq!(started().finish(&[b'x'; MAX_MESSAGE + 1]).err(), malformed("too long"));
    }

    #[test]
    fn wrong_passwords_and_unknown_users_look_the_same() {
        let credentials = credentials(&[("user", "pencil"), ("other", "crayon")]);
        for (client_first, password) in [
            (CLIENT_FIRST, "Pencil"),
            (CLIENT_FIRST, ""),
            (CLIENT_FIRST, "crayon"),
            ("n,,n=eve,r=x", "pencil"),
            ("n,,n=eve,r=x", ""),
            ("n,,n=User,r=x", "pencil"),
        ] {
            assert_eq!(log_in(&credentials, client_first, password, unaltered), Err(Denied::Credentials), "{client_first} {password}");
        }
        let (_, first) = begin(&credentials, "n,,n=eve,r=x").ok().unwrap();
        let (_, again) = begin(&credentials, "n,,n=eve,r=x").ok().unwrap();
        let (_, real) = begin(&credentials, "n,,n=user,r=x").ok().unwrap();
        assert_eq!(first, again);
        assert_ne!(first, real);
        assert_eq!(first.len(), real.len());
        assert!(first.ends_with(&format!(",i={ITERATIONS}")));
    }

    #[test]
    fn nobody_acts_for_somebody_else() {
        let credentials = credentials(&[("user", "pencil"), ("root", "pencil")]);
        for client_first in ["n,a=root,n=user,r=x", "n,a=eve,n=user,r=x", "n,a=user,n=eve,r=x"] {
            assert_eq!(begin(&credentials, client_first).err(), Some(Denied::Credentials), "{client_first}");
        }
    }

    /// The client knows the password and its proof is right for what it sends; only the echoes are wrong.
    #[test]
    fn wrong_nonces_and_channel_bindings() {
        let credentials = credentials(&[("user", "pencil")]);
        let nonce = format!("r={CLIENT_NONCE}{SERVER_NONCE}");
        for wrong in [format!("r={CLIENT_NONCE}"), format!("r={SERVER_NONCE}"), format!("{nonce}x"), nonce.to_lowercase()] {
            let denied = log_in(&credentials, CLIENT_FIRST, "pencil", |sent| sent.replace(&nonce, &wrong));
            assert_eq!(denied, Err(Denied::Credentials), "{wrong}");
        }
        for (client_first, wrong) in [
            (CLIENT_FIRST, "y,,"),
            (CLIENT_FIRST, "n,"),
            (CLIENT_FIRST, "n,,x"),
            (CLIENT_FIRST, "n,a=user,"),
            (CLIENT_FIRST, "p=tls-unique,,"),
            ("n,a=user,n=user,r=x", "n,,"),
            ("y,,n=user,r=x", "n,,"),
        ] {
            let binding = |sent: String| format!("c={},{}", BASE64.encode(wrong), sent.split_once(',').unwrap().1);
            assert_eq!(log_in(&credentials, client_first, "pencil", binding), Err(Denied::Credentials), "{client_first} {wrong}");
        }
    }

    #[test]
    fn a_client_final_is_good_for_one_exchange_only() {
        let credentials = credentials(&[("user", "pencil")]);
        let (_, server_first) = begin(&credentials, CLIENT_FIRST).ok().unwrap();
        let overheard = Client::answer(CLIENT_FIRST, &server_first, "pencil", unaltered).client_final;
        let (exchange, _) = Exchange::begin(&credentials, CLIENT_FIRST.as_bytes(), "another").ok().unwrap();
        assert_eq!(exchange.finish(overheard.as_bytes()), Err(Denied::Credentials));
    }

    #[test]
    fn each_bit_of_a_proof_counts() {
        let (exchange, server_first) = begin(&credentials(&[("user", "pencil")]), CLIENT_FIRST).ok().unwrap();
        let client_final = Client::answer(CLIENT_FIRST, &server_first, "pencil", unaltered).client_final;
        let (without_proof, proof) = client_final.rsplit_once(",p=").unwrap();
        let proof: Key = BASE64.decode(proof).unwrap().try_into().unwrap();
        let auth_message = format!("{}{without_proof}", exchange.transcript);
        assert!(bool::from(proves(&proof, &exchange.verifier.stored_key, &auth_message)));
        for bit in 0..256 {
            let mut wrong = proof;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!bool::from(proves(&wrong, &exchange.verifier.stored_key, &auth_message)), "bit {bit}");
        }
    }

    #[test]
    fn reasons() {
        assert_eq!(Denied::Malformed("").reason(), Reason::PROTOCOL_ERROR);
        assert_eq!(Denied::Credentials.reason(), Reason::NOT_AUTHORIZED);
    }

    #[test]
    #[should_panic(expected = "server nonce")]
    fn a_server_nonce_is_never_empty() {
        let _ = Exchange::begin(&credentials(&[]), CLIENT_FIRST.as_bytes(), "");
    }
}
