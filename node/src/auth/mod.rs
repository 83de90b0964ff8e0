//! Who may come in, and what they may do.
//!
//! [`guard`] answers the broker; it asks the mechanisms in their order (`chain`), each in a file of its own, and [`rules`] for what may be
//! done. What the files say is one [`policy`], which is replaced as a whole. This file holds the users of the configuration.
//!
//! A password is turned into a SCRAM-SHA-256 verifier (RFC 5802 section 3, RFC 7677) as soon as it is
//! read, and only the verifier stays. It serves both ways in: the User Name and Password of a CONNECT
//! ([`Credentials::check_password`]) and enhanced authentication with AUTH packets ([`scram`]).
//!
//! This file is pure: salts and nonces are handed in. It does not run SASLprep (RFC 4013): names and
//! passwords are compared as the bytes that were sent, which makes no difference for printable ASCII.

pub mod bans;
mod chain;
pub mod doors;
pub mod failures;
pub mod guard;
pub mod hashing;
pub mod http;
pub mod jwt;
pub mod lanes;
pub mod password;
pub mod password_file;
pub mod policy;
pub mod rules;
pub mod scram;
mod scram_exchange;
pub mod shared;

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The rounds of PBKDF2 for every verifier. 4096 is the least that RFC 7677 section 4 allows; each check of
/// a CONNECT's password pays for them, so more rounds would be a way to keep the node busy.
pub const ITERATIONS: u32 = 4096;

/// The output of SHA-256, and so every key, proof and signature.
type Key = [u8; 32];

/// What a server keeps of a password (RFC 5802 section 3): enough to recognise it, not enough to use it.
#[derive(Clone)]
struct Verifier {
    salt: [u8; 16],
    iterations: u32,
    stored_key: Key,
    server_key: Key,
}

impl Verifier {
    fn new(password: &[u8], salt: [u8; 16]) -> Verifier {
        let salted = salted_password(password, &salt, ITERATIONS);
        Verifier { salt, iterations: ITERATIONS, stored_key: stored_key(&salted), server_key: hmac(&salted, b"Server Key") }
    }
}

/// The users of a node.
pub struct Credentials {
    users: HashMap<String, Verifier>,
    /// Salts of users that do not exist are derived from this.
    decoy_secret: [u8; 16],
}

impl Credentials {
    /// Turns pairs of user name and plain password into verifiers; of two pairs with one name the later counts.
    ///
    /// `salt` must give fresh random bytes at each call. It is called once for each pair, in order, and once more.
    pub fn new(users: impl IntoIterator<Item = (String, String)>, mut salt: impl FnMut() -> [u8; 16]) -> Credentials {
        let users = users.into_iter().map(|(user, password)| (user, Verifier::new(password.as_bytes(), salt()))).collect();
        Credentials { users, decoy_secret: salt() }
    }

    /// Whether there is a user of this name.
    pub fn has(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Whether there is no user at all, and so nobody whom a check would let in.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether this is the user's password. It costs a whole PBKDF2, for an unknown user too, so that
    /// the time of an answer does not tell which users exist.
    pub fn check_password(&self, user: &str, password: &[u8]) -> bool {
        let (verifier, known) = self.look_up(user);
        let salted = salted_password(password, &verifier.salt, verifier.iterations);
        (stored_key(&salted).ct_eq(&verifier.stored_key) & known).into()
    }

    /// The user's verifier, or a decoy, and whether it is the former.
    ///
    /// A decoy's salt is the same each time it is asked for, as a real one is; fresh ones would give it away.
    /// It is derived for known users as well, to spend the same time on both.
    fn look_up(&self, user: &str) -> (Verifier, Choice) {
        let mut salt = [0; 16];
        salt.copy_from_slice(&hmac(&self.decoy_secret, user.as_bytes())[..16]);
        let decoy = Verifier { salt, iterations: ITERATIONS, stored_key: [0; 32], server_key: [0; 32] };
        let found = self.users.get(user);
        (found.unwrap_or(&decoy).clone(), Choice::from(u8::from(found.is_some())))
    }
}

/// SaltedPassword: `Hi(password, salt, i)`, which is PBKDF2 with HMAC-SHA-256 and one block of output.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let mut salted = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
    salted
}

/// StoredKey: `H(ClientKey)`. ClientKey itself would be enough to log in, so it is not kept.
fn stored_key(salted_password: &Key) -> Key {
    Sha256::digest(hmac(salted_password, b"Client Key")).into()
}

fn hmac(key: &[u8], text: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(users: &[(&str, &str)]) -> Credentials {
        let mut n = 0;
        Credentials::new(users.iter().map(|(u, p)| ((*u).to_owned(), (*p).to_owned())), move || {
            n += 1;
            [n; 16]
        })
    }

    #[test]
    fn only_the_right_password_of_a_known_user_passes() {
        let credentials = credentials(&[("ada", "engine"), ("bob", ""), ("zoë", "päss")]);
        for (user, password, passes) in [
            ("ada", "engine", true),
            ("ada", "Engine", false),
            ("ada", "engine ", false),
            ("ada", "", false),
            ("bob", "", true),
            ("bob", "engine", false),
            ("zoë", "päss", true),
            ("Ada", "engine", false),
            ("", "", false),
            ("eve", "engine", false),
        ] {
            assert_eq!(credentials.check_password(user, password.as_bytes()), passes, "{user} {password}");
        }
        assert!(!credentials.check_password("ada", b"\xff\0"));
    }

    #[test]
    fn the_later_of_two_equal_names_counts() {
        let credentials = credentials(&[("ada", "old"), ("ada", "new")]);
        assert!(credentials.check_password("ada", b"new"));
        assert!(!credentials.check_password("ada", b"old"));
    }

    #[test]
    fn without_users_nobody_passes() {
        let nobody = credentials(&[]);
        assert!(nobody.is_empty());
        assert!(!nobody.check_password("", b""));
        assert!(!credentials(&[("ada", "engine")]).is_empty());
    }

    #[test]
    fn equal_passwords_have_different_verifiers() {
        let credentials = credentials(&[("ada", "engine"), ("bob", "engine")]);
        let ((ada, _), (bob, _)) = (credentials.look_up("ada"), credentials.look_up("bob"));
        assert_ne!(ada.salt, bob.salt);
        assert_ne!(ada.stored_key, bob.stored_key);
        assert_ne!(ada.stored_key, ada.server_key);
    }

    #[test]
    fn decoys_are_steady_and_differ_between_users_and_nodes() {
        let one = credentials(&[]);
        let other = credentials(&[("ada", "engine")]);
        assert_eq!(one.look_up("eve").0.salt, one.look_up("eve").0.salt);
        assert_ne!(one.look_up("eve").0.salt, one.look_up("eva").0.salt);
        assert_ne!(one.look_up("eve").0.salt, other.look_up("eve").0.salt);
    }
}
