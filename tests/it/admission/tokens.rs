//! JSON Web Tokens as passwords: every family of keys, and each way in which a token may be wrong.

use base64::Engine;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mqttd_tests::auth::Scratch;
use mqttd_tests::*;
use serde_json::{Value, json};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

pub(super) fn seconds_from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() as i64 + seconds
}

fn token(claims: Value) -> String {
    signed(SECRET, &claims)
}

pub(super) fn signed(secret: &[u8], claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).expect("it can be signed")
}

fn guarded(key: &Scratch) -> Broker {
    Broker::with(|config| {
        config.auth.jwt_key_file = Some(key.path());
        config.auth.failures_per_address_max = 0;
    })
}

#[test]
fn a_token_lets_in_who_it_is_for() {
    let key = Scratch::new(SECRET);
    let rules = Scratch::new("allow publish own/%u");
    let broker = Broker::with(|config| {
        config.auth.jwt_key_file = Some(key.path());
        config.auth.jwt_audience = Some("mqtt".into());
        config.auth.jwt_issuer = Some("us".into());
        config.auth.jwt_client_id_claim = Some("client_id".into());
        config.auth.failures_per_address_max = 0;
        config.access.rules_file = Some(rules.path());
    });
    let good = json!({ "sub": "ann", "exp": seconds_from_now(600), "aud": ["mqtt", "web"], "iss": "us", "client_id": "c1" });
    for version in VERSIONS {
        broker.client(version).id("c1").user("ann", &token(good.clone())).connect();
    }
    // 5.0 can send a Password alone: the token says who it is.
    let mut client = broker.client(V5).id("c1").with(|connect| connect.password = Some(token(good.clone()).into())).connect();
    client.send(message("own/ann", "x").qos(1).id(1));
    client.expect_ack(Kind::Puback, 1, Reason::NO_MATCHING_SUBSCRIBERS);
    let change = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        token(claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        token(claims)
    };
    let mut damaged = token(good.clone());
    damaged.pop();
    let unsigned = {
        let part = |value: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(json!({ "alg": "none", "typ": "JWT" })), part(good.clone()))
    };
    let other_key =
        encode(&Header::new(Algorithm::HS256), &good, &EncodingKey::from_secret(b"another secret of thirty-two bytes....")).unwrap();
    for wrong in [
        change("exp", json!(seconds_from_now(-600))),
        change("nbf", json!(seconds_from_now(600))),
        change("aud", json!("web")),
        change("iss", json!("them")),
        change("sub", json!("bob")),
        change("sub", json!("")),
        change("client_id", json!("c2")),
        without("exp"),
        without("aud"),
        without("iss"),
        without("sub"),
        without("client_id"),
        damaged,
        unsigned,
        other_key,
    ] {
        broker.client(V5).id("c1").user("ann", &wrong).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    }
    broker.client(V5).id("c1").user("ann", "no token").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    broker.client(V5).id("c1").refused(Reason::NOT_AUTHORIZED);
}

/// What has expired proves nothing any more: the connection ends, and others go on. A clock may be wrong by half a minute.
#[test]
fn a_connection_ends_when_its_token_expires() {
    let key = Scratch::new(SECRET);
    let broker = guarded(&key);
    let until = |seconds| token(json!({ "sub": "ann", "exp": seconds_from_now(seconds) }));
    let mut stays = broker.client(V5).user("ann", &until(600)).connect();
    for version in VERSIONS {
        let mut brief = broker.client(version).user("ann", &until(-27)).connect();
        if version == V5 {
            brief.expect_disconnect(Reason::NOT_AUTHORIZED);
        }
        brief.expect_closed();
    }
    assert_eq!(broker.auth().count(|metrics| &metrics.connections_expired), VERSIONS.len() as u64);
    stays.send(Packet::Pingreq);
    stays.expect_pingresp();
}

#[test]
fn keys_of_every_family() {
    let claims = json!({ "sub": "ann", "exp": seconds_from_now(600) });
    let of = |algorithm: &'static rcgen::SignatureAlgorithm| rcgen::KeyPair::generate_for(algorithm).expect("a key");
    let (ec, ed) = (of(&rcgen::PKCS_ECDSA_P256_SHA256), of(&rcgen::PKCS_ED25519));
    let ec_private = EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap();
    let ed_private = EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap();
    let sign = |algorithm, key: &EncodingKey, id: Option<&str>| {
        let header = Header { kid: id.map(str::to_owned), ..Header::new(algorithm) };
        encode(&header, &claims, key).expect("it can be signed")
    };
    let ec_token = sign(Algorithm::ES256, &ec_private, None);
    let ed_token = sign(Algorithm::EdDSA, &ed_private, None);
    let ec_broker = guarded(&Scratch::new(ec.public_key_pem()));
    ec_broker.client(V5).user("ann", &ec_token).connect();
    ec_broker.client(V5).user("ann", &ed_token).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    // The public key as a shared secret: what everybody has proves nothing.
    let forged = sign(Algorithm::HS256, &EncodingKey::from_secret(ec.public_key_pem().as_bytes()), None);
    ec_broker.client(V5).user("ann", &forged).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    guarded(&Scratch::new(ed.public_key_pem())).client(V5).user("ann", &ed_token).connect();

    let url = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": url(ed.public_key_raw()) },
        { "kty": "oct", "kid": "hs", "k": url(SECRET) },
    ] });
    let set = Scratch::new(set.to_string());
    let broker = guarded(&set);
    let hs = EncodingKey::from_secret(SECRET);
    for (token, accepted) in [
        (sign(Algorithm::EdDSA, &ed_private, Some("ed")), true),
        (sign(Algorithm::HS512, &hs, Some("hs")), true),
        (sign(Algorithm::HS256, &hs, None), true),
        (sign(Algorithm::HS256, &hs, Some("ed")), false),
        (sign(Algorithm::HS256, &hs, Some("unknown")), false),
    ] {
        match accepted {
            true => drop(broker.client(V5).user("ann", &token).connect()),
            false => drop(broker.client(V5).user("ann", &token).refused(Reason::BAD_USER_NAME_OR_PASSWORD)),
        }
    }
    // Keys that are changed are read again.
    set.set(json!({ "keys": [{ "kty": "oct", "kid": "hs", "k": url(SECRET) }] }).to_string());
    broker.auth().reload().unwrap();
    broker.client(V5).user("ann", &sign(Algorithm::EdDSA, &ed_private, Some("ed"))).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    set.set("short");
    assert!(broker.auth().reload().unwrap_err().contains("at least 32 bytes"));
    set.set(ed.serialize_pem());
    assert!(broker.auth().reload().unwrap_err().contains("a private key"));
}
