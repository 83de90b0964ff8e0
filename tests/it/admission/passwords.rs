//! The password file, with `mqttd passwd` and mosquitto_passwd, and how mechanisms follow each other.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use mqttd::auth::password::Verifier;
use mqttd::config::user::{Secret, User};
use mqttd::packet::auth::Auth;
use mqttd_tests::auth::Scratch;
use mqttd_tests::bridge::Wire;
use mqttd_tests::client::Came;
use mqttd_tests::cluster::command;
use mqttd_tests::scram::{METHOD, Scram};
use mqttd_tests::*;

/// A line for a user, as `mqttd passwd` writes it.
pub(super) fn line(name: &str, password: &str) -> String {
    format!("{name}:{}\n", Verifier::new(password.as_bytes()).expect("it can be hashed"))
}

/// What CONNACK says to this user and password, by SCRAM-SHA-256.
#[track_caller]
pub(super) fn scram(broker: &Broker, wire: Wire, user: &str, password: &str) -> Reason {
    let mut scram = Scram::new(user, password, &unique("nonce"));
    let mut client = broker.client(V5).authenticate(METHOD, &scram.client_first()).send_on(wire);
    let challenge = match client.next_event() {
        Came::Packet(Packet::Auth(auth)) => auth.data.expect("a challenge"),
        Came::Packet(Packet::Connack(connack)) => return connack.reason,
        other => client.fail("AUTH or CONNACK", &other),
    };
    let (method, data) = (Some(METHOD.to_owned().into()), Some(scram.client_final(&challenge).into()));
    let reason = Reason::CONTINUE_AUTHENTICATION;
    client.send(Packet::Auth(Box::new(Auth { reason, method, data, reason_string: None, user_properties: Vec::new() })));
    client.expect_connack().reason
}

fn passwd(arguments: &[&str], input: &str) -> Output {
    let mut process = command();
    let mut process =
        process.arg("passwd").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap()
}

#[test]
fn a_password_file_says_who_comes_in() {
    let file = Scratch::new(line("ann", "pencil") + "# a comment\n" + &line("bob", "stone"));
    let broker = Broker::with(|config| config.auth.password_file = Some(file.path()));
    for version in VERSIONS {
        broker.client(version).user("ann", "pencil").connect().expect_nothing();
        broker.client(version).user("bob", "pencil").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        broker.client(version).user("eve", "pencil").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
        broker.client(version).refused(Reason::NOT_AUTHORIZED);
    }
    assert_eq!(broker.auth().count(|metrics| &metrics.auth_failed), 6);
}

/// Whoever sets a password and forgets `anonymous` does not mean "everybody"; whoever says it does.
#[test]
fn anonymous_is_what_is_configured() {
    let file = Scratch::new(line("ann", "pencil"));
    client(V5).connect();
    let closed = Broker::with(|config| config.auth.anonymous = Some(false));
    closed.client(V5).refused(Reason::NOT_AUTHORIZED);
    closed.client(V5).user("ann", "pencil").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    let both = Broker::with(|config| {
        config.auth.anonymous = Some(true);
        config.auth.password_file = Some(file.path());
    });
    both.client(V5).connect();
    both.client(V5).user("ann", "stone").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    both.client(V5).user("eve", "stone").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
}

/// The first that knows the user decides.
#[test]
fn mechanisms_are_asked_in_their_order() {
    let file = Scratch::new(line("ann", "file") + &line("bob", "file"));
    let broker = |order: &[&str]| {
        let order = order.iter().map(|name| (*name).to_owned()).collect();
        Broker::with(|config| {
            config.auth.order = order;
            config.auth.password_file = Some(file.path());
            config.auth.users.0 = vec![User { name: "ann".into(), password: Secret::new("config") }];
        })
    };
    let users_first = broker(&["users", "password_file"]);
    users_first.client(V5).user("ann", "config").connect();
    users_first.client(V5).user("ann", "file").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    users_first.client(V5).user("bob", "file").connect();
    let file_first = broker(&["password_file", "users"]);
    file_first.client(V5).user("ann", "file").connect();
    file_first.client(V5).user("ann", "config").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    let users_only = broker(&["users"]);
    users_only.client(V5).user("bob", "file").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    // SCRAM is another way to show a password of `users`, and no way past the order.
    let by_scram = |broker: &Broker| scram(broker, Wire::connect(broker.address()).expect("it listens"), "ann", "config");
    assert_eq!(by_scram(&users_only), Reason::SUCCESS);
    assert_eq!(by_scram(&broker(&["password_file"])), Reason::BAD_AUTHENTICATION_METHOD);
}

