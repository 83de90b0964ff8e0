//! The exchange of RFC 7677 section 3, and everything that a client can do wrong in it.

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
