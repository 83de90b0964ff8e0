//! The command line as people write it.

use std::io::{Read, Write};
use std::net::TcpListener;

use clap::{CommandFactory, Parser};

use super::{Arguments, Failure};

#[test]
fn the_command_line_is_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn flags_become_keys() {
    type Pairs = &'static [(&'static str, &'static str)];
    let rows: [(&[&str], Pairs); 5] = [
        (&[], &[]),
        (&["-p", "1884"], &[("listen", "1884")]),
        (
            &["--listen", "tcp://:1", "--listen", "tcp://:2", "--log", "warn"],
            &[("listen", "tcp://:1"), ("listen", "tcp://:2"), ("log.filter", "warn")],
        ),
        (&["-vv", "--node-id", "a", "--store", "memory:"], &[("store.url", "memory:"), ("node.id", "a"), ("log.filter", "trace")]),
        (&["--admin", "off", "--log-format", "json"], &[("admin", "off"), ("log.format", "json")]),
    ];
    for (words, expected) in rows {
        let arguments = Arguments::try_parse_from([&["mqttd"], words].concat()).expect("is right").run;
        let flags = arguments.flags();
        let flags: Vec<(&str, &str)> = flags.iter().map(|flag| (flag.key, flag.value.as_str())).collect();
        assert_eq!(flags, expected, "{words:?}");
    }
}

#[test]
fn the_version_says_what_it_was_built_from_and_by() {
    let error = Arguments::try_parse_from(["mqttd", "--version"]).unwrap_err();
    assert_eq!(error.exit_code(), 0);
    let text = error.to_string();
    for expected in [env!("CARGO_PKG_VERSION"), "commit ", "rustc 1.", "ring"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn every_shell_gets_completions() {
    use clap_complete::Shell;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "mqttd", &mut text);
        assert!(String::from_utf8(text).unwrap().contains("log-format"), "{shell}");
    }
}

/// A broker that reads and answers by a script: for each packet type it is sent, what it says.
fn scripted(script: &'static [(u8, &'static [u8])]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let serve = move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut types = Vec::new();
        // Every packet of these scripts is shorter than 128 bytes: one byte of Remaining Length.
        let mut header = [0; 2];
        while stream.read_exact(&mut header).is_ok() {
            let mut body = vec![0; header[1].into()];
            stream.read_exact(&mut body).expect("a packet is whole");
            types.push(header[0] >> 4);
            let Some((_, answer)) = script.iter().find(|(packet_type, _)| *packet_type == header[0] >> 4) else { break };
            stream.write_all(answer).expect("the client listens");
        }
        types
    };
    (port, std::thread::spawn(serve))
}

const WELCOME: (u8, &[u8]) = (1, &[0x20, 3, 0, 0, 0]);
const WELCOME_V3: (u8, &[u8]) = (1, &[0x20, 2, 0, 0]);

#[test]
fn dialogues_with_a_broker() {
    type Script = &'static [(u8, &'static [u8])];
    // The command, what the broker says to each packet type, the packet types it is sent, and what the command comes to.
    type Row = (&'static str, Script, &'static [u8], Result<(), &'static str>);
    let rows: [Row; 13] = [
        ("pub -t a -m x", &[WELCOME], &[1, 3], Ok(())),
        ("pub -t a -m x -q 1", &[WELCOME, (3, &[0x40, 2, 0, 1])], &[1, 3, 14], Ok(())),
        ("pub -t a -m x -q 2", &[WELCOME, (3, &[0x50, 2, 0, 1]), (6, &[0x70, 2, 0, 1])], &[1, 3, 6, 14], Ok(())),
        ("pub -t a -m x -q 2 -V 3.1.1", &[WELCOME_V3, (3, &[0x50, 2, 0, 1]), (6, &[0x70, 2, 0, 1])], &[1, 3, 6, 14], Ok(())),
        ("pub -t a -m x -q 1", &[WELCOME, (3, &[0x40, 3, 0, 1, 0x87])], &[1, 3, 14], Err("refuses a message to a: 0x87 Not authorized")),
        ("pub -t a -m x -q 2", &[WELCOME, (3, &[0x50, 3, 0, 1, 0x97])], &[1, 3, 14], Err("0x97 Quota exceeded")),
        ("pub -t a -m x -q 2", &[(1, &[0x20, 5, 0, 0, 2, 0x24, 1])], &[1, 14], Err("the broker takes no QoS 2; use -q 1")),
        ("pub -t a -m x -r", &[(1, &[0x20, 5, 0, 0, 2, 0x25, 0])], &[1, 14], Err("keeps no retained messages")),
        ("pub -t a -m 0123456789 -q 1", &[(1, &[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 9])], &[1, 14], Err("packets of 9 bytes")),
        ("pub -t a -m x", &[(1, &[0x20, 8, 0, 0x86, 5, 0x1F, 0, 2, b'n', b'o'])], &[1], Err("0x86 Bad User Name or Password (no)")),
        ("pub -t a -m x -q 1", &[WELCOME, (3, &[0xE0, 1, 0x8B])], &[1, 3, 14], Err("ends the connection: 0x8B Server shutting down")),
        ("sub -t a -t b", &[WELCOME, (8, &[0x90, 5, 0, 1, 0, 0x87, 0x8F])], &[1, 8, 14], Err("refuses the subscription to b: 0x8F Topic")),
        ("sub -t a -V 3.1", &[WELCOME_V3, (8, &[0x90, 3, 0, 1, 0x80])], &[1, 8, 14], Err("refuses the subscription to a: 0x80")),
    ];
    for (command, script, sent, expected) in rows {
        let (port, broker) = scripted(script);
        let line = format!("mqttd {command} -H 127.0.0.1 -p {port}");
        let outcome = Arguments::try_parse_from(line.split(' ')).expect("is right").run();
        match (&outcome, expected) {
            (Ok(()), Ok(())) => (),
            (Err(Failure::Runtime(text)), Err(part)) if text.contains(part) => (),
            _ => panic!("{command}: {outcome:?}"),
        }
        let types = broker.join().expect("the script is followed");
        assert!(types.starts_with(sent), "{command}: sent {types:?}");
    }
}
