//! What a node says of its doors when it begins: a stranger who can come in without a word is a loud warning, listener by listener.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use mqttd_tests::auth::Scratch;
use mqttd_tests::cluster::command;

use super::passwords::line;

/// The log of a node with this configuration, as far as its last word before it runs.
fn said(config: &str) -> String {
    let file = Scratch::new(config);
    let mut node = command()
        .args(["--config", &file.path(), "--admin", "off", "--log-format", "text"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the node starts");
    let mut log = String::new();
    let mut lines = BufReader::new(node.stderr.take().expect("its log"));
    while !log.contains("try: mqttd") && lines.read_line(&mut log).expect("text") > 0 {}
    let _ = node.kill();
    node.wait().expect("it ends");
    assert!(log.contains("try: mqttd"), "{log}");
    log
}

const ANYONE: &str = "ANYONE who reaches";

#[test]
fn a_public_listener_without_authentication_is_a_warning() {
    let file = Scratch::new(line("ann", "pencil"));
    let password_file = format!("auth.password_file = {:?}\n", file.path());
    let of = |rest: &str| said(&format!("{password_file}{rest}"));
    // By its own word, beside a password file; and the one beside it is not meant.
    let own = of("[[listener]]\nurl = \"tcp://0.0.0.0:0\"\nanonymous = true\n[[listener]]\nurl = \"ws://0.0.0.0:0\"\n");
    assert!(own.contains("ANYONE who reaches tcp://0.0.0.0:") && !own.contains("reaches ws") && !own.contains(", ws://"), "{own}");
    assert!(own.contains("who may come in by ws://0.0.0.0:") && own.contains("is said by: password_file"), "{own}");
    // Only from this machine, beside a public one that is closed.
    let inner = of("[[listener]]\nurl = \"tcp://127.0.0.1:0\"\nanonymous = true\n[[listener]]\nurl = \"tcp://0.0.0.0:0\"\n");
    assert!(!inner.contains(ANYONE) && inner.contains("anonymous clients are allowed by tcp://127.0.0.1:"), "{inner}");
    // Nothing is said of it.
    let bare = said("listen = [\"tcp://127.0.0.1:0\"]\n");
    assert!(!bare.contains(ANYONE) && bare.contains("from this machine only"), "{bare}");
    let public = said("listen = [\"tcp://0.0.0.0:0\"]\n");
    assert!(public.contains("ANYONE who reaches tcp://0.0.0.0:"), "{public}");
    let nobody = of("[[listener]]\nurl = \"tcp://127.0.0.1:0\"\nauth = []\n");
    assert!(nobody.contains("nobody can come in by tcp://127.0.0.1:"), "{nobody}");
}

/// A header of the PROXY protocol is believed; who may send one has to be said where others reach the listener.
#[test]
fn a_public_listener_that_believes_every_proxy_header_is_a_warning() {
    let listener = |rest: &str| said(&format!("[[listener]]\nurl = \"tcp://0.0.0.0:0\"\nproxy_protocol = true\n{rest}"));
    assert!(listener("").contains("may send a PROXY header"));
    assert!(!listener("proxy_from = [\"10.0.0.0/8\"]\n").contains("may send a PROXY header"));
}
