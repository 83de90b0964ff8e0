//! What is kept of a password, as it stands in a password file or in Redis: argon2id (`$argon2id$…`, RFC 9106), or what
//! mosquitto_passwd writes (`$7$…`, PBKDF2 with HMAC-SHA-512). No I/O.

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, PasswordHasher};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::Sha512;
use subtle::ConstantTimeEq;

/// What a hash on record may cost, so that nobody's line can hold up the node: memory in KiB, and rounds.
const ARGON2_KIB_MAX: u32 = 256 * 1024;
const ARGON2_ROUNDS_MAX: u32 = 16;
const PBKDF2_ROUNDS_MAX: u32 = 2_000_000;

/// A longer password is refused before it is hashed.
pub const PASSWORD_BYTES_MAX: usize = 4096;

/// Enough to recognise a password, not enough to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Argon2(Box<PasswordHash>),
    Mosquitto { rounds: u32, salt: Vec<u8>, hash: Vec<u8> },
}

impl Verifier {
    /// A fresh argon2id hash with the parameters that OWASP recommends: 19 MiB, 2 rounds, 1 lane.
    ///
    /// # Errors
    /// The machine has no randomness, or the password is too long.
    pub fn new(password: &[u8]) -> Result<Verifier, String> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(format!("a password has at most {PASSWORD_BYTES_MAX} bytes"));
        }
        let hash: PasswordHash = Argon2::default().hash_password(password).map_err(|error| error.to_string())?;
        Ok(Verifier(Kind::Argon2(Box::new(hash))))
    }

    /// Reads what stands behind a user name.
    ///
    /// # Errors
    /// Why it is no hash that can be used; the text shows nothing of it.
    pub fn parse(text: &str) -> Result<Verifier, String> {
        if text.starts_with("$argon2") {
            return argon2id(text);
        }
        match text.strip_prefix("$7$") {
            Some(rest) => mosquitto(rest),
            None if text.starts_with("$6$") => {
                Err("$6$ is a hash that is too quick to be safe: set the password again with `mqttd passwd`".to_owned())
            }
            None => Err("no hash that this broker knows; a plain password is hashed by `mqttd passwd -U FILE`".to_owned()),
        }
    }

    /// Whether this is the password. It takes as long as the hash demands: tens of milliseconds.
    pub fn accepts(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        match &self.0 {
            Kind::Argon2(hash) => Argon2::default().verify_password(password, hash.as_ref()).is_ok(),
            Kind::Mosquitto { rounds, salt, hash } => {
                let mut found = vec![0; hash.len()];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *rounds, &mut found);
                found.ct_eq(hash).into()
            }
        }
    }

    /// Tells two hashes apart, also two of one password.
    pub fn stamp(&self) -> u64 {
        use sha2::Digest;
        let digest = sha2::Sha256::digest(self.to_string());
        u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}

fn argon2id(text: &str) -> Result<Verifier, String> {
    let name = text.split('$').nth(1).unwrap_or_default();
    if ["argon2i", "argon2d"].contains(&name) {
        return Err(format!("{name} is not argon2id"));
    }
    let hash = PasswordHash::new(text).map_err(|_| "this argon2id hash is damaged".to_owned())?;
    if hash.algorithm.as_str() != Algorithm::Argon2id.as_str() {
        return Err(format!("{} is not argon2id", hash.algorithm.as_str()));
    }
    let params = argon2::Params::try_from(&hash).map_err(|_| "this argon2id hash has parameters that nobody can use".to_owned())?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("this argon2id hash is not whole".to_owned());
    }
    if params.m_cost() > ARGON2_KIB_MAX || params.t_cost() > ARGON2_ROUNDS_MAX {
        return Err(format!("this hash costs more than {} MiB or {ARGON2_ROUNDS_MAX} rounds", ARGON2_KIB_MAX / 1024));
    }
    Ok(Verifier(Kind::Argon2(Box::new(hash))))
}

