//! The command line as people write it.

use clap::{CommandFactory, Parser};

use super::Arguments;

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