/// A new password, or none, ends the connections that came in with the old one, and no other.
#[test]
fn a_change_of_the_file_reaches_those_who_are_connected() {
    let (ann, bob) = (line("ann", "pencil"), line("bob", "stone"));
    let file = Scratch::new(ann + &bob);
    let broker = Broker::with(|config| config.auth.password_file = Some(file.path()));
    let mut first = broker.client(V5).user("ann", "pencil").connect();
    let mut old = broker.client(V3_1_1).user("ann", "pencil").connect();
    let mut other = broker.client(V5).user("bob", "stone").connect();
    file.set("ann:nonsense");
    let said = broker.auth().reload().unwrap_err();
    assert!(said.contains("line 1") && !said.contains("nonsense"), "{said}");
    first.expect_nothing();
    file.set(line("ann", "other") + &bob);
    broker.auth().reload().unwrap();
    first.expect_disconnect(Reason::NOT_AUTHORIZED);
    old.expect_closed();
    other.expect_nothing();
    broker.client(V5).user("ann", "pencil").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
    broker.client(V5).user("ann", "other").connect();
    assert_eq!(broker.auth().count(|metrics| &metrics.connections_revoked), 2);
}

#[test]
fn passwd_writes_what_the_broker_reads() {
    let file = Scratch::new("");
    let path = &file.path();
    assert!(passwd(&["-c", "-b", path, "ann", "pencil"], "").status.success());
    assert!(passwd(&[path, "bob"], "stone\n").status.success());
    assert!(passwd(&["-b", path, "eve", "x"], "").status.success());
    assert!(passwd(&["-D", path, "eve"], "").status.success());
    assert!(!file.text().contains("pencil"));
    file.set(file.text() + "carl:plain\n");
    let updated = passwd(&["-U", path], "");
    assert_eq!(String::from_utf8_lossy(&updated.stdout), "1 passwords hashed\n");
    for (arguments, expected) in [
        (&["-D", path, "eve"][..], "there is no user \"eve\""),
        (&["-b", path, "a:b", "x"], "is no user name"),
        (&["-b", path, "ann", ""], "a password is not empty"),
        (&["-D", "/nowhere/passwords", "eve"], "/nowhere/passwords: No such file"),
    ] {
        let failed = passwd(arguments, "");
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(!failed.status.success() && said.contains(expected), "{arguments:?} gave {said}");
    }
    let broker = Broker::with(|config| config.auth.password_file = Some(path.clone()));
    for (name, password) in [("ann", "pencil"), ("bob", "stone"), ("carl", "plain")] {
        broker.client(V5).user(name, password).connect();
    }
    broker.client(V5).user("eve", "x").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
}

/// What mosquitto_passwd 2.0 wrote stays in use.
#[test]
fn a_file_of_mosquitto_is_read() {
    let Ok(version) = Command::new("mosquitto_passwd").arg("--help").output() else { return };
    drop(version);
    let file = Scratch::new("");
    let made = Command::new("mosquitto_passwd").args(["-b", &file.path(), "ann", "pencil"]).status().expect("it runs");
    assert!(made.success() && file.text().starts_with("ann:$7$"), "{}", file.text());
    let broker = Broker::with(|config| config.auth.password_file = Some(file.path()));
    broker.client(V3_1_1).user("ann", "pencil").connect();
    broker.client(V3_1_1).user("ann", "pencils").refused(Reason::BAD_USER_NAME_OR_PASSWORD);
}
