//! SIGHUP, to a real process: who may come in and what they may do is read again.

use base64::Engine;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::{Node, until};
use mqttd_tests::*;
use serde_json::json;

use super::passwords::line;

fn start(config: &Scratch) -> Node {
    Node::alone(&[("MQTTD_CONFIG", &config.path())])
}

/// Asks it to read again, and waits for its word.
#[track_caller]
fn hang_up(node: &Node, text: &str) {
    assert!(!node.has_said(text), "it has said so before: {text}");
    node.hang_up();
    until("it has read its files again", || node.has_said(text));
}

#[test]
fn the_files_of_users_and_rules_are_read_again() {
    let (users, rules) = (Scratch::new(line("ann", "pencil") + &line("bob", "stone")), Scratch::new("allow all a/#\n"));
    let config = Scratch::new(format!("auth.password_file = {:?}\naccess.rules_file = {:?}\n", users.path(), rules.path()));
    let node = start(&config);
    let mut ann = node.client(V5).user("ann", "pencil").connect();
    let mut bob = node.client(V5).user("bob", "stone").connect();
    bob.subscribe("a/b", 1);
    // What cannot be read changes nothing.
    users.set("ann:nonsense");
    hang_up(&node, "the configuration stays as it was");
    assert!(node.has_said("line 1") && !node.has_said("nonsense"));
    ann.expect_nothing();
    // Another password, and other rules.
    users.set(line("ann", "other") + &line("bob", "stone"));
    rules.set("allow all b/#\n");
    hang_up(&node, "the configuration was read again");
    ann.expect_disconnect(Reason::NOT_AUTHORIZED);
    bob.expect_disconnect(Reason::NOT_AUTHORIZED); // he subscribes to what he may not any more
    node.client(V5).user("ann", "pencil").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    let mut ann = node.client(V5).user("ann", "other").connect();
    ann.send(message("a/b", "x").qos(1).id(1));
    ann.expect_ack(Kind::Puback, 1, Reason::NOT_AUTHORIZED);
    ann.subscribe("b/c", 1);
    let mut bob = node.client(V5).user("bob", "stone").connect();
    bob.publish(message("b/c", "y").qos(1));
    ann.receive(message("b/c", "y").qos(1));
}

/// A JWK Set in which one key takes the place of another, with a time at which both are there: who came in with the old one ends with it.
#[test]
fn the_keys_of_tokens_are_read_again() {
    let secrets = ["the first secret of thirty-two bytes", "another secret of thirty-two bytes!!"];
    let set = |which: &[usize]| {
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let key = |number: &usize| json!({ "kty": "oct", "kid": number.to_string(), "k": encode(secrets[*number]) });
        json!({ "keys": which.iter().map(key).collect::<Vec<_>>() }).to_string()
    };
    let token = |number: usize| {
        let header = Header { kid: Some(number.to_string()), ..Header::new(Algorithm::HS256) };
        let claims = json!({ "sub": "ann", "exp": 4_000_000_000u32 });
        encode(&header, &claims, &EncodingKey::from_secret(secrets[number].as_bytes())).expect("it can be signed")
    };
    let keys = Scratch::new(set(&[0]));
    let node = Node::alone(&[("MQTTD_AUTH__JWT_KEY_FILE", &keys.path())]);
    let mut old = node.client(V5).user("ann", &token(0)).connect();
    node.client(V5).user("ann", &token(1)).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    keys.set(set(&[0, 1]));
    hang_up(&node, "the configuration was read again");
    let mut new = node.client(V5).user("ann", &token(1)).connect();
    node.client(V5).user("ann", &token(0)).connect().disconnect();
    old.expect_nothing();
    keys.set("{ \"keys\": [] }");
    hang_up(&node, "the configuration stays as it was");
    keys.set(set(&[1]));
    node.hang_up();
    old.expect_disconnect(Reason::NOT_AUTHORIZED);
    node.client(V5).user("ann", &token(0)).refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    node.client(V5).user("ann", &token(1)).connect();
    new.expect_nothing();
}

#[test]
fn keys_of_who_may_come_in_hold_at_once_and_others_are_named() {
    let users = Scratch::new(line("ann", "pencil"));
    let config = Scratch::new("");
    let node = start(&config);
    let mut stranger = node.client(V5).connect();
    let mut named = node.client(V5).user("ann", "").connect();
    config.set(format!("auth.password_file = {:?}\nlimits.connections_max = 7\n", users.path()));
    hang_up(&node, "the configuration was read again");
    until("it has said what waits", || node.has_said("changed, but only after a restart: limits.connections_max"));
    // Nobody vouches for them, and that is needed now.
    stranger.expect_disconnect(Reason::NOT_AUTHORIZED);
    named.expect_disconnect(Reason::NOT_AUTHORIZED);
    node.client(V5).refused(Reason::NOT_AUTHORIZED);
    node.client(V5).user("ann", "pencil").connect().expect_nothing();
}