/// `ROUNDS$SALT$HASH`, both in base64.
fn mosquitto(rest: &str) -> Result<Verifier, String> {
    let damaged = || "this $7$ hash is damaged".to_owned();
    let parts: Vec<&str> = rest.split('$').collect();
    let [rounds, salt, hash] = parts[..] else { return Err(damaged()) };
    let rounds: u32 = rounds.parse().map_err(|_| damaged())?;
    if !(1..=PBKDF2_ROUNDS_MAX).contains(&rounds) {
        return Err(format!("a $7$ hash has 1 to {PBKDF2_ROUNDS_MAX} rounds"));
    }
    let (salt, hash) = (BASE64.decode(salt).map_err(|_| damaged())?, BASE64.decode(hash).map_err(|_| damaged())?);
    if hash.len() != 64 || salt.is_empty() {
        return Err(damaged());
    }
    Ok(Verifier(Kind::Mosquitto { rounds, salt, hash }))
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Argon2(hash) => write!(f, "{hash}"),
            Kind::Mosquitto { rounds, salt, hash } => write!(f, "$7${rounds}${}${}", BASE64.encode(salt), BASE64.encode(hash)),
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with mosquitto_passwd 2.0.11, for the password `pencil`.
    const OF_MOSQUITTO: &str =
        "$7$101$biCg4CyCA5fCmSnl$s9NsmNshCvUNDOIRMAHF1bArZaAkh6dut1foPOkO7fanm/Q5khOggXtU5O0vu27vWlxOaYEZSp+mzdNmhkssIQ==";

    #[test]
    fn a_password_is_recognised_and_no_other() {
        let own = Verifier::new(b"pencil").unwrap();
        assert!(own.accepts(b"pencil") && !own.accepts(b"Pencil") && !own.accepts(b""));
        let read = Verifier::parse(&own.to_string()).unwrap();
        assert!(read.accepts(b"pencil") && read == own && read.stamp() == own.stamp());
        assert!(own != Verifier::new(b"pencil").unwrap(), "each has a salt of its own");
        assert!(!own.accepts(&vec![b'x'; PASSWORD_BYTES_MAX + 1]));
        assert!(!format!("{own:?}").contains("argon2"));
    }

    #[test]
    fn the_lines_of_mosquitto_are_read() {
        let salted = |password: &[u8]| {
            let mut hash = vec![0; 64];
            pbkdf2::pbkdf2_hmac::<Sha512>(password, b"saltsaltsalt", 101, &mut hash);
            format!("$7$101${}${}", BASE64.encode("saltsaltsalt"), BASE64.encode(hash))
        };
        let text = salted(b"pencil");
        let read = Verifier::parse(&text).unwrap();
        assert!(read.accepts(b"pencil") && !read.accepts(b"pen"));
        assert_eq!(read.to_string(), text);
        assert!(Verifier::parse(OF_MOSQUITTO).unwrap().accepts(b"pencil"));
    }

    #[test]
    fn what_is_no_hash_is_refused_without_being_shown() {
        let whole = Verifier::new(b"x").unwrap().to_string();
        let rows = [
            ("geheim", "no hash that this broker knows"),
            ("", "no hash"),
            ("$6$abc$def", "too quick"),
            ("$7$101$geheim", "damaged"),
            ("$7$0$c2FsdA==$geheim", "rounds"),
            ("$7$99999999$c2FsdA==$geheim", "rounds"),
            ("$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$geheim", "argon2i is not argon2id"),
            ("$argon2id$v=19$m=9999999,t=2,p=1$c2FsdHNhbHRzYWx0$YWFhYWFhYWFhYWFhYWFhYWFhYWE", "costs more"),
            (&whole[..whole.rfind('$').unwrap()], "not whole"),
        ];
        for (text, expected) in rows {
            let said = Verifier::parse(text).unwrap_err();
            assert!(said.contains(expected) && !said.contains("geheim"), "{text:?} gave {said:?}");
        }
    }
}
