//! A client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding: what a test sends as Authentication Data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub const METHOD: &str = "SCRAM-SHA-256";

pub struct Scram {
    password: String,
    nonce: String,
    client_first_bare: String,
    server_signature: Option<Vec<u8>>,
}

impl Scram {
    pub fn new(user: &str, password: &str, nonce: &str) -> Scram {
        let client_first_bare = format!("n={user},r={nonce}");
        Scram { password: password.into(), nonce: nonce.into(), client_first_bare, server_signature: None }
    }

    pub fn client_first(&self) -> Vec<u8> {
        format!("n,,{}", self.client_first_bare).into_bytes()
    }

    /// The proof, and what the Server will have to prove in return.
    #[track_caller]
    pub fn client_final(&mut self, server_first: &[u8]) -> Vec<u8> {
        let server_first = std::str::from_utf8(server_first).expect("the server's first message is text");
        let part = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name)).expect("r, s and i are there");
        let (nonce, salt, iterations) = (part("r="), BASE64.decode(part("s=")).expect("base64"), part("i=").parse().expect("a number"));
        assert!(nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(), "the server adds to the nonce");
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, iterations, &mut salted);
        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.client_first_bare);
        let client_key = sign(&salted, b"Client Key");
        let client_signature = sign(&Sha256::digest(&client_key), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(client_signature).map(|(key, signature)| key ^ signature).collect();
        self.server_signature = Some(sign(&sign(&salted, b"Server Key"), auth_message.as_bytes()));
        format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes()
    }

    /// Whether the Server knows the verifier as well.
    #[track_caller]
    pub fn check(&self, server_final: &[u8]) {
        let expected = format!("v={}", BASE64.encode(self.server_signature.as_ref().expect("after the proof")));
        assert_eq!(std::str::from_utf8(server_final), Ok(&*expected));
    }
}

fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
