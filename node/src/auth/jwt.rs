//! A JSON Web Token (RFC 7519) as the Password of a CONNECT.

use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

use super::policy::stamp;
use crate::time::Time;

/// Clocks of others may be wrong by so many seconds.
const LEEWAY_S: u64 = 30;

/// A longer token is not looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub struct Settings {
    /// A public key in PEM, a JWK Set, or the bytes of a shared secret.
    pub key_file: PathBuf,
    /// Of the claim `aud`; `None`: it is not looked at.
    pub audience: Option<String>,
    /// Of the claim `iss`.
    pub issuer: Option<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that must be the Client Identifier.
    pub client_id_claim: Option<String>,
}

/// The keys, and what a token must say.
pub struct Tokens {
    keys: Vec<Key>,
    settings: Settings,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    /// Tells it from another one.
    stamp: u64,
}

/// A token that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub user: String,
    /// The stamp of the key that signed it.
    pub key: u64,
    /// When it has expired, also by a clock that is [`LEEWAY_S`] behind.
    pub until: Time,
}

impl Tokens {
    /// Reads the keys. The error names the file.
    pub fn read(settings: Settings) -> Result<Tokens, String> {
        let bytes = std::fs::read(&settings.key_file).map_err(|error| format!("{}: {error}", settings.key_file.display()))?;
        let keys = keys(&bytes).map_err(|why| format!("{}: {why}", settings.key_file.display()))?;
        Ok(Tokens { keys, settings })
    }

    pub fn key_file(&self) -> &Path {
        &self.settings.key_file
    }

    /// Whether this is to be taken as a token at all: three parts of base64url, of which the first begins a JSON object.
    pub fn looks_like_one(password: &[u8]) -> bool {
        let is_part = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        password.len() <= TOKEN_BYTES_MAX
            && password.starts_with(b"eyJ")
            && password.split(|byte| *byte == b'.').count() == 3
            && password.split(|byte| *byte == b'.').all(is_part)
    }

    /// Whether there is still this key.
    pub fn has(&self, stamp: u64) -> bool {
        self.keys.iter().any(|key| key.stamp == stamp)
    }

    /// Whom a token is for, and until when. `None`: it is not valid, or says something else than the Client does.
    pub fn check(&self, token: &[u8], client_id: &str, user_name: Option<&str>) -> Option<Token> {
        let header = decode_header(token).ok()?;
        let fits = |key: &&Key| {
            let named = header.kid.is_none() || key.id.is_none() || header.kid == key.id;
            named && key.key.family().algorithms().contains(&header.alg)
        };
        // The algorithm is the key's to say, never the token's alone: a public key is no shared secret.
        let read = |key: &Key| Some((decode::<Value>(token, &key.key, &self.validation(key)).ok()?.claims, key.stamp));
        let (claims, key) = self.keys.iter().filter(fits).find_map(read)?;
        let until = Time((claims.get("exp")?.as_f64()? as u64).saturating_add(LEEWAY_S).saturating_mul(1000));
        let user = claims.get(&self.settings.user_claim)?.as_str().filter(|user| !user.is_empty())?;
        let of_client = self.settings.client_id_claim.as_ref().map(|claim| claims.get(claim).and_then(Value::as_str));
        let is_client = of_client.is_none_or(|claimed| claimed == Some(client_id));
        (is_client && user_name.is_none_or(|name| name == user)).then(|| Token { user: user.to_owned(), key, until })
    }

    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::new_for_family(key.key.family());
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        validation.validate_aud = self.settings.audience.is_some();
        if let Some(audience) = &self.settings.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"-----BEGIN") {
        return pem(start).map(|key| vec![Key { id: None, key, stamp: stamp(start) }]);
    }
    if start.starts_with(b"{") {
        return jwks(start);
    }
    let secret = bytes.trim_ascii_end();
    if secret.len() < 32 {
        return Err("a shared secret has at least 32 bytes; a key has the form of PEM or of a JWK Set".to_owned());
    }
    Ok(vec![Key { id: None, key: DecodingKey::from_secret(secret), stamp: stamp(secret) }])
}

fn pem(text: &[u8]) -> Result<DecodingKey, String> {
    if text.windows(7).any(|word| word == b"PRIVATE") {
        return Err("this is a private key; the broker needs the public one".to_owned());
    }
    let ways = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
    ways.iter().find_map(|read| read(text).ok()).ok_or_else(|| "no public key of RSA, EC or Ed25519 in PEM".to_owned())
}

fn jwks(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|error| format!("no JWK Set: line {}", error.line()))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        // Keys for other purposes may stand in a set.
        if let Ok(key) = DecodingKey::from_jwk(jwk) {
            let usable = key.family() != AlgorithmFamily::Hmac || key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() >= 32);
            if usable {
                let text = serde_json::to_vec(jwk).map_err(|error| error.to_string())?;
                keys.push(Key { id: jwk.common.key_id.clone(), key, stamp: stamp(text) });
            }
        }
    }
    if keys.is_empty() { Err("no key in this JWK Set can be used".to_owned()) } else { Ok(keys) }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
